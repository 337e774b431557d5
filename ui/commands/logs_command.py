"""`autotuner logs`: what the engine or the benchmark of a trial printed."""

import click

from inference_autotuner.ui.storage_option import opened_storage, storage_option


@click.command("logs")
@click.argument("study_name", metavar="STUDY")
@click.argument("trial_number", metavar="[TRIAL]", type=int, required=False)
@click.option("--benchmark", is_flag=True, help="genai-bench's output instead of the engine's.")
@click.option("--follow", "-f", is_flag=True, help="Keep printing while the trial runs.")
@storage_option
def command(
    study_name: str, trial_number: int | None, benchmark: bool, follow: bool, storage: str | None
) -> None:
    """Print the log of a trial; without a number, of the newest one."""
    from inference_autotuner.optimizer.study import load_study
    from inference_autotuner.workflows.logs import log_lines

    study = load_study(opened_storage(storage), study_name)
    source = "benchmark" if benchmark else "engine"
    for line in log_lines(study, trial_number, source=source, is_following=follow):
        click.echo(line)
