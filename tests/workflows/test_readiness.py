import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from inference_autotuner.workflows import readiness
from inference_autotuner.workflows.http_exchange import Answer
from inference_autotuner.workflows.ports import reserve_port
from inference_autotuner.workflows.readiness import (
    Listener,
    Outcome,
    Target,
    Wait,
    has_tokens,
    listener_of,
)
from tests.workflows.fake_engine import COMMAND
from tests.workflows.timing import soon


@pytest.fixture
def port() -> Iterator[int]:
    kept = reserve_port()
    yield kept.number
    kept.release()


@contextmanager
def _engine(port: int, *flags: str) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([*COMMAND, "--port", str(port), *flags], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _target(port: int, timeout_s: float = 20.0, **changed: Any) -> Target:
    known: dict[str, Any] = {
        "is_alive": lambda: True,
        "is_cancelled": lambda: False,
        "listener": lambda: Listener.OURS,
        "health_path": "/health",
    }
    return Target(port=port, served_name="fake", timeout_s=timeout_s, **{**known, **changed})


def test_a_server_that_completes_serves(port: int) -> None:
    with _engine(port):
        assert Wait(_target(port)).run() is Outcome.SERVES


def test_a_server_that_loads_first_is_waited_for(port: int) -> None:
    with _engine(port, "--loading", "0.5"):
        assert Wait(_target(port)).run() is Outcome.SERVES


def test_a_server_that_only_chats_serves(port: int) -> None:
    with _engine(port, "--chat-only"):
        assert Wait(_target(port)).run() is Outcome.SERVES


def test_a_server_that_is_healthy_but_completes_nothing_is_never_ready(port: int) -> None:
    with _engine(port, "--no-tokens"):
        wait = Wait(_target(port, 1.0))
        assert wait.run() is Outcome.NEVER_READY
    assert wait.last.startswith("POST /v1/chat/completions: 200")


def test_a_server_that_hangs_every_request_is_given_up_before_its_time(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Target, "answer_s", 0.2)
    with _engine(port, "--hang"):
        wait = Wait(_target(port, 600.0))
        assert wait.run() is Outcome.NEVER_READY
    assert wait.last == "POST /v1/completions: no answer within 0.2 s"


def test_a_server_that_refuses_every_request_is_given_up_before_its_time(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_REFUSED_S", 0.3)
    with _engine(port, "--refuse"):
        wait = Wait(_target(port, 600.0))
        assert wait.run() is Outcome.NEVER_READY
    assert 'completions: 400 {"error": "I would rather not"}' in wait.last


def test_a_server_that_stops_listening_is_never_ready(port: int) -> None:
    with _engine(port, "--no-tokens", "--refuse-after", "1"):
        wait = Wait(_target(port, 1.5))
        assert wait.run() is Outcome.NEVER_READY
    assert "GET /health: [Errno" in wait.last


def test_a_server_that_dies_is_not_waited_for(port: int) -> None:
    died = soon(0.3)
    target = _target(port, 600.0, is_alive=lambda: not died())
    assert Wait(target).run() is Outcome.DIED


def test_a_cancelled_wait_ends_although_the_server_hangs(port: int) -> None:
    with _engine(port, "--hang"):
        target = _target(port, 600.0, is_cancelled=soon(0.5))
        assert Wait(target).run() is Outcome.CANCELLED


def test_a_connection_that_is_given_up_is_closed(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)) as server:
        target = _target(port, 600.0, is_cancelled=soon(0.3))
        waiting = threading.Thread(target=Wait(target).run)
        waiting.start()
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(4)
            while accepted.recv(1000):
                pass  # the request; then the end of the connection, before its own timeout
        waiting.join()


def test_somebody_elses_server_is_never_believed(port: int) -> None:
    with _engine(port):
        wait = Wait(_target(port, listener=lambda: Listener.FOREIGN))
        assert wait.run() is Outcome.NOT_OURS


def test_a_server_that_takes_the_port_in_the_middle_is_not_believed(port: int) -> None:
    seen = iter([Listener.OURS, Listener.FOREIGN])
    with _engine(port):
        assert Wait(_target(port, listener=lambda: next(seen))).run() is Outcome.NOT_OURS


def test_a_listener_is_ours_foreign_or_nobody(port: int) -> None:
    assert listener_of(port, set) is Listener.NOBODY
    with _engine(port) as process:
        assert listener_of(port, lambda: {process.pid}) is Listener.OURS
        assert listener_of(port, lambda: {process.pid + 1}) is Listener.FOREIGN


def test_where_only_root_may_look_our_own_processes_are_asked(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(kind: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    with _engine(port) as process:
        assert listener_of(port, lambda: {process.pid}) is Listener.OURS
        assert listener_of(port, set) is Listener.FOREIGN


@pytest.mark.parametrize(
    ("body", "status", "is_one"),
    [
        ({"choices": [{"text": " a"}]}, 200, True),
        ({"choices": [{"message": {"content": "a"}}]}, 200, True),
        ({"choices": [{"text": ""}], "usage": {"completion_tokens": 1}}, 200, True),
        ({"choices": [{"text": "a"}], "usage": {"completion_tokens": 0}}, 200, False),
        ({"choices": [{"text": ""}]}, 200, False),
        ({"choices": [{"message": None}]}, 200, False),
        ({"choices": ["a"]}, 200, False),
        ({"choices": []}, 200, False),
        ({"choices": {"text": "a"}}, 200, False),
        ({"choices": [{"text": " a"}]}, 500, False),
        ("ok", 200, False),
        ([], 200, False),
        (None, 200, False),
    ],
)
def test_a_completion_has_at_least_one_token(body: Any, status: int, is_one: bool) -> None:
    assert has_tokens(Answer(status, json.dumps(body).encode())) is is_one


@pytest.mark.parametrize(("timeout_s", "answer_s"), [(12.0, 10.0), (60.0, 20.0), (1800.0, 120.0)])
def test_a_first_completion_may_take_a_part_of_the_time(timeout_s: float, answer_s: float) -> None:
    assert _target(1, timeout_s).answer_s == answer_s
