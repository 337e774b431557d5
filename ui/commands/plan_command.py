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
    from inference_autotuner.ui.reading import read_with_warnings
    from inference_autotuner.ui.views import plan_value, print_plan

    value = plan_value(read_with_warnings(task_file), opened_storage(storage))
    print_value(value, output, print_plan)
