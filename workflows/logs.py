"""The log files of a trial, as lines; while it runs, also those to come."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from inference_autotuner.optimizer.errors import StudyError
from inference_autotuner.optimizer.study import Study
from inference_autotuner.optimizer.trial import Trial, TrialState
from inference_autotuner.workflows.run_folder import LOG_FILE
from inference_autotuner.workflows.state import trial_folder

_POLL_S = 0.5


def log_lines(
    study: Study, number: int | None, *, source: str, is_following: bool
) -> Iterator[str]:
    """Lines of a trial's log.

    Args:
        study: The study.
        number: The trial; None for the newest one.
        source: `engine` or `benchmark`.
        is_following: Whether to wait for more until the trial has ended.

    Raises:
        StudyError: There is no such trial, or it has no log on this machine.
    """
    trials = study.trials()
    if not trials:
        raise StudyError(f"{study.name} has no trial yet")
    trial = study.trial(len(trials) - 1 if number is None else number)
    if study.attribute("workflow"):
        yield from _of_cluster(study, trial, source, is_following)
        return
    if not is_following and not _files(study, trial, source):
        yield from _stored_tail(study, trial, source)
        return
    yield from _read(
        lambda: _files(study, trial, source), lambda: is_following and _runs(study, trial)
    )


def _of_cluster(study: Study, trial: Trial, source: str, is_following: bool) -> Iterator[str]:
    from inference_autotuner.workflows.cluster import Cluster
    from inference_autotuner.workflows.cluster_logs import cluster_log_lines

    yield from cluster_log_lines(
        study, trial, Cluster.connect(), source=source, is_following=is_following
    )


def _files(study: Study, trial: Trial, source: str) -> list[Path]:
    """The engine has one log; every invocation of genai-bench has its own, oldest first."""
    folder = trial_folder(study.name, trial.name)
    if source == "engine":
        return [path for path in [folder / "engine.log"] if path.exists()]
    found = (folder / "benchmark").glob(f"*/{LOG_FILE}")
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _stored_tail(study: Study, trial: Trial, source: str) -> Iterator[str]:
    if source != "engine" or not trial.log_tail:
        folder = trial_folder(study.name, trial.name)
        raise StudyError(f"no {source} log in {folder}: the trial wrote none, or ran elsewhere")
    yield from trial.log_tail.splitlines()


def _runs(study: Study, trial: Trial) -> bool:
    return study.trial(trial.number).state is TrialState.RUNNING


def _read(files: Callable[[], list[Path]], may_grow: Callable[[], bool]) -> Iterator[str]:
    positions: dict[Path, int] = {}
    while True:
        is_growing = may_grow()  # asked before reading: what came last is still read
        for path in files():
            with path.open(errors="replace") as file:
                file.seek(positions.get(path, 0))
                while line := file.readline():
                    yield line.rstrip("\n")
                positions[path] = file.tell()
        if not is_growing:
            return
        time.sleep(_POLL_S)
