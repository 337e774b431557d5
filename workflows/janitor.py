"""Removes from this machine what nobody will come back for."""

from collections.abc import Iterator
from pathlib import Path

from inference_autotuner.workflows.leases import TEMPORARY, read_leases, remove_lease
from inference_autotuner.workflows.locks import remove_unused
from inference_autotuner.workflows.ports import LOCK_PREFIX
from inference_autotuner.workflows.state import lease_folder
from inference_autotuner.workflows.sweep import sweep
from inference_autotuner.workflows.world import world_may_break

# Longer than any write takes: what is older was being written when its tuner was killed.
_TEMPORARY_S = 3600.0
# Nobody can look whether a tuner on another machine lives; no trial takes so long.
_ELSEWHERE_S = 30 * 86400.0


def clean(now: float) -> list[str]:
    """Ends servers of tuners that are gone, and removes old files.

    Args:
        now: Unix time.

    Returns:
        What was removed, one line each.

    Raises:
        StudyError: A process outlives SIGKILL.
        DeployError: The disk refuses.
    """
    with world_may_break():
        return _clean(now)


def _clean(now: float) -> list[str]:
    removed = sweep()
    removed += [f"temporary file {path.name}" for path in _remove_temporaries(now)]
    removed += [f"old lease of another machine: {name}" for name in _remove_elsewhere(now)]
    if count := remove_unused(LOCK_PREFIX):
        removed.append(f"files of port locks that nobody holds: {count}")
    return removed


def _remove_temporaries(now: float) -> Iterator[Path]:
    for path in sorted(lease_folder().glob(f".*{TEMPORARY}")):
        if _age(path, now) > _TEMPORARY_S:
            path.unlink(missing_ok=True)
            yield path


def _remove_elsewhere(now: float) -> Iterator[str]:
    """Only a file: what ran there is for that machine's own janitor, which goes by mark."""
    for lease in read_leases():
        if lease.is_elsewhere and _age(lease.path, now) > _ELSEWHERE_S:
            remove_lease(lease)
            yield f"{lease.owner} on {lease.machine.partition('/')[0]}"


def _age(path: Path, now: float) -> float:
    try:
        return now - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
