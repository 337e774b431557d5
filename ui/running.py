"""Runs a study on this machine for a person: signals, progress, and the answer at the end."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import TYPE_CHECKING

import click
from rich.console import Console

from inference_autotuner.optimizer.plan import Finished
from inference_autotuner.optimizer.study import Study, open_study
from inference_autotuner.optimizer.verdict import Verdict
from inference_autotuner.ui.progress import Progress
from inference_autotuner.ui.reading import read_with_warnings
from inference_autotuner.workflows.deployers import deployer_for
from inference_autotuner.workflows.events import Event
from inference_autotuner.workflows.local import Stop, run_study
from inference_autotuner.workflows.results import conclude, stored_verdict
from inference_autotuner.workflows.taskfiles import base_of

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def run_here(
    task_file: str, storage: "BaseStorage", *, is_verbose: bool, is_quiet: bool
) -> tuple[Study, Verdict, Finished | None]:
    """Runs a task's study to its end, or until the user stops it.

    Returns:
        The study, its verdict, and how the run ended; None when it had ended before.
    """
    task = read_with_warnings(task_file, is_for_here=True)
    deployer = deployer_for(task.spec)
    study = open_study(storage, task, base=base_of(task_file), now_s=time.time())
    if study.attribute("phase") == "finished" and (verdict := stored_verdict(study)):
        click.echo(f"Study {study.name} is finished; this is its answer.", err=is_quiet)
        return study, verdict, None
    console = Console(highlight=False)
    listening = (
        nullcontext(_silent) if is_quiet else Progress(study, console, is_verbose=is_verbose)
    )
    with stop_on_signals(console) as stop, listening as listener:
        finished = run_study(study, deployer, listener, stop)
    return study, conclude(study), finished


def _silent(_: Event) -> None:
    """Programs read the answer, not the way to it."""


@contextmanager
def stop_on_signals(console: Console) -> Iterator[Stop]:
    """Ctrl-C once finishes what runs, twice ends it now; SIGTERM and SIGHUP end it now."""
    stop = Stop()

    def on_interrupt(_: int, __: FrameType | None) -> None:
        if not stop.is_asked:
            console.print("Finishing the running trials; Ctrl-C again ends them now.")
        elif not stop.is_now:
            console.print("Ending the running trials and cleaning up.")
        stop.ask()

    def on_end(_: int, __: FrameType | None) -> None:
        stop.at_once()

    handlers = {signal.SIGINT: on_interrupt, signal.SIGTERM: on_end, signal.SIGHUP: on_end}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
