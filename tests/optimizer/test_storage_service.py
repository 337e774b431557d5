"""The storage service: who is let in, what health says, and that no answer makes two trials."""

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from optuna.storages import InMemoryStorage
from optuna.storages._grpc.auto_generated import api_pb2
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from inference_autotuner.optimizer import storage_service
from inference_autotuner.optimizer.errors import (
    AutotunerError,
    StorageRefusedError,
    StorageUnavailableError,
)
from inference_autotuner.optimizer.storage import open_storage
from inference_autotuner.optimizer.storage_service import StorageService
from tests.optimizer.storage_process import TOKEN, begin, client, open_at

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Served:
    """A service in a thread, what it serves, and what it said."""

    def __init__(self, **options: Any) -> None:
        self.storage = InMemoryStorage()
        self.lines: list[str] = []
        self.service = StorageService(
            self.storage,
            address="127.0.0.1:0",
            threads=4,
            on_line=self.lines.append,
            **{"token": TOKEN, **options},
        )
        self._thread = threading.Thread(target=self.service.run)
        self._thread.start()

    @property
    def port(self) -> int:
        return self.service.port

    def stop(self) -> None:
        self.service.stop()
        self._thread.join()

    def health(self) -> int:
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=10)
        return int(answer.status)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("AUTOTUNER_STORAGE_TOKEN", TOKEN)
    monkeypatch.setattr(storage_service, "_HEALTH_PERIOD_S", 0.05)
    made = Served()
    yield made
    made.stop()


@pytest.mark.parametrize("token", ["", "another", TOKEN + "x", TOKEN[:-1]])
def test_a_client_without_the_token_is_refused_and_told_why(
    served: Served, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNER_STORAGE_TOKEN", token)
    with pytest.raises(StorageRefusedError, match="AUTOTUNER_STORAGE_TOKEN") as caught:
        open_at(served.port)
    assert caught.value.exit_code != 75  # trying again would not help
    assert TOKEN not in str(caught.value)


def test_a_stranger_is_refused_before_it_has_sent_anything(served: Served) -> None:
    is_over = threading.Event()

    def never() -> Iterator[bytes]:
        is_over.wait(30)
        yield from ()

    with grpc.insecure_channel(f"127.0.0.1:{served.port}") as channel:
        call = channel.stream_unary("/optuna.StorageService/GetAllStudies")
        refused = call.future(never(), timeout=10)
        code = refused.code()
        is_over.set()
    assert code is grpc.StatusCode.UNAUTHENTICATED


def test_refused_calls_are_counted_in_one_line(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_service, "_HEALTH_PERIOD_S", 60.0)
    monkeypatch.setenv("AUTOTUNER_STORAGE_TOKEN", "")
    for _ in range(20):
        with pytest.raises(StorageRefusedError):
            client(served.port).get_all_studies()
    served.stop()
    counted = [line for line in served.lines if line.startswith("refused ")]
    assert sum(int(line.split()[1]) for line in counted) == 20
    assert len(counted) <= 2


def test_a_token_changed_in_the_environment_is_used_at_the_next_call(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = client(served.port)
    monkeypatch.setenv("AUTOTUNER_STORAGE_TOKEN", "old")
    with pytest.raises(StorageRefusedError):
        storage.get_all_studies()
    monkeypatch.setenv("AUTOTUNER_STORAGE_TOKEN", TOKEN + "\n")  # as a file gives it
    assert storage.get_all_studies() == []


def test_without_a_token_of_its_own_a_service_asks_for_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AUTOTUNER_STORAGE_TOKEN", raising=False)
    made = Served(token="")
    try:
        assert client(made.port).get_all_studies() == []
    finally:
        made.stop()


def test_health_answers_without_a_token(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTOTUNER_STORAGE_TOKEN")
    assert served.health() == SERVING


def test_health_follows_the_backend_which_is_named_once(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(served.storage, "get_all_studies", gone)
    wait_for(lambda: served.health() == NOT_SERVING)
    monkeypatch.undo()
    wait_for(lambda: served.health() == SERVING)
    wait_for(lambda: len(served.lines) == 2)
    assert "No space left" in served.lines[0]
    assert served.lines[1] == "the backend answers again"


def wait_for(condition: Any) -> None:
    pause = threading.Event()
    for _ in range(400):
        if condition():
            return
        pause.wait(0.05)
    raise AssertionError("it never came true")


def test_a_backend_that_fails_is_told_to_the_client_as_such(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_at(served.port)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(served.storage, "create_new_trial", full)
    with pytest.raises(StorageUnavailableError, match="No space left") as caught:
        begin(study, "a")
    assert "Exception calling" not in str(caught.value)  # gRPC's words for a bug


def test_a_late_twin_of_a_call_makes_no_second_trial(served: Served) -> None:
    """As when an answer is lost: the client asks again without knowing."""
    study = open_at(served.port)
    first = begin(study, "a")
    template = create_trial(state=OptunaState.RUNNING, user_attrs={"asked": {"key": "a"}})
    again = client(served.port).create_new_trial(study._id, template)
    assert served.storage.get_trial(again).number == first
    assert len(study.trials()) == 1


def test_twins_at_the_same_moment_make_one_trial(served: Served) -> None:
    study = open_at(served.port)
    template = create_trial(state=OptunaState.RUNNING, user_attrs={"asked": {"key": "a"}})
    made: list[int] = []

    def create() -> None:
        made.append(client(served.port).create_new_trial(study._id, template))

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1


def test_trials_without_a_key_are_all_made(served: Served) -> None:
    storage = client(served.port)
    study = open_at(served.port)
    assert len({storage.create_new_trial(study._id) for _ in range(3)}) == 3


def test_a_message_beyond_the_limit_is_an_error_and_not_the_end(served: Served) -> None:
    study = open_at(served.port, call_s=10.0)
    with pytest.raises(StorageUnavailableError):
        study.set_attribute("facts", "x" * (65 << 20))
    assert study.trials() == []


def test_an_unknown_call_is_refused_in_order(served: Served) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{served.port}") as channel:
        call = channel.unary_unary("/optuna.StorageService/Nonsense")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", metadata=[("authorization", f"Bearer {TOKEN}")], timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_garbage_instead_of_a_request_harms_nobody(served: Served) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{served.port}") as channel:
        call = channel.unary_unary("/optuna.StorageService/CreateNewTrial")
        with pytest.raises(grpc.RpcError):
            call(b"\xff\xff\xff", metadata=[("authorization", f"Bearer {TOKEN}")], timeout=10)
    assert client(served.port).get_all_studies() == []


def test_a_port_that_is_taken_is_named(served: Served) -> None:
    address, storage = f"127.0.0.1:{served.port}", open_storage("memory://")
    with pytest.raises(AutotunerError, match=f"{address} cannot be listened on"):
        StorageService(storage, address=address, token="", threads=1)


def test_the_service_is_the_one_that_optuna_knows() -> None:
    """Optuna's protocol is private to it: a renamed call must be seen here first."""
    assert {"study_id", "template_trial"} <= set(
        api_pb2.CreateNewTrialRequest.DESCRIPTOR.fields_by_name
    )
