"""Processes of this machine: who is who, who belongs to whom, and how they are ended for good."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

import psutil

from inference_autotuner.optimizer.errors import StudyError

_HAS_PROC = Path("/proc/self/stat").exists()
# Where there is no /proc a birth is a wall clock time that went through a float.
_TOLERANCE = 0 if _HAS_PROC else 100
_POLL_S = 0.03
# A tracker of shared memory cleans up when its parent is gone, and needs a moment for it.
_TRACKER_S = 1.0
_TRACKER = "multiprocessing.resource_tracker"


@dataclass(frozen=True, order=True)
class Identity:
    """One process and no later one with the same number.

    Attributes:
        pid: Its number.
        birth: When it started, in hundredths of a second: since boot where /proc tells (no jump
            of the clock changes that), else since 1970.
    """

    pid: int
    birth: int

    def __str__(self) -> str:
        return f"{self.pid}-{self.birth}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """What `str` wrote; None for any other text."""
        pid, _, birth = text.partition("-")
        if not (pid.isdecimal() and birth.isdecimal()):
            return None
        return cls(int(pid), int(birth))


class UnkillableError(StudyError):
    """Processes outlive SIGKILL: what they hold stays taken, so nothing can go on here."""

    def __init__(self, names: str) -> None:
        super().__init__(
            f"{names} outlives SIGKILL: it hangs in the kernel, often in a GPU or disk driver; "
            "see dmesg, and restart the machine if it stays"
        )


def identify(pid: int) -> Identity | None:
    """Who has the number `pid` now; None when nobody has."""
    birth = _birth(pid)
    return None if birth is None else Identity(pid, birth)


def this_process() -> Identity:
    """The process that runs this code."""
    return _this_process(os.getpid())


@lru_cache(maxsize=4)
def _this_process(pid: int) -> Identity:
    found = identify(pid)
    assert found is not None
    return found


def exists(identity: Identity) -> bool:
    """Whether its number is still its own: it runs, or is a zombie."""
    birth = _birth(identity.pid)
    return birth is not None and abs(birth - identity.birth) <= _TOLERANCE


def is_running(identity: Identity) -> bool:
    """Whether it runs; a zombie does only while some thread of it does."""
    if not exists(identity):
        return False
    try:
        process = psutil.Process(identity.pid)
        return process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def family(root: Identity) -> set[Identity]:
    """`root`, its descendants, and its session when it leads one; empty when it is gone."""
    if not exists(root):
        return set()
    pids = {root.pid}
    with contextlib.suppress(psutil.Error):
        pids |= {child.pid for child in psutil.Process(root.pid).children(recursive=True)}
    if _session(root.pid) == root.pid:
        pids |= {pid for pid in psutil.pids() if _session(pid) == root.pid}
    return {found for pid in pids if (found := identify(pid))}


def ancestors() -> set[int]:
    """The numbers of this process and of those above it: nothing here ever ends them."""
    with contextlib.suppress(psutil.Error):
        return {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return {os.getpid(), os.getppid()}


def end(
    find: Callable[[], Iterable[Identity]], *, grace_s: float, patience_s: float
) -> set[Identity]:
    """Ends all that `find` finds, again and again, until it finds nothing that runs.

    First SIGTERM and `grace_s` to obey it, then SIGKILL: whoever forks faster than that is met
    in the next round.

    Returns:
        Every process that was found.

    Raises:
        UnkillableError: Something still runs `patience_s` after SIGKILL.
    """
    seen = set(find())
    for identity in seen:
        _signal(identity, signal.SIGTERM)
    began = time.monotonic()
    while time.monotonic() < began + grace_s and _running(seen):
        time.sleep(_POLL_S)
    return _kill(find, seen, patience_s)


def _kill(
    find: Callable[[], Iterable[Identity]], seen: set[Identity], patience_s: float
) -> set[Identity]:
    began = time.monotonic()
    while True:
        seen |= set(find())
        alive = _running(seen)
        if not alive:
            return seen
        waited = time.monotonic() - began
        if waited > patience_s:
            raise UnkillableError(", ".join(_describe(identity) for identity in sorted(alive)))
        for identity in alive:
            if waited > _TRACKER_S or not _is_tracker(identity):
                _signal(identity, signal.SIGKILL)
        time.sleep(_POLL_S)


def _running(identities: Iterable[Identity]) -> list[Identity]:
    return [identity for identity in identities if is_running(identity)]


def _signal(identity: Identity, number: signal.Signals) -> None:
    """To this process and no other; whether it obeyed is seen by looking."""
    if exists(identity):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(identity.pid, number)


def _is_tracker(identity: Identity) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(_TRACKER in word for word in psutil.Process(identity.pid).cmdline())
    return False


def _describe(identity: Identity) -> str:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(identity.pid)
        return f"process {identity.pid} ({process.name()}, {process.status()})"
    return f"process {identity.pid}"


def _session(pid: int) -> int | None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        return os.getsid(pid)
    return None


def _birth(pid: int) -> int | None:
    if _HAS_PROC:
        return _ticks_from_boot(pid)
    try:
        return round(psutil.Process(pid).create_time() * 100)
    except psutil.Error:
        return None


def _ticks_from_boot(pid: int) -> int | None:
    """Field 22 of the process's line; its second, the name, may hold blanks and brackets."""
    try:
        line = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = line[line.rfind(b")") + 1 :].split()
    return int(fields[19]) if len(fields) > 19 else None
