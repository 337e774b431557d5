"""`autotuner compare`: studies side by side."""

import click

from inference_autotuner.ui.storage_option import opened_storage, storage_option
from inference_autotuner.ui.tables import output_option, print_rows


@click.command("compare")
@click.argument("studies", metavar="STUDY STUDY...", nargs=-1, required=True)
@storage_option
@output_option
def command(studies: tuple[str, ...], storage: str | None, output: str) -> None:
    """Show what differs between the answers of studies."""
    from inference_autotuner.ui.views import comparison

    rows, columns = comparison(opened_storage(storage), studies)
    print_rows(rows, columns, output)
