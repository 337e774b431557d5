"""At most one process runs a study on this machine."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from inference_autotuner.optimizer.errors import StudyBusyError
from inference_autotuner.workflows.state import study_folder
from inference_autotuner.workflows.writing import STATE_REMEDY, writing_to

_TRIES = 10
_PAUSE_S = 0.05


@contextmanager
def run_lock(study: str) -> Iterator[None]:
    """Holds the study for this process; the kernel gives it back however the process ends.

    Raises:
        StudyBusyError: Another process holds it.
        NotWritableError: The study's folder cannot be made or written.
    """
    with _opened(study_folder(study)) as file:
        if not _locked(file, fcntl.LOCK_EX):
            raise StudyBusyError(
                f"{study} is being run by process {_holder(file) or '?'}; watch it with "
                f"'autotuner status {study}', end it with 'autotuner stop {study}'"
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _opened(folder: Path) -> IO[str]:
    with writing_to(folder, STATE_REMEDY):
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / "run.lock").open("a+")


def runner_of(study: str) -> int | None:
    """The process of this machine that runs the study now, or None."""
    path = study_folder(study) / "run.lock"
    if not path.exists():
        return None
    with path.open("r") as file:
        return None if _locked(file, fcntl.LOCK_SH, tries=1) else _holder(file)


def _locked(file: IO[str], kind: int, tries: int = _TRIES) -> bool:
    """Tries more than once: somebody may merely be looking whether the study runs."""
    for _ in range(tries):
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(_PAUSE_S)
    return False


def _holder(file: IO[str]) -> int | None:
    file.seek(0)
    text = file.read().strip()
    return int(text) if text.isdigit() else None
