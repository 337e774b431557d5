import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from inference_autotuner.workflows.gpus import (
    Gpu,
    Grant,
    acquire,
    machine_gpus,
    wait_until_unused,
)

FOUR = tuple(Gpu(str(number), f"GPU-{number}000-aaaa") for number in range(4))
SMI = """#!/bin/sh
case "$1" in
*query-gpu*) cat "{folder}/gpus" ;;
*compute-apps*) cat "{folder}/apps" ;;
esac
"""
HOLDER = """
from inference_autotuner.workflows.gpus import Gpu, acquire
got = acquire((Gpu("0", "GPU-x"),), 1, on_wait=print, is_cancelled=lambda: False)
print(got.names, flush=True)
input()
"""


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNER_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("AUTOTUNER_GPUS", raising=False)


@pytest.fixture
def smi(tmp_path: Path) -> Path:
    """A folder whose files `gpus` and `apps` nvidia-smi prints."""
    program = tmp_path / "nvidia-smi"
    program.write_text(SMI.format(folder=tmp_path))
    program.chmod(0o755)
    (tmp_path / "gpus").write_text("".join(f"{gpu.name}, {gpu.key}\n" for gpu in FOUR))
    (tmp_path / "apps").write_text("")
    return tmp_path


def _take(
    gpus: tuple[Gpu, ...], count: int, on_wait: Callable[[str], None] = lambda text: None
) -> Grant:
    got = acquire(gpus, count, on_wait=on_wait, is_cancelled=lambda: False)
    assert got
    return got


def test_a_machine_without_nvidia_smi_has_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine_gpus() == ()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert machine_gpus() == ()


def test_nvidia_smi_names_them(smi: Path) -> None:
    assert machine_gpus() == FOUR


def test_an_nvidia_smi_without_a_driver_is_no_gpu(smi: Path) -> None:
    (smi / "nvidia-smi").write_text("#!/bin/sh\necho no driver >&2\nexit 9\n")
    assert machine_gpus() == ()


@pytest.mark.parametrize(
    ("visible", "numbers"),
    [
        ("2,0", (2, 0)),
        ("GPU-1000-aaaa", (1,)),
        ("GPU-3", (3,)),
        ("", ()),
        ("-1", ()),
        ("1,7,2", (1,)),
        (" 0 , 1 ", (0, 1)),
    ],
)
def test_the_tuner_gives_no_gpu_that_it_may_not_see(
    smi: Path, monkeypatch: pytest.MonkeyPatch, visible: str, numbers: tuple[int, ...]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine_gpus() == tuple(FOUR[number] for number in numbers)


def test_a_slice_of_a_gpu_goes_by_its_own_name(smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-abc")
    assert machine_gpus() == (Gpu("MIG-abc", "MIG-abc"),)


def test_the_users_own_choice_comes_first(smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("AUTOTUNER_GPUS", "3,1")
    assert machine_gpus() == (FOUR[3], FOUR[1])
    monkeypatch.setenv("AUTOTUNER_GPUS", "")
    assert machine_gpus() == ()


def test_the_users_own_choice_is_believed_where_nothing_lists_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AUTOTUNER_GPUS", "0,1")
    assert machine_gpus() == (Gpu("0", "0"), Gpu("1", "1"))


def test_a_server_sees_the_gpus_it_was_given() -> None:
    got = _take(FOUR, 2)
    assert got.environment == {"CUDA_VISIBLE_DEVICES": "0,1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    got.release()


def test_without_gpus_nothing_is_set_and_nobody_waits() -> None:
    assert _take((), 2).environment == {}
    assert _take((), 2).environment == {}


def test_a_server_that_wants_none_sees_none() -> None:
    assert _take(FOUR, 0).environment == {"CUDA_VISIBLE_DEVICES": ""}


def test_trials_in_parallel_never_share_a_gpu() -> None:
    taken: set[str] = set()
    clashes: list[str] = []
    guard = threading.Lock()

    def trial(count: int) -> None:
        for _ in range(3):
            got = _take(FOUR, count)
            with guard:
                clashes.extend(taken & set(got.names))
                taken.update(got.names)
            time.sleep(0.01)
            with guard:
                taken.difference_update(got.names)
            got.release()

    threads = [threading.Thread(target=trial, args=(count,)) for count in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clashes == []


def test_who_waits_says_so_and_gets_them_when_they_are_free() -> None:
    first = _take(FOUR, 3)
    said: list[str] = []
    threading.Timer(0.1, first.release).start()
    got = _take(FOUR, 2, said.append)
    assert said == ["waiting for GPUs: 2 wanted, 1 of 4 free"]
    got.release()


def test_who_waits_for_many_is_not_overtaken_by_one_that_wants_one() -> None:
    held = _take(FOUR, 1)
    order: list[str] = []

    def want(name: str, count: int) -> None:
        got = _take(FOUR, count)
        order.append(name)
        got.release()

    many = threading.Thread(target=want, args=("many", 4))
    many.start()
    time.sleep(0.1)
    one = threading.Thread(target=want, args=("one", 1))
    one.start()
    time.sleep(0.1)
    held.release()
    many.join()
    one.join()
    assert order == ["many", "one"]


def test_a_cancelled_wait_holds_nothing() -> None:
    held = _take(FOUR, 3)
    answers = iter([False, False, True, True])
    assert acquire(FOUR, 2, on_wait=print, is_cancelled=lambda: next(answers)) is None
    assert _take(FOUR, 1).names == ("3",)
    held.release()


def test_a_killed_tuner_gives_its_gpus_back() -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdin
    assert other.stdout
    assert other.stdout.readline() == b"('0',)\n"
    only = (Gpu("5", "GPU-x"),)  # another name for the same one
    said: list[str] = []
    threading.Timer(0.1, other.kill).start()
    _take(only, 1, said.append).release()
    assert said == ["waiting for GPUs: 1 wanted, 0 of 1 free"]
    other.wait()
    other.stdin.close()
    other.stdout.close()


def test_memory_is_given_back_when_no_process_of_the_server_computes(smi: Path) -> None:
    (smi / "apps").write_text("17\n18\n")
    assert not wait_until_unused({18, 19}, 0.0)
    threading.Timer(0.1, (smi / "apps").write_text, args=["17\n"]).start()
    assert wait_until_unused({18, 19}, 10.0)
    assert wait_until_unused(set(), 0.0)


def test_without_nvidia_smi_no_memory_is_waited_for() -> None:
    assert wait_until_unused({18}, 0.0)
