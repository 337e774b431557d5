import resource
import shutil
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from inference_autotuner.workflows import machine
from inference_autotuner.workflows.finding import Finding, State
from inference_autotuner.workflows.leases import Lease, this_machine, write_lease
from inference_autotuner.workflows.machine import examine_machine, usable_cores
from inference_autotuner.workflows.processes import Identity, this_process

GONE = Identity(2**22 + 7, 1)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("AUTOTUNER_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("AUTOTUNER_GPUS", raising=False)
    monkeypatch.setattr(machine, "_WATCH_S", 0.01)
    _use_cores(monkeypatch, 0.0)


def _use_cores(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 4.0)
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval, percpu: [100 * share] * 4)


def _found(name: str) -> Finding:
    return {finding.name: finding for finding in examine_machine()}[name]


def test_a_quiet_tidy_machine_needs_no_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=9, total=10))
    monkeypatch.setattr(resource, "getrlimit", lambda which: (65536, 65536))
    found = examine_machine()
    assert [finding.remedy for finding in found if finding.state is State.OK] == [""] * len(found)


def test_busy_cores_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _found("cores").state is State.OK
    _use_cores(monkeypatch, 0.5)
    found = _found("cores")
    assert (found.state, found.found.startswith("4, of which others use 2.0")) == (State.WARN, True)


def test_a_containers_share_of_cores_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(Path, "read_text", lambda path: "50000 100000")
    assert usable_cores() == 0.5
    monkeypatch.setattr(Path, "read_text", lambda path: "max 100000")
    assert usable_cores() >= 1


def test_little_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(available=1 << 30, total=100 << 30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert _found("memory").state is State.WARN


@pytest.mark.parametrize(
    ("free", "state"), [(50 << 30, State.OK), (1 << 30, State.WARN), (1 << 20, State.BAD)]
)
def test_a_full_disk_is_told_before_it_is_full(
    monkeypatch: pytest.MonkeyPatch, free: int, state: State
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    assert _found("state folder").state is state


def test_a_state_folder_that_cannot_be_made_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path / "file" / "state"))
    found = machine._state_folder()
    assert found.state is State.BAD
    assert "AUTOTUNER_STATE" in found.remedy
    assert _found("leftovers").state is State.WARN  # nobody can look for them


def test_a_lock_folder_that_cannot_be_made_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUTOTUNER_LOCKS", str(tmp_path / "file" / "locks"))
    found = _found("locks")
    assert found.state is State.BAD
    assert "AUTOTUNER_LOCKS" in found.remedy


def test_what_killed_runs_left_is_named() -> None:
    write_lease(Lease("s-h0", "t-0001", this_process(), this_machine(), 20001))
    write_lease(Lease("s-h0", "t-0002", GONE, "elsewhere/1/2", 20001))
    assert _found("leftovers").found.startswith("none, 1 servers running; 1 on other machines")
    write_lease(Lease("s-h0", "t-0003", GONE, this_machine(), 20001))
    found = _found("leftovers")
    assert (found.state, found.found) == (State.WARN, "server of s-h0/t-0003")
    assert found.remedy == "autotuner janitor"


def test_few_open_files_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 1024))
    found = _found("open files")
    assert found.state is State.WARN
    assert "ulimit -n 4096 (as root" in found.remedy
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY,) * 2)
    assert _found("open files").state is State.OK


def test_gpus_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _found("GPUs").found == "none: nvidia-smi is not installed"
    monkeypatch.setenv("AUTOTUNER_GPUS", "0,3")
    assert _found("GPUs").found == "2 to give: 0, 3"


def test_a_broken_driver_is_a_warning(tmp_path: Path) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho cannot talk to the driver; exit 9\n")
    smi.chmod(0o755)
    found = _found("GPUs")
    assert (found.state, found.found) == (
        State.WARN,
        "nvidia-smi fails: cannot talk to the driver",
    )


def test_gpus_that_this_user_may_not_use_are_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\ncase $1 in -L) ;; *) echo 0, GPU-a;; esac\n")
    smi.chmod(0o755)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = _found("GPUs")
    assert (found.state, found.found) == (State.WARN, "none is left to this user")
