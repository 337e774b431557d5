"""A port that no other tuner of this machine takes, and nobody else listens on."""

import errno
import random
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from inference_autotuner.optimizer.errors import DeployError, Reason
from inference_autotuner.workflows.locks import Lock, try_lock

RANGE = range(20000, 30000)
LOCK_PREFIX = "port-"
_POLL_S = 0.05


@dataclass
class Port:
    """A port that is kept for one server.

    Attributes:
        number: Its number.
    """

    number: int
    _lock: Lock

    def release(self) -> None:
        """Gives it back; the second time does nothing."""
        self._lock.release(is_kept=False)


def reserve_port() -> Port:
    """A free port, kept until it is released or this process ends.

    Raises:
        DeployError: There is none.
        OSError: The lock folder cannot be written.
    """
    candidates = _candidates()
    for number in random.sample(candidates, len(candidates)):
        if (lock := try_lock(f"{LOCK_PREFIX}{number}")) is None:
            continue
        if _can_bind("", number, reuse=False):
            return Port(number, lock)
        Port(number, lock).release()
    raise DeployError(
        Reason.PORT_IN_USE,
        f"no free port from {candidates[0]} to {candidates[-1]}; see what listens there",
    )


def wait_until_free(number: int, timeout_s: float) -> bool:
    """Whether a server can listen on the port now, or within the time."""
    began = time.monotonic()
    while not _can_bind("127.0.0.1", number, reuse=True):
        if time.monotonic() - began > timeout_s:
            return False
        time.sleep(_POLL_S)
    return True


def _candidates() -> list[int]:
    """Ports that the kernel does not hand to clients, where that leaves any."""
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
        low, high = map(int, text.split())
    except (OSError, ValueError):
        return list(RANGE)
    return [port for port in RANGE if not low <= port <= high] or list(RANGE)


def _can_bind(host: str, number: int, *, reuse: bool) -> bool:
    """With `reuse` as servers bind: connections that are closing are no obstacle then."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        try:
            probe.bind((host, number))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True
