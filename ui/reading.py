"""Reading a task for a person: mistakes end the command, warnings are printed."""

import click

from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.workflows.taskfiles import read_task


def read_with_warnings(task_file: str, *, is_for_here: bool = False) -> TuningTask:
    """The task; what is likely not meant goes to stderr.

    Args:
        task_file: The file, or `-`.
        is_for_here: The task is to run here now: files that it names must be there.

    Raises:
        TaskError: With every mistake.
    """
    loaded = read_task(task_file, is_for_here=is_for_here)
    for warning in loaded.warnings:
        line = f":{warning.line}" if warning.line else ""
        click.secho(
            f"{task_file}{line}: warning: {warning.path}: {warning.message}", fg="yellow", err=True
        )
    return loaded.task
