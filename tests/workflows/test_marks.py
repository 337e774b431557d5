import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from inference_autotuner.workflows import marks
from inference_autotuner.workflows.marks import Mark, mark_environment, marked_processes
from inference_autotuner.workflows.processes import this_process


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path / "state"))


@contextmanager
def _sleeping(environment: Mapping[str, str]) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "print('up', flush=True); import time; time.sleep(600)"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_marked_process_tells_its_trial_and_its_tuner() -> None:
    with _sleeping(mark_environment("s-h0/t-0001")) as pid:
        found = {who.pid: mark for who, mark in marked_processes().items()}
    assert found == {pid: Mark("s-h0/t-0001", this_process())}
    assert found[pid].study == "s-h0"


def test_the_mark_of_another_state_folder_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = mark_environment("s-h0/t-0001")
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path / "another"))
    with _sleeping(theirs):
        assert marked_processes() == {}


def test_a_state_folder_is_the_same_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = mark_environment("s-h0/t-0001")
    (tmp_path / "link").symlink_to(tmp_path / "state")
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path / "link"))
    assert mark_environment("s-h0/t-0001") == ours


@pytest.mark.parametrize("missing", [marks.OWNER, marks.STATE, marks.TUNER])
def test_half_a_mark_is_none(missing: str) -> None:
    half = {k: v for k, v in mark_environment("s-h0/t-0001").items() if k != missing}
    with _sleeping(half):
        assert marked_processes() == {}


def test_a_tuner_that_carries_a_mark_itself_is_not_found_by_itself() -> None:
    code = (
        "from inference_autotuner.workflows.marks import marked_processes;"
        "print(len(marked_processes()))"
    )
    environment = {**os.environ, **mark_environment("s-h0/t-0001")}
    found = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
    assert found.stdout.strip() == b"0"


def test_a_process_that_no_trial_owns_is_started_without_the_mark() -> None:
    marked = {"PATH": "/bin", **mark_environment("s-h0/t-0001")}
    assert set(marks.without_mark(marked)) == {"PATH", "SPT_NOENV"}
