"""One step of a trial for a pod: its study, its deployer, and plain lines in its log."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from inference_autotuner.optimizer.study import load_study
from inference_autotuner.workflows import pod_steps
from inference_autotuner.workflows.deployers import cluster_deployer
from inference_autotuner.workflows.events import Event, Line, Notice, PointMeasured, StepBegan
from inference_autotuner.workflows.steps import Site

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

# A storage service that is moved to another node is back within this time.
_PATIENCE_S = 600.0


@dataclass(frozen=True)
class Call:
    """What a pod was started with.

    Attributes:
        step: Name of the step.
        trial: Number of the trial.
        key: What the trial is asked with.
        wait_s: How long `ask` waits for other trials.
        owner: Name and uid of the Workflow that the server belongs to.
        queue_timeout_s: How long a server may wait for room.
    """

    step: str
    trial: int
    key: str
    wait_s: float
    owner: tuple[str, str] | None
    queue_timeout_s: float


def run_step(
    storage: "BaseStorage", study_name: str, call: Call, is_cancelled: Callable[[], bool]
) -> pod_steps.Outputs:
    """Runs a step of a study; returns what it gives to the steps that follow."""
    # From the first call on: a release that gives up leaves a server to the end of the study.
    study = load_study(storage, study_name, patience_s=_PATIENCE_S)
    match call.step:
        case "ask":
            return pod_steps.ask(study, call.key, wait_s=call.wait_s)
        case "tell":
            return pod_steps.tell(study, call.trial)
    deployer = cluster_deployer(study.task.spec, call.owner, queue_timeout_s=call.queue_timeout_s)
    site = Site(study, deployer, _print, is_cancelled=is_cancelled)
    match call.step:
        case "deploy":
            return pod_steps.deploy(site, call.trial)
        case "benchmark":
            return pod_steps.benchmark(site, call.trial)
        case "release":
            return pod_steps.release(site, call.trial)
    return pod_steps.sweep(site, call.owner[1] if call.owner else "")


def _print(event: Event) -> None:
    match event:
        case StepBegan(trial=trial, step=step):
            click.echo(f"{trial.name} {trial.kind} {step}")
        case Line(source=source, text=text):
            click.echo(f"{source}: {text}")
        case PointMeasured(done=done, total=total):
            click.echo(f"{done} of {total} points measured")
        case Notice(text=text):
            click.echo(text)
        case _:
            pass
