import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from inference_autotuner.optimizer.errors import DeployError, Reason
from inference_autotuner.workflows import ports
from inference_autotuner.workflows.locks import lock_folder
from inference_autotuner.workflows.ports import RANGE, Port, reserve_port, wait_until_free

RESERVE_FIVE = """
from inference_autotuner.workflows import ports
ports.RANGE = range({start}, {stop})
print(*[ports.reserve_port().number for _ in range(5)], flush=True)
input()
"""


@pytest.fixture(autouse=True)
def _locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNER_LOCKS", str(tmp_path / "locks"))


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> range:
    """Ten ports that nobody uses, not even a test beside this one."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for start in range(15000 + 100 * worker, 15100 + 100 * worker, 10):
        chosen = range(start, start + 10)
        if all(ports._can_bind("", number, reuse=False) for number in chosen):
            monkeypatch.setattr(ports, "RANGE", chosen)
            return chosen
    pytest.skip("this machine uses all of a hundred ports")


def test_a_port_can_be_listened_on() -> None:
    port = reserve_port()
    with socket.create_server(("127.0.0.1", port.number)):
        pass
    port.release()


def test_no_two_threads_get_the_same_port(narrow: range) -> None:
    got: list[Port] = []
    threads = [threading.Thread(target=lambda: got.append(reserve_port())) for _ in narrow]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {port.number for port in got} == set(narrow)
    for port in got:
        port.release()


def test_two_tuners_do_not_get_the_same_port_and_a_killed_one_gives_them_back(
    narrow: range,
) -> None:
    code = RESERVE_FIVE.format(start=narrow.start, stop=narrow.stop)
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdin
    assert other.stdout
    theirs = {int(word) for word in other.stdout.readline().split()}
    ours = [reserve_port() for _ in range(5)]
    assert theirs | {port.number for port in ours} == set(narrow)
    other.kill()
    other.wait()
    other.stdin.close()
    other.stdout.close()
    again = [reserve_port() for _ in range(5)]
    assert {port.number for port in again} == theirs
    for port in ours + again:
        port.release()


def test_a_port_that_somebody_listens_on_is_not_given(narrow: range) -> None:
    with socket.create_server(("127.0.0.1", narrow[3])):
        got = [reserve_port() for _ in range(9)]
        assert narrow[3] not in {port.number for port in got}
        with pytest.raises(DeployError, match="no free port from") as caught:
            reserve_port()
    assert caught.value.reason is Reason.PORT_IN_USE
    for port in got:
        port.release()


def test_a_released_port_leaves_no_file() -> None:
    reserve_port().release()
    assert list(lock_folder().iterdir()) == []


def test_releasing_twice_takes_the_port_from_nobody(
    narrow: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "RANGE", narrow[:1])
    first = reserve_port()
    first.release()
    second = reserve_port()
    first.release()
    with pytest.raises(DeployError):
        reserve_port()
    second.release()


def test_the_kernel_hands_none_of_them_to_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: "25000 60999")
    assert set(ports._candidates()) == set(range(20000, 25000))
    monkeypatch.setattr(Path, "read_text", lambda path: "1024 65535")
    assert set(ports._candidates()) == set(RANGE)


def test_a_port_is_free_once_its_server_is_gone(narrow: range) -> None:
    with socket.create_server(("127.0.0.1", narrow[0])):
        assert not wait_until_free(narrow[0], 0.1)
    assert wait_until_free(narrow[0], 0.1)


def test_a_connection_that_is_closing_does_not_hold_a_port(narrow: range) -> None:
    with socket.create_server(("127.0.0.1", narrow[0])) as server:
        client = socket.create_connection(("127.0.0.1", narrow[0]))
        accepted, _ = server.accept()
        accepted.close()
    client.close()
    assert wait_until_free(narrow[0], 0.1)
