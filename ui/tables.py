"""Listings: the same rows as a table for people, or as JSON or YAML for programs."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

Row = Mapping[str, Any]
# A pipe has no width: lines stay whole for grep.
_FILE_WIDTH = 240
_YAML_WIDTH = 100

output_option = click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="How to print it.",
)


def print_rows(rows: Sequence[Row], columns: Mapping[str, str], output: str) -> None:
    """Prints rows.

    Args:
        rows: Values by key; JSON and YAML get all of them.
        columns: For the table, the keys to show and their headings.
        output: `table`, `json` or `yaml`.
    """
    print_value(list(rows), output, lambda _: _print_table(rows, columns))


def print_value(value: Any, output: str, as_text: Callable[[Any], None]) -> None:
    """Prints any value: for programs as it is, for people by `as_text`."""
    if output == "json":
        click.echo(json.dumps(value, indent=2, default=str))
    elif output == "yaml":
        click.echo(yaml_text(value), nl=False)
    else:
        as_text(value)


def yaml_text(value: Any) -> str:
    """A value as YAML, its keys in their own order."""
    import yaml

    plain = json.loads(json.dumps(value, default=str))
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=_YAML_WIDTH))


def _print_table(rows: Sequence[Row], columns: Mapping[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(key)) for key in columns))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
