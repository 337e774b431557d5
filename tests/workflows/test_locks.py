import os
import subprocess
import sys
from pathlib import Path

import pytest

from inference_autotuner.workflows import locks
from inference_autotuner.workflows.locks import lock_folder, remove_unused, try_lock

HOLDER = """
import sys, time
from inference_autotuner.workflows.locks import try_lock
print(try_lock("a") is not None, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNER_LOCKS", str(tmp_path / "locks"))


def test_a_lock_is_had_once() -> None:
    held = try_lock("a")
    assert held
    assert try_lock("a") is None
    assert try_lock("b")
    held.release()
    held.release()
    assert try_lock("a")


def test_a_killed_holder_gives_its_lock_back() -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE)
    assert holder.stdout
    assert holder.stdout.readline() == b"True\n"
    assert try_lock("a") is None
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert try_lock("a")


def test_a_process_that_inherits_a_lock_holds_it_as_well() -> None:
    held = try_lock("a")
    assert held
    heir = subprocess.Popen(["sleep", "600"], pass_fds=[held.descriptor])
    held.release()
    assert try_lock("a") is None
    heir.kill()
    heir.wait()
    assert try_lock("a")


def test_a_lock_whose_file_was_removed_while_it_was_taken_is_taken_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = locks._open

    def open_and_lose(path: Path) -> int:
        monkeypatch.setattr(locks, "_open", opened)
        descriptor = opened(path)
        path.unlink()
        return descriptor

    monkeypatch.setattr(locks, "_open", open_and_lose)
    assert try_lock("a")
    assert try_lock("a") is None


def test_all_users_may_lock_what_one_made() -> None:
    held = try_lock("a")
    assert held
    assert lock_folder().stat().st_mode & 0o7777 == 0o1777
    assert held.path.stat().st_mode & 0o444 == 0o444


def test_a_name_never_leaves_the_folder() -> None:
    held = try_lock("../../a b")
    assert held
    assert held.path.parent == lock_folder()


def test_only_files_of_locks_that_nobody_holds_are_removed() -> None:
    held, free, other = try_lock("x-held"), try_lock("x-free"), try_lock("other")
    assert held
    assert free
    assert other
    free.release()
    other.release()
    assert remove_unused("x-") == 1
    assert {path.name for path in lock_folder().iterdir()} == {"x-held.lock", "other.lock"}


def test_without_a_choice_all_users_meet_in_one_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTOTUNER_LOCKS")
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    if os.access("/tmp", os.W_OK):
        assert lock_folder() == Path("/tmp/inference-autotuner-locks")
