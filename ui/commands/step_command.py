"""`autotuner step`: one step of a trial, as a pod of a Workflow runs it."""

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inference_autotuner.ui.storage_option import opened_storage, storage_option

if TYPE_CHECKING:
    from inference_autotuner.workflows.pod_steps import Outputs

STEPS = ("ask", "deploy", "benchmark", "tell", "release", "sweep")


@click.command("step", hidden=True)
@click.argument("step", type=click.Choice(STEPS))
@click.option("--study", "study_name", required=True, help="Name of the study.")
@click.option("--trial", type=int, help="Number of the trial; not for ask and sweep.")
@click.option("--key", help="ask: what the trial is asked with; the same key gives it again.")
@click.option(
    "--wait",
    type=float,
    default=86_400.0,
    help="ask: seconds to wait for other trials before they are given up.",
)
@click.option("--workflow", help="deploy, sweep: the Workflow that owns servers.")
@click.option("--workflow-uid", help="deploy, sweep: its uid.")
@click.option(
    "--queue-timeout", type=float, default=0.0, help="deploy: seconds to wait for free GPUs."
)
@click.option(
    "--outputs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for what the step gives, a file each.",
)
@storage_option
def command(
    step: str,
    study_name: str,
    trial: int | None,
    key: str | None,
    wait: float,
    workflow: str | None,
    workflow_uid: str | None,
    queue_timeout: float,
    outputs: Path | None,
    storage: str | None,
) -> None:
    """Run one step of a trial, as a pod of a Workflow does."""
    from inference_autotuner.ui.stepping import Call, run_step

    if trial is None and step not in ("ask", "sweep"):
        raise click.UsageError(f"step {step} needs --trial")
    if key is None and step == "ask":
        raise click.UsageError("step ask needs --key")
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    call = Call(
        step=step,
        trial=trial or 0,
        key=key or "",
        wait_s=wait,
        owner=(workflow, workflow_uid) if workflow and workflow_uid else None,
        queue_timeout_s=queue_timeout,
    )
    given = run_step(opened_storage(storage), study_name, call, stopped.is_set)
    _write(given, outputs)


def _write(given: "Outputs", folder: Path | None) -> None:
    """The last line of the log is the one that matters."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in given.items():
            (folder / name).write_text(value, "utf-8")
    click.echo("; ".join(f"{name}: {value}" for name, value in given.items() if value))
