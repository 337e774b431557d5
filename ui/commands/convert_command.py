"""`autotuner convert`: a task in the new form, from any form that can be read."""

import click


@click.command("convert")
@click.argument("task_file", metavar="TASK")
def command(task_file: str) -> None:
    """Print a task as YAML of the current form, e.g. from the first autotuner's flat JSON."""
    from inference_autotuner.optimizer.canonical import to_yaml
    from inference_autotuner.workflows.taskfiles import read_task

    task, warnings = read_task(task_file)
    for warning in warnings:
        click.secho(f"{task_file}: {warning.path}: {warning.message}", fg="yellow", err=True)
    click.echo(to_yaml(task), nl=False)
