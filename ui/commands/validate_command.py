"""`autotuner validate`: every mistake of a task at once."""

import click

from inference_autotuner.ui.tables import output_option, print_value


@click.command("validate")
@click.argument("task_file", metavar="TASK")
@output_option
def command(task_file: str, output: str) -> None:
    """Check a task; starts nothing."""
    from inference_autotuner.optimizer.canonical import study_name
    from inference_autotuner.workflows.taskfiles import read_task

    task, warnings = read_task(task_file)
    answer = {
        "valid": True,
        "study": study_name(task),
        "warnings": [f"{warning.path}: {warning.message}" for warning in warnings],
    }
    print_value(answer, output, lambda _: _print_text(task_file, answer))


def _print_text(task_file: str, answer: dict[str, object]) -> None:
    warnings = answer["warnings"]
    assert isinstance(warnings, list)
    for warning in warnings:
        click.secho(f"{task_file}: {warning}", fg="yellow", err=True)
    click.echo(f"{task_file} is valid; its study is {answer['study']}")
