import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_autotuner.workflows.http_exchange import Answer, Exchange


@pytest.fixture(scope="module")
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def _ask(server: socket.socket, reply: bytes) -> Answer:
    """What an exchange makes of a server that sends `reply` and hangs up."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(reply)

    serving = threading.Thread(target=serve)
    serving.start()
    exchange = Exchange(server.getsockname()[1], "/x", {"a": 1}, timeout_s=10)
    answer = exchange.wait(10)
    exchange.give_up()
    serving.join()
    assert answer is not None
    return answer


def test_an_answer_has_status_and_body(server: socket.socket) -> None:
    answer = _ask(server, b'HTTP/1.1 503 Busy\r\nContent-Length: 8\r\n\r\n{"a": 1}')
    assert (answer.status, answer.json(), str(answer)) == (503, {"a": 1}, '503 {"a": 1}')


def test_a_body_that_is_no_json_is_nothing(server: socket.socket) -> None:
    assert _ask(server, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").json() is None


@settings(max_examples=40, deadline=None)
@given(
    st.binary(max_size=60), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200\r\n\r\n"])
)
def test_whatever_a_server_says_there_is_an_answer(
    server: socket.socket, noise: bytes, start: bytes
) -> None:
    answer = _ask(server, start + noise)
    assert answer.status is not None or answer.error


def test_where_nobody_listens_the_answer_says_so() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        answer = Exchange(unused.getsockname()[1], "/", timeout_s=10).wait(10)
    assert answer is not None
    assert answer.status is None
    assert "refused" in str(answer)


def test_an_exchange_can_be_given_up_before_it_is_answered(server: socket.socket) -> None:
    exchange = Exchange(server.getsockname()[1], "/", timeout_s=600)
    connection, _ = server.accept()
    assert exchange.wait(0.1) is None
    exchange.give_up()
    answer = exchange.wait(10)
    assert answer is not None
    assert answer.status is None
    connection.close()
