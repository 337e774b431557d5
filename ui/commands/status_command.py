"""`autotuner status`: one study, trial by trial."""

from dataclasses import asdict

import click

from inference_autotuner.ui.storage_option import opened_storage, storage_option
from inference_autotuner.ui.tables import output_option, print_value


@click.command("status")
@click.argument("study_name", metavar="STUDY")
@storage_option
@output_option
def command(study_name: str, storage: str | None, output: str) -> None:
    """Show a study and its trials. The beginning of its name is enough."""
    from inference_autotuner.optimizer.study import load_study
    from inference_autotuner.ui.views import print_study, study_row, trial_rows

    study = load_study(opened_storage(storage), study_name)
    value = {**study_row(study), "trials": [asdict(row) for row in trial_rows(study)]}
    print_value(value, output, lambda _: print_study(study))
