import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inference_autotuner.workflows.leases import Lease, read_leases, this_machine, write_lease
from inference_autotuner.workflows.marks import OWNER, STATE, TUNER, mark_environment
from inference_autotuner.workflows.processes import Identity, identify, this_process
from inference_autotuner.workflows.sweep import sweep

GONE = Identity(2**22 + 7, 1)
SLEEPER = "print('up', flush=True); import time; time.sleep(600)"
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path / "state"))


@pytest.fixture
def start() -> Iterator[Start]:
    """A process of the trial s-h0/t-0001 of a tuner that is gone, unless said otherwise."""
    started: list[subprocess.Popen[bytes]] = []

    def run(**mark: str) -> "subprocess.Popen[bytes]":
        environment = {**mark_environment("s-h0/t-0001"), TUNER: str(GONE), **mark}
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", SLEEPER],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout
        process.stdout.readline()
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def _lease(tuner: Identity = GONE, study: str = "s-h0", **fields: object) -> Lease:
    lease = Lease(study, "t-0001", tuner, this_machine(), 20001, **fields)  # type: ignore[arg-type]
    write_lease(lease)
    return lease


def test_nothing_is_removed_where_nothing_is_left() -> None:
    assert sweep() == []


def test_a_server_whose_tuner_is_gone_goes_with_its_lease(start: Start) -> None:
    process = start()
    _lease(engine=identify(process.pid))
    assert sweep() == [
        f"process {process.pid} of s-h0/t-0001",
        f"lease of s-h0/t-0001 (process {process.pid}, port 20001)",
    ]
    assert process.wait() < 0
    assert read_leases() == []
    assert sweep() == []


def test_an_intent_without_a_process_goes_too() -> None:
    _lease()
    assert sweep() == ["lease of s-h0/t-0001 (never started)"]


def test_a_process_without_a_lease_is_found_by_its_mark(start: Start) -> None:
    process = start()
    assert sweep() == [f"process {process.pid} of s-h0/t-0001"]


def test_a_damaged_lease_goes_with_the_processes_it_cannot_name(start: Start) -> None:
    process = start()
    _lease().path.write_text('{"mach')
    assert sweep() == [
        f"process {process.pid} of s-h0/t-0001",
        "lease of s-h0/t-0001 (damaged)",
    ]


def test_servers_of_a_living_tuner_stay(start: Start) -> None:
    process = start(**{TUNER: str(this_process())})
    _lease(this_process())
    assert sweep() == []
    assert process.poll() is None
    assert len(read_leases()) == 1


def test_a_tuner_that_says_it_ends_counts_as_gone(start: Start) -> None:
    start(**{TUNER: str(this_process())})
    _lease(this_process())
    assert len(sweep(dead=this_process())) == 2


def test_a_study_is_swept_without_the_others(start: Start) -> None:
    ours, other = start(), start(**{OWNER: "other-h1/t-0001"})
    _lease()
    _lease(study="other-h1")
    assert len(sweep("s-h0")) == 2
    assert ours.wait() < 0
    assert other.poll() is None
    assert [lease.study for lease in read_leases()] == ["other-h1"]


def test_another_state_folders_processes_are_not_touched(start: Start) -> None:
    process = start(**{STATE: "somebody-elses"})
    assert sweep() == []
    assert process.poll() is None


def test_a_lease_harms_no_process_that_does_not_carry_our_mark(start: Start) -> None:
    innocent = start(**{STATE: "", OWNER: "", TUNER: ""})
    _lease(engine=identify(innocent.pid))
    assert len(sweep()) == 1
    assert innocent.poll() is None


def test_leases_of_another_machine_stay() -> None:
    lease = Lease("s-h0", "t-0001", GONE, "elsewhere/1/2", 20001)
    write_lease(lease)
    assert sweep() == []
    assert read_leases() == [lease]


def test_two_sweeps_at_once_do_not_disturb_each_other(start: Start) -> None:
    for number in range(5):
        start()
        write_lease(Lease("s-h0", f"t-{number:04d}", GONE, this_machine(), 20001))
    threads = [threading.Thread(target=sweep) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sweep() == []
    assert read_leases() == []


def test_every_process_of_a_trial_goes_the_benchmarks_too(start: Start) -> None:
    pids = sorted(start().pid for _ in range(3))
    assert sweep() == [f"processes {', '.join(map(str, pids))} of s-h0/t-0001"]
