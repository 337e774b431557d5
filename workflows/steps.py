"""The life of a trial, written down once: ask, deploy, benchmark, tell, release.

Every executor runs this list: threads on this machine, pods on a cluster. Each step reads what
it needs from the storage, may be called again after a crash, and does nothing a second time.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from inference_autotuner.optimizer.errors import Blame, Failure, Reason, StudyError, TrialError
from inference_autotuner.optimizer.metrics import Measurement
from inference_autotuner.optimizer.plan import Explore, Finished, Move, Run, Wait, next_move
from inference_autotuner.optimizer.study import Study
from inference_autotuner.optimizer.trial import (
    Failed,
    Infeasible,
    Measured,
    Trial,
    TrialKind,
    TrialResult,
    TrialState,
)
from inference_autotuner.workflows.benchmark import measure
from inference_autotuner.workflows.deployer import Deployer, Order, Server
from inference_autotuner.workflows.events import (
    Line,
    Listener,
    PointMeasured,
    StepBegan,
    TrialBegan,
    TrialEnded,
)
from inference_autotuner.workflows.state import trial_folder
from inference_autotuner.workflows.tokenizers import tokenizer_of

# A trial during which the tuner was killed so often is probably what kills it.
MOST_ATTEMPTS = 10


@dataclass(frozen=True)
class Site:
    """What the steps work with.

    Attributes:
        study: The study, in its storage.
        deployer: Puts engines somewhere and takes them away.
        listener: Hears what happens.
        is_cancelled: Whether everything is to end now.
        now_s: Unix time.
        measure: Loads a server with traffic, as `benchmark.measure` does.
    """

    study: Study
    deployer: Deployer
    listener: Listener
    is_cancelled: Callable[[], bool]
    now_s: Callable[[], float] = time.time
    measure: Callable[..., Measurement] = measure


def ask(study: Study, key: str, *, now_s: float, is_stopping: bool) -> Trial | Wait | Finished:
    """The next trial of the study; the same key gets the same trial back."""
    if known := study.find(key):
        return known
    move = upcoming(study, now_s=now_s, is_stopping=is_stopping)
    if not isinstance(move, Run):
        return move
    return study.begin(key, move.kind, move.params, now_s=now_s)


def upcoming(study: Study, *, now_s: float, is_stopping: bool) -> Run | Wait | Finished:
    """What comes next in a study; nothing is begun."""
    trials = study.trials()
    plan = partial(
        next_move,
        study.space,
        trials,
        now_s=now_s,
        is_stopping=is_stopping,
        forgive_before=study.attribute("forgive_before") or 0,
    )
    move: Move = plan()
    if isinstance(move, Explore):
        params = study.propose(trials)
        move = plan(is_exhausted=True) if params is None else Run(TrialKind.EXPLORE, params)
    assert not isinstance(move, Explore)
    return move


def note_begin(study: Study) -> None:
    """A run begins, or goes on: what failed in an earlier one may have been mended since."""
    study.set_attribute("stop_requested", False)
    study.set_attribute("forgive_before", len(study.trials()))
    study.set_attribute("phase", "running")


def note_end(study: Study, finished: Finished) -> None:
    """Keeps why nothing more is started."""
    study.set_attribute("end", {"reason": finished.reason, "sentence": finished.sentence})
    study.set_attribute("phase", "finished" if finished.is_final else "stopped")


def run_trial(site: Site, trial: Trial) -> Trial:
    """One trial from its params to its result; its server is gone when this returns."""
    site.listener(TrialBegan(trial))
    try:
        if (server := deploy(site, trial)) and (seen := benchmark(site, trial, server)):
            tell(site, trial, Measured(seen))
    finally:
        ended = release(site, trial)
    site.listener(TrialEnded(ended))
    return ended


def deploy(site: Site, trial: Trial) -> Server | None:
    """A server with the trial's params that serves; None when there is none, and why is told.

    Raises:
        StudyError: The task is at fault: every trial would fail alike.
    """
    site.listener(StepBegan(trial, "deploy"))
    _book_idle(site, trial, is_held=False)  # a server of an earlier attempt is taken away first
    with timed(site, trial, "queue") as span:
        outcome = _start(site, trial, span)
    if isinstance(outcome, Server):
        site.study.note(
            trial.number,
            engine_args=list(outcome.engine_args),
            resolved=dict(outcome.resolved),
            server={"url": outcome.url, "served_name": outcome.served_name},
            held_since_s=site.now_s(),
        )
        return outcome
    site.study.note(trial.number, held_since_s=None)
    tell(site, trial, _result_of(outcome, _log_tail(site, trial)))
    if outcome.blame is Blame.TASK:
        raise StudyError(outcome.message)
    return None


def _start(site: Site, trial: Trial, span: "Span") -> Server | Failure:
    def on_room() -> None:
        span.go_on_as("deploy")
        site.study.note(trial.number, held_since_s=site.now_s())

    try:
        return site.deployer.deploy(
            order_of(site.study, trial),
            on_line=lambda text: site.listener(Line(trial, "engine", text)),
            on_room=on_room,
            is_cancelled=site.is_cancelled,
        )
    except TrialError as error:
        return Failure(Blame.WORLD, error.reason, str(error))


def benchmark(site: Site, trial: Trial, server: Server) -> Measurement | None:
    """Warm-up, then every point; None when nothing valid was measured, and why is told.

    The server is released as soon as it was measured: what holds a GPU spans one step only.
    """
    site.listener(StepBegan(trial, "benchmark"))
    _book_idle(site, trial)
    with timed(site, trial, "benchmark"):
        try:
            outcome = _load(site, trial, server)
        finally:
            log_tail = _log_tail(site, trial)  # on a cluster it is gone with the server
            site.deployer.release(site.study.name, trial.name)
    site.study.note(trial.number, held_since_s=None, log_tail=log_tail)
    if isinstance(outcome, Measurement):
        return outcome
    tell(site, trial, outcome)
    return None


def _load(site: Site, trial: Trial, server: Server) -> Measurement | TrialResult:
    study, order = site.study, order_of(site.study, trial)
    try:
        return site.measure(
            study.task.spec,
            url=server.url,
            served_name=server.served_name,
            tokenizer=tokenizer_of(study.task.spec, base=order.base),
            api_backend=order.engine.api_backend,
            folder=trial_folder(study.name, trial.name) / "benchmark",
            owner=order.owner,
            on_line=lambda text: site.listener(Line(trial, "benchmark", text)),
            on_point=lambda done, total: site.listener(PointMeasured(trial, done, total)),
            is_alive=lambda: site.deployer.is_alive(order),
            is_cancelled=site.is_cancelled,
        )
    except TrialError as error:
        return _why_not_measured(site, order, error)


def tell(site: Site, trial: Trial, result: TrialResult) -> Trial:
    """Records the result; the second time does nothing."""
    return site.study.tell(trial.number, result, now_s=site.now_s())


def release(site: Site, trial: Trial) -> Trial:
    """Makes sure that the server is gone and the trial is not left running."""
    try:
        site.deployer.release(site.study.name, trial.name)
    finally:
        # Also when its server cannot be ended: others would wait for this trial for ever.
        stored = site.study.trial(trial.number)
        if stored.state is TrialState.RUNNING:
            _book_idle(site, trial)
            message = "the trial was interrupted before it was measured"
            stored = tell(site, trial, Failed(Reason.INTERRUPTED, message))
    return stored


def order_of(study: Study, trial: Trial) -> Order:
    """The server that a trial wants."""
    return Order(
        study=study.name,
        trial=trial.name,
        spec=study.task.spec,
        engine=study.space.engine,
        args=study.space.args(trial.params),
        gpus=trial.gpus,
        base=study.attribute("base") or str(Path.cwd()),
    )


class Span:
    """The seconds of a step; part of the way it may turn out to be another one."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._began = time.monotonic()
        self.seconds: dict[str, float] = {}

    def go_on_as(self, step: str) -> None:
        """What follows belongs to `step`."""
        self.end()
        self._step, self._began = step, time.monotonic()

    def end(self) -> None:
        """Nothing follows."""
        self.seconds[self._step] = time.monotonic() - self._began


