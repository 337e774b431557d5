"""The storage service: a study behind it is as good as one on this machine."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inference_autotuner.optimizer import grpc_storage
from inference_autotuner.optimizer.errors import (
    AutotunerError,
    Reason,
    StorageUnavailableError,
)
from inference_autotuner.optimizer.grpc_storage import ServiceStorage, StorageRefusedError
from inference_autotuner.optimizer.storage import open_storage, without_password
from inference_autotuner.optimizer.storage_service import StorageService
from inference_autotuner.optimizer.study import Study, load_study, open_study
from inference_autotuner.optimizer.trial import (
    Infeasible,
    Measured,
    TrialKind,
    TrialState,
)
from tests.optimizer.tasks import measurement, vllm_task

TOKEN = "a-token-of-this-test"
TASK = vllm_task({"max-num-seqs": [16, 32]})


@pytest.fixture(autouse=True)
def _short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNER_STORAGE_TOKEN", TOKEN)
    options = [o for o in grpc_storage._OPTIONS if o[0] != "grpc.service_config"]
    waiting = '{"methodConfig": [{"name": [{}], "waitForReady": true, "timeout": "2s"}]}'
    monkeypatch.setattr(grpc_storage, "_OPTIONS", [*options, ("grpc.service_config", waiting)])


@pytest.fixture
def service(tmp_path: Path) -> Iterator[StorageService]:
    journal = open_storage(f"journal://{tmp_path}/journal.log")
    served = StorageService(journal, address="127.0.0.1:0", token=TOKEN, threads=4)
    thread = threading.Thread(target=served.run)
    thread.start()
    yield served
    served.stop()
    thread.join()


def client(port: int) -> ServiceStorage:
    storage = open_storage(f"grpc://127.0.0.1:{port}")
    assert isinstance(storage, ServiceStorage)
    return storage


def open_at(port: int) -> Study:
    return open_study(client(port), TASK, base="/", now_s=1.0)


def begin(study: Study, key: str, seqs: int = 16) -> int:
    return study.begin(key, TrialKind.EXPLORE, {"max-num-seqs": seqs}, now_s=1.0).number


class Process:
    """`autotuner storage` as a program of its own."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        program = Path(sys.executable).with_name("autotuner")
        words = ["storage", f"--port={port}", f"--backend=journal://{folder}/journal.log"]
        self.process = subprocess.Popen(
            [str(program), *words], stdout=subprocess.PIPE, text=True, cwd=folder
        )
        assert self.process.stdout
        self.said = self.process.stdout.readline()
        self.port = int(self.said.rpartition(":")[2])

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def end(self, number: int = signal.SIGKILL) -> str:
        self.send(signal.SIGCONT)
        self.send(number)
        return self.process.communicate()[0]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    made = Process(tmp_path)
    yield made
    if made.process.poll() is None:
        made.end()


def test_a_study_behind_the_service_keeps_what_it_is_told(service: StorageService) -> None:
    study = open_at(service.port)
    number = begin(study, "a")
    study.note(number, spans={"deploy": 1.5})
    study.tell(number, Measured(measurement(120.0)), now_s=2.0)
    crashed = begin(study, "b", 32)
    study.tell(crashed, Infeasible(Reason.OUT_OF_MEMORY, "no room", "x" * 4096), now_s=3.0)
    again = load_study(client(service.port), study.name)
    assert [t.state for t in again.trials()] == [TrialState.MEASURED, TrialState.INFEASIBLE]
    assert again.trial(0).spans == {"deploy": 1.5}
    assert again.trial(1).log_tail == "x" * 4096


def test_the_same_key_gives_the_same_trial_to_every_client(service: StorageService) -> None:
    first, second = open_at(service.port), open_at(service.port)
    assert begin(first, "a") == begin(second, "a") == 0
    assert begin(second, "b") == 1


def test_telling_twice_keeps_the_first_result(service: StorageService) -> None:
    study, other = open_at(service.port), open_at(service.port)
    number = begin(study, "a")
    study.tell(number, Measured(measurement(120.0)), now_s=2.0)
    other.tell(number, Infeasible(Reason.CRASHED, "late"), now_s=3.0)
    assert other.trial(number).state is TrialState.MEASURED


@pytest.mark.parametrize("token", ["", "another"])
def test_a_client_without_the_token_is_refused_and_told_why(
    service: StorageService, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNER_STORAGE_TOKEN", token)
    with pytest.raises(StorageRefusedError, match="AUTOTUNER_STORAGE_TOKEN") as caught:
        open_at(service.port)
    assert caught.value.exit_code != 75  # trying again would not help


def test_health_answers_without_a_token(service: StorageService) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_service_that_is_not_there_is_an_error_that_may_be_tried_again() -> None:
    with pytest.raises(StorageUnavailableError, match="does not answer") as caught:
        open_at(1)
    assert caught.value.exit_code == 75


def test_a_service_that_hangs_does_not_hang_its_clients(process: Process) -> None:
    study = open_at(process.port)
    process.send(signal.SIGSTOP)
    with pytest.raises(StorageUnavailableError):
        study.trials()
    process.send(signal.SIGCONT)
    study.patience_s = 30.0
    assert study.trials() == []


def test_a_killed_service_loses_nothing_and_its_clients_go_on(process: Process) -> None:
    study = open_at(process.port)
    study.tell(begin(study, "a"), Measured(measurement(120.0)), now_s=2.0)
    process.end(signal.SIGKILL)
    restarted = Process(process.folder, process.port)
    try:
        study.patience_s = 60.0
        assert study.trial(0).state is TrialState.MEASURED
        assert begin(study, "a") == 0
    finally:
        restarted.end()


def test_a_service_that_is_asked_to_stop_says_so_and_ends_well(process: Process) -> None:
    assert "serving journal://" in process.said
    assert process.end(signal.SIGTERM).endswith("stopped\n")
    assert process.process.returncode == 0


def test_a_port_that_is_taken_is_named(service: StorageService) -> None:
    address, storage = f"127.0.0.1:{service.port}", open_storage("memory://")
    with pytest.raises(AutotunerError, match=f"{address} cannot be listened on"):
        StorageService(storage, address=address, token="", threads=1)


def test_a_password_is_never_shown() -> None:
    assert without_password("postgresql://a:b%40c@h:1/d") == "postgresql://a:***@h:1/d"
    assert without_password("journal:///path") == "journal:///path"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sqlite:///x.db", "SQLite loses trials"),
        ("grpc://host", "grpc://host:port"),
        ("grpc://host:port", "grpc://host:port"),
        ("http://host", "allowed are"),
    ],
)
def test_an_address_that_is_none_gets_the_reason(url: str, why: str) -> None:
    with pytest.raises(AutotunerError, match=why):
        open_storage(url)
