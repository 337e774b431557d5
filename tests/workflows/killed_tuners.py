"""Kills a tuner at one line after another of a trial's life, and looks what a sweep leaves.

A program of its own, for it forks: `python killed_tuners.py FIRST STEP`. Prints a line for each
kill; exits with 1 when something was left.
"""

import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from inference_autotuner.workflows import engine_process, leases, process, warden
from inference_autotuner.workflows.leases import read_leases
from inference_autotuner.workflows.locks import try_lock
from inference_autotuner.workflows.marks import marked_processes
from inference_autotuner.workflows.process import ProcessDeployer
from inference_autotuner.workflows.sweep import sweep
from tests.workflows.fake_engine import make_order

TRACED = {module.__file__ for module in (engine_process, leases, process)}


class Tracer:
    """Kills this process at the line with number `limit` of those that count."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in TRACED:
            return None
        if event == "line":
            self._left -= 1
            if not self._left:
                place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                os.write(1, f"{place} ".encode())
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def run_trial() -> None:
    """Deploys and releases; the engine starts a helper that leaves the process group."""
    deployer = ProcessDeployer()
    order = make_order({"helper": "session"}, base=Path("/"), gpus=1)
    deployer.deploy(
        order, on_line=lambda line: None, on_room=lambda: None, is_cancelled=lambda: False
    )
    deployer.release(order.study, order.trial)


def is_killed(limit: int) -> bool:
    """Whether the tuner met its end before the trial met its own."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    sys.settrace(Tracer(limit))
    run_trial()
    os._exit(0)


def leftovers() -> list[str]:
    """What is still there after a sweep."""
    left = [f"process {who.pid}" for who in marked_processes()]
    left += [lease.path.name for lease in read_leases()]
    if (gpu := try_lock("gpu-7")) is None:
        left.append("GPU")
    else:
        gpu.release()
    return left


def busy_ports(ports: set[int]) -> list[str]:
    """Those on which nobody could listen."""
    busy = []
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                busy.append(f"port {port}")
    return busy


def main(first: int, step: int) -> int:
    """Returns how many kills left something."""
    os.environ["AUTOTUNER_GPUS"] = "7"
    warden.watch = lambda: None
    limit, failed = first, 0
    while is_killed(limit):
        ports = {lease.port for lease in read_leases()}
        removed = sweep()
        left = leftovers() + busy_ports(ports)
        print(f"line {limit}: removed {removed or 'nothing'}, left {left or 'nothing'}", flush=True)
        failed += bool(left)
        limit += step
    return failed


if __name__ == "__main__":
    sys.exit(min(1, main(int(sys.argv[1]), int(sys.argv[2]))))
