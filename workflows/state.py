"""Where this machine keeps what must last: one folder, one sub-folder a study."""

import hashlib
import os
from pathlib import Path

from inference_autotuner.workflows.writing import STATE_REMEDY, writing_to


def state_folder() -> Path:
    """`$AUTOTUNER_STATE`, else `$XDG_DATA_HOME/inference-autotuner`, by the XDG rule."""
    if chosen := os.environ.get("AUTOTUNER_STATE"):
        return Path(chosen).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return (Path(data).expanduser() / "inference-autotuner").absolute()


def study_folder(study: str) -> Path:
    """Logs, raw benchmark files and the answer of one study."""
    return state_folder() / "studies" / study


def trial_folder(study: str, trial: str) -> Path:
    """Logs and raw benchmark files of one trial, such as `t-0003`."""
    return study_folder(study) / "trials" / trial


def lease_folder() -> Path:
    """One file for each server that runs, or may have been left running."""
    return state_folder() / "leases"


def state_id() -> str:
    """What tells this state folder from every other on the machine, however it is reached.

    Made from the folder's place on the disk: a copy of it is another one, a link to it the same.

    Raises:
        NotWritableError: The folder cannot be made.
    """
    folder = state_folder()
    with writing_to(folder, STATE_REMEDY):
        folder.mkdir(parents=True, exist_ok=True)
    place = folder.stat()
    text = f"{place.st_dev}:{place.st_ino}:{os.getuid()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
