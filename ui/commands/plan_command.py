"""`autotuner plan`: what would be tried, and what it would cost."""

import click

from inference_autotuner.ui.storage_option import opened_storage, storage_option
from inference_autotuner.ui.tables import output_option, print_value


@click.command("plan")
@click.argument("task_file", metavar="TASK")
@storage_option
@output_option
def command(task_file: str, storage: str | None, output: str) -> None:
    """Show what a task would try and what it would cost; starts nothing."""
    from inference_autotuner.ui.views import plan_value, print_plan
    from inference_autotuner.workflows.taskfiles import read_task

    task, warnings = read_task(task_file)
    value = plan_value(task, [w.message for w in warnings], opened_storage(storage))
    print_value(value, output, print_plan)
