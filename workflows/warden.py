"""A small process that outlives its tuner, for no longer than it takes to end what that left.

However the tuner ends, `kill -9` included, its servers are gone a second later: nobody has to
come back and sweep. The kernel could be asked to kill children with their parent, but it does so
when the *thread* that started them ends, so a program does it.
"""

import atexit
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from inference_autotuner.workflows.marks import without_mark
from inference_autotuner.workflows.processes import Identity, is_running, this_process
from inference_autotuner.workflows.state import state_folder
from inference_autotuner.workflows.sweep import sweep

_POLL_S = 2.0
_FAREWELL_S = 5.0
# A process that was being started when its tuner died carries its mark a moment later.
_LATE_S = 0.5
_wardens: dict[tuple[int, Path], "subprocess.Popen[bytes]"] = {}
_guard = threading.Lock()


def watch() -> None:
    """Makes sure that this process has a warden for its state folder.

    Raises:
        OSError: It cannot be started.
    """
    key = (os.getpid(), state_folder())
    with _guard:
        known = _wardens.get(key)
        if known is None or known.poll() is not None:
            _wardens[key] = _start()


def dismiss() -> None:
    """Lets the wardens go, once they have seen that nothing is left."""
    with _guard:
        for (pid, _), warden in _wardens.items():
            if pid == os.getpid():
                _say_farewell(warden)
        _wardens.clear()


atexit.register(dismiss)


def _start() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, str(this_process())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        env={**without_mark(os.environ), "AUTOTUNER_STATE": str(state_folder())},
    )


def _say_farewell(warden: "subprocess.Popen[bytes]") -> None:
    assert warden.stdin is not None
    warden.stdin.close()
    try:
        warden.wait(_FAREWELL_S)
    except subprocess.TimeoutExpired:
        warden.returncode = 0  # it has something to end; it needs nobody for that


def main(tuner: Identity) -> None:
    """Waits for the end of `tuner`, then sweeps what it answered for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    while is_running(tuner) and not select.select([sys.stdin], [], [], _POLL_S)[0]:
        pass
    sweep(dead=tuner)
    if not is_running(tuner):
        time.sleep(_LATE_S)
        sweep(dead=tuner)


if __name__ == "__main__":
    told = Identity.parse(sys.argv[1])
    assert told is not None
    main(told)
