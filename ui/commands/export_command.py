"""`autotuner export`: a study's answer in a folder of the user's choice."""

from pathlib import Path

import click

from inference_autotuner.ui.storage_option import opened_storage, storage_option


@click.command("export")
@click.argument("study_name", metavar="STUDY")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("."),
    show_default=True,
    help="Folder to write to.",
)
@storage_option
def command(study_name: str, folder: Path, storage: str | None) -> None:
    """Write report, verdict, trials, manifest and serve.sh of a study to a folder."""
    from inference_autotuner.optimizer.study import load_study
    from inference_autotuner.workflows.results import write_results

    study = load_study(opened_storage(storage), study_name)
    write_results(study, folder / study.name)
    for path in sorted((folder / study.name).iterdir()):
        click.echo(path)