@contextmanager
def timed(site: Site, trial: Trial, step: str) -> Iterator[Span]:
    """Adds the seconds of a step to the trial's record, however the step ends."""
    span = Span(step)
    try:
        yield span
    finally:
        span.end()
        book(site, trial, span.seconds)


def book(site: Site, trial: Trial, seconds: Mapping[str, float], **noted: Any) -> None:
    """Adds to the seconds of a trial's steps."""
    before = site.study.trial(trial.number).spans
    added = {step: round(before.get(step, 0.0) + spent, 3) for step, spent in seconds.items()}
    site.study.note(trial.number, spans={**before, **added}, **noted)


def _book_idle(site: Site, trial: Trial, *, is_held: bool = True) -> None:
    """What a server holds between two steps, or held during one that was lost, costs as well."""
    now_s = site.now_s()
    held_since_s = site.study.noted(trial.number).get("held_since_s")
    if held_since_s is not None:
        idle = max(0.0, now_s - held_since_s)
        book(site, trial, {"idle": idle}, held_since_s=now_s if is_held else None)


def _log_tail(site: Site, trial: Trial) -> str:
    return site.deployer.log_tail(order_of(site.study, trial))


def _result_of(failure: Failure, log_tail: str) -> TrialResult:
    if failure.blame is Blame.PARAMS:
        return Infeasible(failure.reason, failure.message, log_tail)
    return Failed(failure.reason, failure.message, log_tail)


def _why_not_measured(site: Site, order: Order, error: TrialError) -> TrialResult:
    """A server that died under load explains a failed benchmark; else the world is at fault."""
    log_tail = site.deployer.log_tail(order)
    if error.reason is Reason.INTERRUPTED or site.deployer.is_alive(order):
        return Failed(error.reason, str(error), log_tail)
    return _result_of(site.deployer.failure(order), log_tail)
