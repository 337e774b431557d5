"""`autotuner report`: write the report of a study again."""

import click

from inference_autotuner.ui.storage_option import opened_storage, storage_option


@click.command("report")
@click.argument("study_name", metavar="STUDY")
@storage_option
def command(study_name: str, storage: str | None) -> None:
    """Write a study's report from what is known now, also while it runs."""
    from inference_autotuner.optimizer.study import load_study
    from inference_autotuner.ui.answer import print_answer
    from inference_autotuner.workflows.results import results_folder, write_results

    study = load_study(opened_storage(storage), study_name)
    verdict = write_results(study, results_folder(study.name))
    print_answer(study, verdict)
