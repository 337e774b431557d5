"""`autotuner validate`: every mistake of a task at once."""

from dataclasses import asdict

import click

from inference_autotuner.ui.tables import output_option, print_value


@click.command("validate")
@click.argument("task_file", metavar="TASK")
@output_option
def command(task_file: str, output: str) -> None:
    """Check a task; starts nothing."""
    from inference_autotuner.optimizer.canonical import study_name
    from inference_autotuner.optimizer.errors import TaskError
    from inference_autotuner.ui.reading import read_with_warnings
    from inference_autotuner.workflows.taskfiles import read_task

    if output == "table":
        name = study_name(read_with_warnings(task_file))
        click.echo(f"{task_file} is valid; its study is {name}")
        return
    try:
        loaded = read_task(task_file)
    except TaskError as error:
        mistakes = [asdict(mistake) for mistake in error.mistakes]
        print_value({"valid": False, "mistakes": mistakes}, output, click.echo)
        raise click.exceptions.Exit(error.exit_code) from error
    answer = {
        "valid": True,
        "study": study_name(loaded.task),
        "warnings": [asdict(warning) for warning in loaded.warnings],
    }
    print_value(answer, output, click.echo)
