import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from inference_autotuner.workflows import warden
from inference_autotuner.workflows.leases import read_leases
from inference_autotuner.workflows.marks import marked_processes
from inference_autotuner.workflows.sweep import sweep
from tests.workflows.timing import until

ROOT = Path(__file__).parents[2]
TUNER = """
import os, signal, sys, threading, time
from pathlib import Path
from inference_autotuner.workflows import warden
from inference_autotuner.workflows.process import ProcessDeployer
from tests.workflows.fake_engine import make_order

def deploy():
    order = make_order({"helper": "session"}, base=Path("/"))
    deployer.deploy(
        order, on_line=lambda line: None, on_room=lambda: None, is_cancelled=lambda: False
    )

deployer = ProcessDeployer()
thread = threading.Thread(target=deploy)
thread.start()
thread.join()
print(*[each.pid for each in warden._wardens.values()], flush=True)
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path / "state"))
    yield
    until(lambda: not _leftovers())


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(then: str, *, first: str = "") -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", first + TUNER + then],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def _warden_of(tuner: "subprocess.Popen[str]") -> psutil.Process:
    assert tuner.stdout
    return psutil.Process(int(tuner.stdout.readline()))


def _leftovers() -> list[object]:
    return [*marked_processes(), *read_leases()]


def test_a_killed_tuners_servers_end_although_nobody_sweeps(start: Start) -> None:
    tuner = start("input()")
    guard = _warden_of(tuner)
    assert len(marked_processes()) == 2
    tuner.kill()
    until(lambda: not _leftovers())
    until(lambda: not guard.is_running() or guard.status() == psutil.STATUS_ZOMBIE)


def test_a_tuner_that_is_killed_with_its_whole_group_leaves_nothing_either(start: Start) -> None:
    tuner = start("input()")
    _warden_of(tuner)
    os.killpg(tuner.pid, signal.SIGKILL)
    until(lambda: not _leftovers())


def test_servers_outlive_the_thread_that_started_them(start: Start) -> None:
    tuner = start("input()")
    _warden_of(tuner)
    assert len(marked_processes()) == 2
    tuner.communicate("\n")


def test_a_tuner_that_forgets_its_servers_leaves_none(start: Start) -> None:
    tuner = start("raise SystemExit(3)")
    guard = _warden_of(tuner)
    assert tuner.wait() == 3
    assert _leftovers() == []
    assert not guard.is_running()


def test_ctrl_c_is_the_tuners_business_alone(start: Start) -> None:
    # Before the warden's number is printed: the signal may come as soon as it is read.
    caught = "import signal; signal.signal(2, lambda *_: print('caught', flush=True))"
    tuner = start("input()", first=caught)
    guard = _warden_of(tuner)
    assert tuner.stdout
    os.killpg(tuner.pid, signal.SIGINT)
    assert tuner.stdout.readline() == "caught\n"
    assert guard.is_running()
    assert len(marked_processes()) == 2
    tuner.communicate("\n")


def test_when_the_warden_is_killed_too_a_sweep_finds_everything(start: Start) -> None:
    tuner = start("input()")
    guard = _warden_of(tuner)
    guard.kill()
    tuner.kill()
    tuner.wait()
    assert len(sweep()) == 2
    assert _leftovers() == []


def test_a_tuner_whose_warden_was_killed_gets_another(start: Start) -> None:
    tuner = start("input(); warden.watch(); print(*[w.pid for w in warden._wardens.values()])")
    guard = _warden_of(tuner)
    guard.kill()
    until(lambda: guard.status() == psutil.STATUS_ZOMBIE)
    out, _ = tuner.communicate("\n")
    assert int(out) != guard.pid


def test_one_warden_is_enough() -> None:
    warden.watch()
    first = set(warden._wardens.values())
    warden.watch()
    assert set(warden._wardens.values()) == first
    warden.dismiss()
    assert all(each.returncode == 0 for each in first)
