"""The end of a study: the verdict is decided, kept in the storage, and written to a folder."""

import os
from pathlib import Path

from inference_autotuner.optimizer.judgment import decide
from inference_autotuner.optimizer.study import Study
from inference_autotuner.optimizer.verdict import Verdict
from inference_autotuner.workflows.state import study_folder
from inference_autotuner.workflows.writing import writing_to


def results_folder(study: str) -> Path:
    """Where a study's answer lies on this machine."""
    return study_folder(study) / "results"


def conclude(study: Study) -> Verdict:
    """Decides the verdict, keeps it, and writes everything a person takes away."""
    verdict = write_results(study, results_folder(study.name))
    study.set_attribute("verdict", verdict.to_dict())
    return verdict


def judge(study: Study) -> Verdict:
    """Decides the verdict and keeps it; the files can be written from the storage at any time."""
    verdict = decide(study.space, study.trials())
    study.set_attribute("verdict", verdict.to_dict())
    return verdict


def stored_verdict(study: Study) -> Verdict | None:
    """The verdict of a study that has ended; None while it runs."""
    stored = study.attribute("verdict")
    return Verdict.from_dict(stored) if stored else None


def write_results(study: Study, folder: Path) -> Verdict:
    """Report, verdict, trials and, where there is a winner, manifest and serve.sh.

    Raises:
        NotWritableError: The folder cannot be made or written by this user.
        NotReadyError: The disk is full or faulty.
    """
    # Listings import this module for a stored verdict, and draw nothing.
    from inference_autotuner.manifests.results import SERVING_FILES, result_files

    trials = study.trials()
    verdict = decide(study.space, trials)
    files = result_files(study.task, trials, verdict, study.attribute("facts") or {})
    with writing_to(folder, "make it writable, or name another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            _write_whole(folder / name, content)
        for stale in set(SERVING_FILES) - files.keys():  # an earlier verdict may have left them
            (folder / stale).unlink(missing_ok=True)
    return verdict


def _write_whole(path: Path, content: str) -> None:
    """All of a file or nothing: a reader never sees half of a report."""
    half = path.with_name(path.name + ".half")
    half.write_text(content, "utf-8")
    if path.suffix == ".sh":
        half.chmod(0o755)
    os.replace(half, path)
