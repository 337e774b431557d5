"""`autotuner storage` as a program of its own, to be stopped and killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from inference_autotuner.optimizer.grpc_storage import ServiceStorage
from inference_autotuner.optimizer.study import Study, open_study
from inference_autotuner.optimizer.trial import TrialKind
from tests.optimizer.tasks import vllm_task
from tests.workflows.timing import until

TOKEN = "a-token-of-this-test"
TASK = vllm_task({"max-num-seqs": [16, 32, 64]})


class StorageProcess:
    """A service with a backend, at a port that it keeps through restarts."""

    def __init__(self, backend: str, *options: str, token: str = TOKEN) -> None:
        self._backend = backend
        self._options = options
        self._token = token
        self.port = 0
        self.start()

    def start(self) -> None:
        """Starts it, again after an end, and waits until it listens."""
        program = str(Path(sys.executable).with_name("autotuner"))
        words = [f"--port={self.port}", f"--backend={self._backend}", *self._options]
        self.process = subprocess.Popen(
            [program, "storage", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "AUTOTUNER_STORAGE_TOKEN": self._token},
        )
        assert self.process.stdout
        self.said = self.process.stdout.readline()
        self.port = int(self.said.rpartition(":")[2])

    def send(self, number: int) -> None:
        """A signal; SIGSTOP has stopped every thread when this returns."""
        self.process.send_signal(number)
        if number == signal.SIGSTOP:
            until(self._is_stopped)

    def _is_stopped(self) -> bool:
        tasks = Path("/proc", str(self.process.pid), "task").glob("*/stat")
        return all(task.read_text().rpartition(")")[2].split()[0] == "T" for task in tasks)

    def end(self, number: int = signal.SIGKILL) -> str:
        """Ends it; what it printed since its first line."""
        if self.process.poll() is not None:
            return ""
        self.send(signal.SIGCONT)
        self.send(number)
        return self.process.communicate(timeout=60)[0]


def client(port: int, *, call_s: float = 20.0) -> ServiceStorage:
    """A client that gives a call up after `call_s`."""
    return ServiceStorage(f"grpc://127.0.0.1:{port}", call_s=call_s)


def open_at(port: int, *, call_s: float = 20.0) -> Study:
    """The test's study behind a service, opened with all the time that its start needs."""
    study = open_study(client(port), TASK, base="/", now_s=1.0)
    return Study(client(port, call_s=call_s), study._id, study.name, TASK)


def begin(study: Study, key: str, seqs: int = 16) -> int:
    """The number of the trial of a key."""
    return study.begin(key, TrialKind.EXPLORE, {"max-num-seqs": seqs}, now_s=1.0).number
