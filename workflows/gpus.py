"""The machine's GPUs: one pool for all tuners that run here.

Each GPU is a lock (see `locks`), named after its unique id, so that tuners of different users,
each with its own `CUDA_VISIBLE_DEVICES`, mean the same one. A server inherits the lock: a GPU
counts as taken while the server lives, even when its tuner was killed.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache

from inference_autotuner.workflows.locks import Lock, try_lock

_POLL_S = 0.5
_TELL_EVERY_S = 60.0
_QUERY_S = 30.0


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        name: As `CUDA_VISIBLE_DEVICES` names it.
        key: The same for everybody on the machine.
    """

    name: str
    key: str


@dataclass
class Grant:
    """GPUs that one server may use.

    Attributes:
        gpus: Which.
        environment: What tells the server so; empty on a machine without any.
    """

    gpus: tuple[Gpu, ...]
    environment: dict[str, str]
    _locks: list[Lock]

    @property
    def names(self) -> tuple[str, ...]:
        """As `CUDA_VISIBLE_DEVICES` names them."""
        return tuple(gpu.name for gpu in self.gpus)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the server must inherit, so that it holds them itself."""
        return tuple(lock.descriptor for lock in self._locks)

    def release(self) -> None:
        """Gives them back; the second time does nothing."""
        for lock in self._locks:
            lock.release()


def machine_gpus() -> tuple[Gpu, ...]:
    """The GPUs that this process may give to servers.

    `AUTOTUNER_GPUS` names them (`0,1`; empty: none), else `CUDA_VISIBLE_DEVICES` chooses among
    those that nvidia-smi lists.
    """
    listed = _listed()
    chosen = os.environ.get("AUTOTUNER_GPUS")
    if chosen is not None:
        return _chosen(chosen, listed, is_trusted=True)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return listed if visible is None else _chosen(visible, listed, is_trusted=False)


def acquire(
    gpus: tuple[Gpu, ...],
    count: int,
    *,
    on_wait: Callable[[str], None],
    is_cancelled: Callable[[], bool],
) -> Grant | None:
    """`count` of `gpus`, as soon as they are free; None when cancelled.

    Who asks first is served first: one that wants many is not overtaken for ever by others that
    want one.
    """
    if not gpus or not count:
        return Grant((), {"CUDA_VISIBLE_DEVICES": ""} if gpus else {}, [])
    waited_for = _Notice(on_wait)
    while not is_cancelled():
        turn = try_lock("gpu-turn")
        if turn is None:
            waited_for.tell(f"waiting for GPUs: {count} wanted, others ask before")
            time.sleep(_POLL_S)
            continue
        try:
            return _take(gpus, count, waited_for, is_cancelled)
        finally:
            turn.release()
    return None


def wait_until_unused(pids: Collection[int], timeout_s: float) -> bool:
    """Whether no GPU holds memory of these processes any more, within the time."""
    began = time.monotonic()
    while pids and set(pids) & _computing():
        if time.monotonic() - began > timeout_s:
            return False
        time.sleep(_POLL_S)
    return True


class _Notice:
    """Says why it waits, at once and then now and again."""

    def __init__(self, on_wait: Callable[[str], None]) -> None:
        self._on_wait = on_wait
        self._told_s: float | None = None

    def tell(self, text: str) -> None:
        now = time.monotonic()
        if self._told_s is None or now - self._told_s >= _TELL_EVERY_S:
            self._told_s = now
            self._on_wait(text)


def _take(
    gpus: tuple[Gpu, ...], count: int, notice: _Notice, is_cancelled: Callable[[], bool]
) -> Grant | None:
    """All or none: two that each hold half of what they want would wait for ever."""
    while not is_cancelled():
        held = _lock_free(gpus, count)
        if len(held) == count:
            return _granted(held)
        for lock in held.values():
            lock.release()
        notice.tell(f"waiting for GPUs: {count} wanted, {len(held)} of {len(gpus)} free")
        time.sleep(_POLL_S)
    return None


def _lock_free(gpus: tuple[Gpu, ...], count: int) -> dict[Gpu, Lock]:
    held: dict[Gpu, Lock] = {}
    for gpu in gpus:
        if len(held) < count and (lock := try_lock(f"gpu-{gpu.key}")):
            held[gpu] = lock
    return held


def _granted(held: dict[Gpu, Lock]) -> Grant:
    names = ",".join(gpu.name for gpu in held)
    # nvidia-smi counts by bus, CUDA by speed unless told.
    environment = {"CUDA_VISIBLE_DEVICES": names, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return Grant(tuple(held), environment, list(held.values()))


def _chosen(text: str, listed: tuple[Gpu, ...], *, is_trusted: bool) -> tuple[Gpu, ...]:
    """As CUDA reads it: the first word that names no GPU ends the list."""
    found: list[Gpu] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        gpu = _named(word, listed) or (Gpu(word, word) if is_trusted and not listed else None)
        if gpu is None:
            break
        found.append(gpu)
    return tuple(found)


def _named(word: str, listed: tuple[Gpu, ...]) -> Gpu | None:
    """By number, or by the beginning of the unique id."""
    for gpu in listed:
        if word == gpu.name or (len(word) > 4 and gpu.key.startswith(word)):
            return gpu
    if listed and word.startswith("MIG-"):
        return Gpu(word, word)
    return None


def _listed() -> tuple[Gpu, ...]:
    """None where nvidia-smi is missing, or finds no driver now."""
    program = shutil.which("nvidia-smi")
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return _list_with(program) if program else ()
    return ()


@lru_cache(maxsize=8)
def _list_with(program: str) -> tuple[Gpu, ...]:
    """Asked once: it takes up to seconds, and GPUs are not plugged in meanwhile."""
    rows = (row.split(",") for row in _query(program, "--query-gpu=index,uuid"))
    return tuple(Gpu(row[0].strip(), row[1].strip()) for row in rows if len(row) == 2)


def _computing() -> set[int]:
    program = shutil.which("nvidia-smi")
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        rows = _query(program, "--query-compute-apps=pid") if program else []
        return {int(row) for row in rows if row.strip().isdecimal()}
    return set()


def _query(program: str, what: str) -> list[str]:
    answer = subprocess.run(
        [program, what, "--format=csv,noheader"],
        capture_output=True,
        text=True,
        timeout=_QUERY_S,
        check=True,
    )
    return answer.stdout.splitlines()
