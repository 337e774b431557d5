"""`autotuner stop`: end a study that runs, here or on a cluster."""

import os
import signal
from typing import TYPE_CHECKING

import click

from inference_autotuner.ui.storage_option import opened_storage, storage_option

if TYPE_CHECKING:
    from inference_autotuner.optimizer.study import Study


@click.command("stop")
@click.argument("study_name", metavar="STUDY")
@click.option("--now", is_flag=True, help="End the running trials instead of finishing them.")
@storage_option
def command(study_name: str, now: bool, storage: str | None) -> None:
    """Stop a study: running trials are finished, no new ones begin.

    `autotuner run` or `submit` of the same task goes on with it.
    """
    from inference_autotuner.optimizer.study import load_study

    study = load_study(opened_storage(storage), study_name)
    if study.attribute("workflow"):
        _stop_workflow(study, now)
    else:
        _stop_process(study, now)


def _stop_process(study: "Study", now: bool) -> None:
    from inference_autotuner.workflows.run_lock import runner_of

    runner = runner_of(study.name)
    if runner is None:
        click.echo(f"{study.name} does not run on this machine.")
        return
    study.set_attribute("stop_requested", True)
    if now:
        os.kill(runner, signal.SIGTERM)
    click.echo(f"{study.name} {_what_follows(now)} (process {runner}).")


def _stop_workflow(study: "Study", now: bool) -> None:
    from inference_autotuner.workflows.cluster import Cluster
    from inference_autotuner.workflows.submission import stop

    workflow = stop(study, Cluster.connect(), is_now=now)
    if workflow is None:
        click.echo(f"{study.name} does not run on this cluster.")
    else:
        click.echo(f"{study.name} {_what_follows(now)} (Workflow {workflow}).")


def _what_follows(now: bool) -> str:
    return "ends its trials and cleans up" if now else "finishes its running trials"
