"""`autotuner list`: every study in the storage."""

import click

from inference_autotuner.ui.storage_option import opened_storage, storage_option
from inference_autotuner.ui.tables import output_option, print_rows

_COLUMNS = {
    "study": "STUDY",
    "phase": "PHASE",
    "trials": "TRIALS",
    "best": "BEST",
    "verdict": "VERDICT",
}


@click.command("list")
@storage_option
@output_option
def command(storage: str | None, output: str) -> None:
    """List every study."""
    from inference_autotuner.ui.views import study_rows

    print_rows(study_rows(opened_storage(storage)), _COLUMNS, output)
