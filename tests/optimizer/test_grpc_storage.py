"""The service's client: nothing hangs it, and it goes on with the service that comes back."""

import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference_autotuner.optimizer.errors import AutotunerError, Reason, StorageUnavailableError
from inference_autotuner.optimizer.grpc_storage import ServiceStorage
from inference_autotuner.optimizer.storage import open_storage, storage_url
from inference_autotuner.optimizer.study import load_study, study_names
from inference_autotuner.optimizer.trial import Infeasible, Measured, TrialState
from tests.optimizer.storage_process import TOKEN, StorageProcess, begin, open_at
from tests.optimizer.tasks import measurement


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNER_STORAGE_TOKEN", TOKEN)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[StorageProcess]:
    made = StorageProcess(storage_url(tmp_path / "journal.log"))
    yield made
    made.end()


def test_a_service_that_hangs_is_an_error_within_the_deadline(process: StorageProcess) -> None:
    study = open_at(process.port, call_s=1.0)
    process.send(signal.SIGSTOP)
    with pytest.raises(StorageUnavailableError, match="run the same command again") as caught:
        study.trials()
    assert caught.value.exit_code == 75
    process.send(signal.SIGCONT)
    study.patience_s = 30.0
    assert study.trials() == []


def test_a_trial_asked_of_a_hanging_service_is_made_once(process: StorageProcess) -> None:
    study = open_at(process.port, call_s=1.0)
    process.send(signal.SIGSTOP)
    with pytest.raises(StorageUnavailableError):
        begin(study, "a")
    process.send(signal.SIGCONT)
    study.patience_s = 30.0
    assert begin(study, "a") == 0
    assert [trial.key for trial in study.trials()] == ["a"]


def test_a_call_made_while_a_service_is_away_waits_for_it(process: StorageProcess) -> None:
    study = open_at(process.port, call_s=60.0)
    process.end(signal.SIGTERM)
    restart = threading.Timer(1.0, process.start)
    restart.start()
    assert begin(study, "a") == 0
    restart.join()


def test_a_killed_service_loses_nothing_and_its_clients_go_on(process: StorageProcess) -> None:
    study = open_at(process.port)
    study.tell(begin(study, "a"), Measured(measurement(120.0)), now_s=2.0)
    running = begin(study, "b")
    process.end(signal.SIGKILL)
    process.start()
    assert study.trial(0).state is TrialState.MEASURED
    assert begin(study, "a") == 0
    assert begin(study, "b") == running
    assert study.tell(running, Infeasible(Reason.CRASHED, "it"), now_s=3.0).reason == "Crashed"


def test_kills_amid_writing_lose_no_told_trial_and_make_none_twice(
    process: StorageProcess,
) -> None:
    study = open_at(process.port)
    study.patience_s = 60.0
    done = threading.Event()

    def work() -> None:
        try:
            for index in range(60):
                study.tell(begin(study, f"k{index}"), Measured(measurement()), now_s=2.0)
        finally:
            done.set()

    worker = threading.Thread(target=work)
    worker.start()
    for _ in range(3):
        done.wait(0.15)
        process.end(signal.SIGKILL)
        process.start()
    worker.join()
    trials = study.trials()
    assert [trial.key for trial in trials] == [f"k{index}" for index in range(60)]
    assert {trial.state for trial in trials} == {TrialState.MEASURED}


def test_a_service_that_is_not_there_is_an_error_that_may_be_tried_again() -> None:
    with pytest.raises(StorageUnavailableError, match="grpc://127.0.0.1:1: .* does not answer"):
        study_names(ServiceStorage("grpc://127.0.0.1:1", call_s=0.5))


def test_names_of_studies_and_studies_by_name_are_translated_too() -> None:
    storage = ServiceStorage("grpc://127.0.0.1:1", call_s=0.2)
    with pytest.raises(StorageUnavailableError):
        study_names(storage)
    with pytest.raises(StorageUnavailableError):
        load_study(storage, "chat")


@pytest.mark.parametrize(
    "url", ["grpc://", "grpc://host:port", "grpc://host:99999", "grpc://u@host", "grpc://host/a"]
)
def test_an_address_that_is_none_says_how_to_write_it(url: str) -> None:
    with pytest.raises(AutotunerError, match="grpc://host:port"):
        open_storage(url)


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    key, chain = str(folder / "key.pem"), str(folder / "chain.pem")
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        + ["-nodes", "-keyout", key, "-out", chain, "-days", "2", "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("openssl cannot make a certificate here")
    return chain, key


def test_a_client_that_trusts_the_certificate_speaks_tls(
    pems: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, key = pems
    url = storage_url(tmp_path / "journal.log")
    process = StorageProcess(url, f"--tls-cert={chain}", f"--tls-key={key}")
    try:
        assert "grpcs://" in process.said
        address = f"grpcs://127.0.0.1:{process.port}"
        monkeypatch.setenv("AUTOTUNER_STORAGE_CA", chain)
        assert study_names(ServiceStorage(address)) == []
        monkeypatch.delenv("AUTOTUNER_STORAGE_CA")
        with pytest.raises(StorageUnavailableError):
            study_names(ServiceStorage(address, call_s=1.0))
        with pytest.raises(StorageUnavailableError):
            study_names(ServiceStorage(f"grpc://127.0.0.1:{process.port}", call_s=1.0))
    finally:
        process.end()


def test_a_root_certificate_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNER_STORAGE_CA", "/nowhere/ca.pem")
    with pytest.raises(AutotunerError, match="/nowhere/ca.pem.*AUTOTUNER_STORAGE_CA"):
        open_storage("grpcs://127.0.0.1:1")
