"""`autotuner convert`: a task in the new form, from any form that can be read."""

import click


@click.command("convert")
@click.argument("task_file", metavar="TASK")
def command(task_file: str) -> None:
    """Print a task as YAML of the current form, e.g. from the first autotuner's flat JSON."""
    from inference_autotuner.optimizer.canonical import to_yaml
    from inference_autotuner.ui.reading import read_with_warnings

    click.echo(to_yaml(read_with_warnings(task_file)), nl=False)
