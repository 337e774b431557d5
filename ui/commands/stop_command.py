"""`autotuner stop`: end a study that runs on this machine."""

import os
import signal

import click

from inference_autotuner.ui.storage_option import opened_storage, storage_option


@click.command("stop")
@click.argument("study_name", metavar="STUDY")
@click.option("--now", is_flag=True, help="End the running trials instead of finishing them.")
@storage_option
def command(study_name: str, now: bool, storage: str | None) -> None:
    """Stop a study: running trials are finished, no new ones begin.

    `autotuner run` of the same task goes on with it.
    """
    from inference_autotuner.optimizer.study import load_study
    from inference_autotuner.workflows.run_lock import runner_of

    study = load_study(opened_storage(storage), study_name)
    runner = runner_of(study.name)
    if runner is None:
        click.echo(f"{study.name} does not run on this machine.")
        return
    study.set_attribute("stop_requested", True)
    if now:
        os.kill(runner, signal.SIGTERM)
    verb = "ends its trials and cleans up" if now else "finishes its running trials"
    click.echo(f"{study.name} {verb} (process {runner}).")
