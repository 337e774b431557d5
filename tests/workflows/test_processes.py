import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_autotuner.workflows import processes
from inference_autotuner.workflows.processes import (
    Identity,
    UnkillableError,
    end,
    exists,
    family,
    identify,
    is_running,
    this_process,
)

Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run() -> Iterator[Run]:
    started: list[subprocess.Popen[str]] = []

    def start(code: str, **options: object) -> "subprocess.Popen[str]":
        """A program that has said its first line."""
        process = subprocess.Popen(  # type: ignore[call-overload]
            [sys.executable, "-I", "-c", code], stdout=subprocess.PIPE, text=True, **options
        )
        started.append(process)
        process.first_line = process.stdout.readline().strip()
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _identity(process: "subprocess.Popen[str]") -> Identity:
    found = identify(process.pid)
    assert found is not None
    return found


SLEEPER = "print('up', flush=True); import time; time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"


@given(st.builds(Identity, st.integers(0, 2**31), st.integers(0, 2**60)))
def test_an_identity_is_read_as_it_was_written(identity: Identity) -> None:
    assert Identity.parse(str(identity)) == identity


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    assert Identity.parse(text) is None or "-" in text


def test_this_process_exists_and_a_later_one_with_its_number_would_not() -> None:
    me = this_process()
    assert exists(me)
    assert not exists(Identity(me.pid, me.birth + 1000))


def test_a_jump_of_the_clock_changes_no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identify(os.getppid())
    monkeypatch.setattr(psutil, "boot_time", lambda: 1.0)
    monkeypatch.setattr(time, "time", lambda: 1.0)
    assert identify(os.getppid()) == before


def test_a_zombie_does_not_run(run: Run) -> None:
    process = run("print('bye', flush=True)")
    identity = _identity(process)
    deadline = time.monotonic() + 10
    while is_running(identity) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert exists(identity)
    assert not is_running(identity)


def test_what_obeys_sigterm_is_not_killed(run: Run) -> None:
    process = run(f"import signal, sys; signal.signal(15, lambda *_: sys.exit(5)); {SLEEPER}")
    end(lambda: {_identity(process)} if process.poll() is None else set(), grace_s=10, patience_s=5)
    assert process.wait() == 5


def test_what_ignores_sigterm_is_killed(run: Run) -> None:
    process = run(STUBBORN)
    identity = _identity(process)
    end(lambda: {identity}, grace_s=0.1, patience_s=5)
    assert process.wait() == -signal.SIGKILL


def test_a_number_that_was_given_to_somebody_else_is_left_alone(run: Run) -> None:
    process = run(SLEEPER)
    old = Identity(process.pid, _identity(process).birth - 1000)
    end(lambda: {old}, grace_s=0, patience_s=1)
    assert process.poll() is None


def test_a_child_that_appears_while_its_parent_is_being_ended_is_ended_too(run: Run) -> None:
    forks = f"""
import os, signal
def fork(*_):
    if os.fork():
        os._exit(0)
signal.signal(signal.SIGTERM, fork)
{SLEEPER}"""
    process = run(forks, start_new_session=True)
    identity = _identity(process)
    seen = end(lambda: family(identity), grace_s=0.5, patience_s=5)
    assert len(seen) == 2
    assert not any(is_running(who) for who in seen)


TREE = f"""
import subprocess, sys
RUN = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], {{}})"
away = RUN.format("start_new_session=True")
orphaned = RUN.replace("run", "Popen").format("")
sleeper = "print('up', flush=True); import time; time.sleep(600)"

def start(code):
    process = subprocess.Popen([sys.executable, "-c", code, sleeper], stdout=subprocess.PIPE)
    assert process.stdout.readline()
    return process

start(away)
start(orphaned).wait()
{SLEEPER}"""


def test_a_family_has_grandchildren_in_other_sessions_and_orphans_of_its_own(run: Run) -> None:
    process = run(TREE, start_new_session=True)
    found = family(_identity(process))
    assert len(found) == 4
    end(lambda: found, grace_s=0, patience_s=5)


def test_somebody_who_outlives_sigkill_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    process = run(SLEEPER)
    monkeypatch.setattr(processes, "_signal", lambda *_: None)
    with pytest.raises(UnkillableError, match=rf"process {process.pid} \(.*sleeping\)"):
        end(lambda: {_identity(process)}, grace_s=0, patience_s=0.1)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="shared memory has no folder here")
def test_shared_memory_of_a_killed_server_is_given_back(run: Run) -> None:
    holds = """
import signal
from multiprocessing import shared_memory
signal.signal(signal.SIGTERM, signal.SIG_IGN)
memory = shared_memory.SharedMemory(create=True, size=100)
print(memory.name, flush=True)
import time; time.sleep(600)"""
    process = run(holds, start_new_session=True)
    memory = Path("/dev/shm", process.first_line)
    assert memory.exists()
    identity = _identity(process)
    end(lambda: family(identity), grace_s=0.1, patience_s=5)
    assert not memory.exists()


def test_without_a_proc_file_system_processes_are_told_apart_as_well(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_HAS_PROC", False)
    monkeypatch.setattr(processes, "_TOLERANCE", 100)
    process = run(SLEEPER, start_new_session=True)
    identity = _identity(process)
    assert exists(Identity(identity.pid, identity.birth + 50))
    assert not exists(Identity(identity.pid, identity.birth + 5000))
    end(lambda: family(identity), grace_s=5, patience_s=5)
    assert process.wait() < 0
