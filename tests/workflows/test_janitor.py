import os
import time
from pathlib import Path

import pytest

from inference_autotuner.workflows.janitor import clean
from inference_autotuner.workflows.leases import Lease, read_leases, this_machine, write_lease
from inference_autotuner.workflows.locks import lock_folder
from inference_autotuner.workflows.ports import reserve_port
from inference_autotuner.workflows.processes import Identity, this_process
from inference_autotuner.workflows.state import lease_folder

GONE = Identity(2**22 + 7, 1)
HOUR = 3600.0
DAY = 24 * HOUR


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("AUTOTUNER_LOCKS", str(tmp_path / "locks"))


def test_a_tidy_machine_has_nothing_to_remove() -> None:
    assert clean(time.time()) == []


def test_what_a_killed_tuner_left_is_removed_once() -> None:
    write_lease(Lease("s-h0", "t-0001", GONE, this_machine(), 20001))
    assert clean(time.time()) == ["lease of s-h0/t-0001 (never started)"]
    assert clean(time.time()) == []


def test_leases_of_a_living_tuner_stay_however_old() -> None:
    write_lease(Lease("s-h0", "t-0001", this_process(), this_machine(), 20001))
    assert clean(time.time() + 1000 * DAY) == []
    assert len(read_leases()) == 1


def test_only_old_temporary_files_are_removed() -> None:
    lease_folder().mkdir(parents=True)
    half = lease_folder() / ".s-h0.t-0001.12-34.json.tmp"
    half.write_text("{")
    assert clean(time.time()) == []
    assert clean(time.time() + 2 * HOUR) == [f"temporary file {half.name}"]
    assert not half.exists()


def test_a_clock_that_jumps_back_removes_nothing() -> None:
    lease_folder().mkdir(parents=True)
    half = lease_folder() / ".s-h0.t-0001.12-34.json.tmp"
    half.write_text("{")
    assert clean(0.0) == []


def test_a_lease_of_another_machine_is_forgotten_after_a_month() -> None:
    lease = Lease("s-h0", "t-0001", GONE, "elsewhere/1/2", 20001)
    write_lease(lease)
    assert clean(time.time() + 29 * DAY) == []
    os.utime(lease.path, (0, time.time() - 31 * DAY))
    assert clean(time.time()) == ["old lease of another machine: s-h0/t-0001 on elsewhere"]
    assert read_leases() == []


def test_locks_that_are_held_stay() -> None:
    held = reserve_port()
    (lock_folder() / "port-1.lock").touch()
    assert clean(time.time()) == ["files of port locks that nobody holds: 1"]
    assert [path.name for path in lock_folder().iterdir()] == [f"port-{held.number}.lock"]
    held.release()
