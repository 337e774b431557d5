import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_autotuner.workflows.leases import (
    Lease,
    read_leases,
    remove_lease,
    this_machine,
    write_lease,
)
from inference_autotuner.workflows.processes import Identity, this_process
from inference_autotuner.workflows.state import lease_folder

GONE = Identity(2**22 + 7, 1)


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path / "state"))


def _lease(**fields: object) -> Lease:
    known = Lease("s-h0", "t-0001", this_process(), this_machine(), 20001, ("0", "1"), GONE)
    return replace(known, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", [None, GONE])
def test_a_lease_is_read_as_it_was_written(engine: Identity | None) -> None:
    write_lease(_lease(engine=engine))
    assert read_leases() == [_lease(engine=engine)]


def test_a_reader_never_meets_half_a_lease() -> None:
    write_lease(_lease())
    seen: list[Lease] = []
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            seen.extend(read_leases())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        write_lease(_lease(gpus=tuple(str(gpu) for gpu in range(10 * number))))
    is_over.set()
    reader.join()
    assert all(lease.machine for lease in seen)


def test_an_intent_becomes_a_lease_in_the_same_file() -> None:
    write_lease(_lease(engine=None))
    write_lease(_lease())
    assert [path.name for path in lease_folder().iterdir()] == [_lease().path.name]


def test_two_tuners_never_write_the_same_file() -> None:
    write_lease(_lease())
    write_lease(_lease(tuner=GONE))
    remove_lease(_lease(tuner=GONE))
    assert read_leases() == [_lease()]


def test_removing_twice_is_removing_once() -> None:
    write_lease(_lease())
    remove_lease(_lease())
    remove_lease(_lease())
    assert read_leases() == []


@given(st.binary(max_size=200))
def test_a_damaged_lease_still_tells_whose_it_is(content: bytes) -> None:
    write_lease(_lease())
    _lease().path.write_bytes(content)
    found = read_leases()
    assert [(lease.owner, lease.tuner) for lease in found] == [("s-h0/t-0001", this_process())]


def test_a_file_with_another_name_is_no_lease() -> None:
    lease_folder().mkdir(parents=True)
    for name in ("notes.json", "a.b.json", "s-h0.t-0001.12.json", ".json"):
        (lease_folder() / name).write_text("{}")
    assert read_leases() == []


def test_a_lease_of_a_living_tuner_is_not_left_behind() -> None:
    assert not _lease().is_left_behind


def test_a_lease_whose_tuner_is_gone_is_left_behind() -> None:
    assert _lease(tuner=GONE).is_left_behind
    assert _lease(tuner=GONE, machine="").is_left_behind


def test_a_lease_of_the_same_numbers_from_before_a_restart_is_left_behind() -> None:
    place = this_machine().rpartition("/")[0]
    assert _lease(machine=f"{place}/another-boot").is_left_behind


def test_a_lease_of_another_machine_is_nobodys_business() -> None:
    lease = _lease(tuner=GONE, machine="elsewhere/1/2")
    assert lease.is_elsewhere
    assert not lease.is_left_behind


def test_a_full_disk_leaves_the_lease_as_it_was_and_no_temporary_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_lease(_lease(engine=None))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            write_lease(_lease())
    assert read_leases() == [_lease(engine=None)]
    assert len(list(lease_folder().iterdir())) == 1


KILLED_AT_LINE = """
import os, signal, sys
from inference_autotuner.workflows import leases
from inference_autotuner.workflows.processes import Identity

def tracer(limit):
    count = 0
    def trace(frame, event, argument):
        nonlocal count
        if frame.f_code.co_filename != leases.__file__:
            return None
        if event == "line":
            count += 1
            if count == limit:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    return trace

lease = leases.Lease("s-h0", "t-0001", Identity(1, 2), "m/1/2", 20001)
limit = 0
killed = True
while killed:
    limit += 1
    child = os.fork()
    if not child:
        sys.settrace(tracer(limit))
        leases.write_lease(lease)
        os._exit(0)
    killed = os.waitpid(child, 0)[1] != 0
    found = leases.read_leases()
    assert found in ([], [lease]), found
    for path in leases.lease_folder().glob("*.json"):
        path.unlink()
print(limit)
"""


def test_a_tuner_killed_at_any_line_leaves_a_whole_lease_or_none() -> None:
    ran = subprocess.run([sys.executable, "-c", KILLED_AT_LINE], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 10
