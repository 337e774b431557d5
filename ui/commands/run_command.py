"""`autotuner run`: tune here, with live progress."""

import click

from inference_autotuner.ui.storage_option import opened_storage, storage_option
from inference_autotuner.ui.tables import output_option, print_value


@click.command("run")
@click.argument("task_file", metavar="TASK")
@storage_option
@output_option
@click.option("--verbose", "-v", is_flag=True, help="Also show what engine and benchmark print.")
def command(task_file: str, storage: str | None, output: str, verbose: bool) -> None:
    """Tune here; goes on where an earlier run stopped.

    Ctrl-C once finishes the running trials and begins no new ones; twice ends them now.
    """
    from inference_autotuner.ui.answer import print_answer
    from inference_autotuner.ui.running import run_here

    study, verdict, finished = run_here(
        task_file, opened_storage(storage), is_verbose=verbose, is_quiet=output != "table"
    )
    print_value(
        {"study": study.name, **verdict.to_dict()},
        output,
        lambda _: print_answer(study, verdict),
    )
    if finished is not None and not finished.is_final:
        raise click.exceptions.Exit(130 if finished.is_stopped else 70)
