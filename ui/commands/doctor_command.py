"""`autotuner doctor`: what is installed, reachable and allowed, and how to mend what is not."""

from dataclasses import asdict

import click

from inference_autotuner.ui.storage_option import opened_storage, storage_option
from inference_autotuner.ui.tables import output_option, print_rows

_COLUMNS = {"name": "CHECK", "state": "STATE", "found": "FOUND", "remedy": "REMEDY"}


@click.command("doctor")
@storage_option
@output_option
def command(storage: str | None, output: str) -> None:
    """Check what a run needs on this machine."""
    from inference_autotuner.optimizer.study import study_names
    from inference_autotuner.workflows.doctor import examine

    findings = examine(lambda: study_names(opened_storage(storage)))
    print_rows([asdict(finding) for finding in findings], _COLUMNS, output)
    if any(finding.state == "bad" for finding in findings):
        raise click.exceptions.Exit(1)
