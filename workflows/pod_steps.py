"""The steps of a trial, each in a pod of its own.

What passes in memory on one machine passes through the storage here. A step says what became of
it in a few outputs, which Argo shows, and ends with an exit code that says whether Argo may try
again. It finds out by itself what an earlier attempt of it did.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from inference_autotuner.optimizer.errors import AutotunerError, NotReadyError, Reason
from inference_autotuner.optimizer.listing import (
    latency_heading,
    objective_heading,
    trial_row,
)
from inference_autotuner.optimizer.metrics import Measurement
from inference_autotuner.optimizer.objective import objective_values, violations
from inference_autotuner.optimizer.plan import Finished, StopReason
from inference_autotuner.optimizer.study import LOG_TAIL_LIMIT, Study
from inference_autotuner.optimizer.trial import (
    Failed,
    Measured,
    Trial,
    TrialState,
    describe_params,
)
from inference_autotuner.workflows import steps
from inference_autotuner.workflows.deployer import Server
from inference_autotuner.workflows.events import Event, Line, Listener
from inference_autotuner.workflows.results import judge
from inference_autotuner.workflows.steps import Site

Outputs = Mapping[str, str]
SERVES = "serves"
_TOLD = "told"
_POLL_S = 3.0
_LINES_KEPT = 60
_SHOWN = 120  # characters of params and messages in Argo's UI


def ask(
    study: Study,
    key: str,
    *,
    wait_s: float,
    now_s: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Outputs:
    """The trial of a slot, or that there is none; waits while running trials decide.

    Args:
        study: The study.
        key: What the slot asks with.
        wait_s: Longer than any trial takes: one that still runs then is nobody's.
        now_s: Unix time.
        sleep: Waits for some seconds.
    """
    deadline = now_s() + wait_s
    while True:
        is_stopping = bool(study.attribute("stop_requested"))
        asked = steps.ask(study, key, now_s=now_s(), is_stopping=is_stopping)
        if isinstance(asked, Trial):
            return _proceed(study, asked)
        if isinstance(asked, Finished):
            return _end(study, asked)
        if now_s() > deadline:
            # Its pods were lost, and the study would wait for it for ever.
            fail_running(study, now_s(), lambda: (), f"nobody told it within {wait_s:.0f} s")
        sleep(_POLL_S)


def _proceed(study: Study, trial: Trial) -> Outputs:
    """A trial that was told already (its slot is asked again) has nothing left to do."""
    is_open = trial.state is TrialState.RUNNING
    if study.attribute("phase") != "running":
        study.set_attribute("phase", "running")  # a janitor looked while it was being submitted
    return {
        "proceed": str(is_open).lower(),
        "trial": str(trial.number),
        "kind": str(trial.kind),
        "params": _short(describe_params(trial.params, study.space.baseline)),
        "message": "" if is_open else f"{trial.name} is {trial.state} already",
    }


def _end(study: Study, finished: Finished) -> Outputs:
    """The first slot that finds nothing to do judges the study; the others say the same.

    While a trial runs it is too early: that one's measurement belongs to the verdict.
    """
    is_quiet = all(trial.state is not TrialState.RUNNING for trial in study.trials())
    if is_quiet and study.attribute("phase") != "finished":
        steps.note_end(study, finished)
        if finished.is_final:
            judge(study)
    trouble = study.attribute("trouble")
    return {"proceed": "false", "message": _short(trouble or finished.sentence)}


def deploy(site: Site, number: int) -> Outputs:
    """A server for the trial; what it cannot run is told here, and is no failure of the step."""
    study, trial = site.study, site.study.trial(number)
    if trial.state is not TrialState.RUNNING:
        return _told(trial)
    if "measurement" in study.noted(number):
        return {"outcome": SERVES, "message": f"{trial.name} was measured before"}
    with _ends_the_study(study):
        server = steps.deploy(site, trial)
    if server is None:
        return _told(study.trial(number))
    return {"outcome": SERVES, "url": server.url, "message": f"{trial.name} serves"}


def benchmark(site: Site, number: int) -> Outputs:
    """A measurement, kept with the trial until it is told; the server is gone afterwards."""
    study, trial = site.study, site.study.trial(number)
    if trial.state is not TrialState.RUNNING:
        return _told(trial)
    noted = study.noted(number)
    if kept := noted.get("measurement"):
        site.deployer.release(study.name, trial.name)
        return _measured(study, trial, Measurement.from_json(kept))
    if noted.get("is_loaded"):
        # Its caches are warm now: beside fresh servers it would look better than it is.
        return _told(steps.release(site, trial))
    said: deque[str] = deque(maxlen=_LINES_KEPT)
    with _ends_the_study(study):
        listening = replace(
            site, listener=_keeping(said, site.listener), measure=_noting(site, number)
        )
        server = Server(**noted["server"], engine_args=(), resolved={})
        seen = steps.benchmark(listening, trial, server)
    if seen is None:
        return _told(study.trial(number))
    study.note(number, benchmark_tail="\n".join(said)[-LOG_TAIL_LIMIT:])
    return _measured(study, trial, seen)


def _noting(site: Site, number: int) -> Callable[..., Measurement]:
    """Notes that there was load, and what was measured before anything else can go wrong."""

    def measure(*args: Any, **kwargs: Any) -> Measurement:
        site.study.note(number, is_loaded=True)
        seen = site.measure(*args, **kwargs)
        site.study.note(number, measurement=seen.to_json())
        return seen

    return measure


def _keeping(said: deque[str], listener: Listener) -> Listener:
    """The end of what genai-bench says is kept: its pod is gone before anybody asks."""

    def hear(event: Event) -> None:
        if isinstance(event, Line) and event.source == "benchmark":
            said.append(event.text)
        listener(event)

    return hear


def tell(study: Study, number: int, *, now_s: Callable[[], float] = time.time) -> Outputs:
    """The score, from the measurement that was kept."""
    trial = _tell_kept(study, study.trial(number), now_s())
    if trial.measurement is None:
        return {"score": f"{trial.state}: {trial.reason or 'nothing was measured'}"}
    return {"score": _headline(study, trial)}


def _tell_kept(study: Study, trial: Trial, now_s: float) -> Trial:
    """What was measured and not told is told, whichever step comes to it."""
    kept = study.noted(trial.number).get("measurement")
    if trial.state is not TrialState.RUNNING or not kept:
        return trial
    return study.tell(trial.number, Measured(Measurement.from_json(kept)), now_s=now_s)


def release(site: Site, number: int) -> Outputs:
    """The server gone and the trial told, whatever became of the other steps."""
    _tell_kept(site.study, site.study.trial(number), site.now_s())
    ended = steps.release(site, site.study.trial(number))
    why = f": {ended.reason}: {ended.message}" if ended.reason else ""
    return {"message": _short(f"{ended.name} is {ended.state}{why}")}


def sweep(site: Site, workflow_uid: str) -> Outputs:
    """The end of a Workflow: nothing of it is left, and the study says how it ended.

    Another Workflow of the study may run, resubmitted in Argo's UI: what is its own stays.
    """
    study = site.study
    removed = site.deployer.sweep(study.name)
    others = {workflow_of(trial) for trial in study.trials()} - {workflow_uid}
    fail_running(study, site.now_s(), lambda: others)
    if study.attribute("phase") == "running":
        steps.note_end(study, _how_ended(site))
    judge(study)
    left = f"; removed {', '.join(removed)}" if removed else ""
    return {"message": _short(f"{study.name} is {study.attribute('phase')}{left}")}


def _how_ended(site: Site) -> Finished:
    """The last slot may have run a trial, after which none was left to find the study done."""
    study = site.study
    if study.attribute("stop_requested"):
        why = "stopped on request; submit the task again to go on"
        return Finished(StopReason.STOPPED, study.attribute("trouble") or why)
    move = steps.upcoming(study, now_s=site.now_s(), is_stopping=False)
    if isinstance(move, Finished):
        return move
    why = "its Workflow ended before the study did; submit the task again to go on"
    return Finished(StopReason.STOPPED, why)


def fail_running(
    study: Study,
    now_s: float,
    live_workflows: Callable[[], Collection[str]],
    message: str = "its workflow ended before it was measured",
) -> list[Trial]:
    """Tells every trial that nobody works on any more; returns those of which nothing is known.

    Args:
        study: The study.
        now_s: Unix time.
        live_workflows: Looks which Workflows run, by uid. Asked after the trials were read: the
            Workflow of a trial that runs was there before the trial.
        message: What is told of a trial without a measurement.
    """
    failed = []
    running = [trial for trial in study.trials() if trial.state is TrialState.RUNNING]
    live = live_workflows() if running else ()
    for trial in running:
        if workflow_of(trial) not in live:
            told = _tell_kept(study, trial, now_s)
            if told.state is TrialState.RUNNING:
                told = study.tell(trial.number, Failed(Reason.INTERRUPTED, message), now_s=now_s)
                failed.append(told)
    return failed


def key_of(workflow_uid: str, slot: str) -> str:
    """What a slot of a Workflow asks with: a pod that is tried again gets its trial back."""
    return f"{workflow_uid}-{slot}"


def workflow_of(trial: Trial) -> str:
    """The uid of the Workflow that asked for a trial.

    A trial that another executor asked for has none.
    """
    return trial.key.rpartition("-")[0]


@contextmanager
def _ends_the_study(study: Study) -> Iterator[None]:
    """An error that every trial would meet alike ends the study, and says why."""
    try:
        yield
    except NotReadyError:
        raise
    except AutotunerError as error:
        study.set_attribute("trouble", str(error))
        study.set_attribute("stop_requested", True)
        raise


def _told(trial: Trial) -> Outputs:
    message = f"{trial.name} is {trial.state}: {trial.reason}: {trial.message}"
    return {"outcome": _TOLD, "message": _short(message)}


def _measured(study: Study, trial: Trial, seen: Measurement) -> Outputs:
    spec = study.task.spec
    measured = replace(
        trial,
        measurement=seen,
        values=objective_values(spec, seen),
        violations=violations(spec, seen),
    )
    return {"outcome": "measured", "message": _headline(study, measured)}


def _headline(study: Study, trial: Trial) -> str:
    spec = study.task.spec
    row = trial_row(spec, trial, study.space.baseline)
    latency = f"{latency_heading(spec)} {row.latency}"
    return _short(f"{row.objective} {objective_heading(spec)}, {latency}, SLOs: {row.slo}")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
