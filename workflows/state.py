"""Where this machine keeps what must last: one folder, one sub-folder a study."""

import os
from pathlib import Path


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
