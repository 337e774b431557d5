"""The storage: a journal file that survives kills, full disks and other people's files."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from optuna.study import StudyDirection

from inference_autotuner.optimizer.errors import (
    AutotunerError,
    NotWritableError,
    StorageDamagedError,
)
from inference_autotuner.optimizer.storage import FileLock, open_storage, storage_url


def journal(folder: Path) -> Path:
    path = folder / "journal.log"
    storage = open_storage(storage_url(path))
    storage.create_new_study([StudyDirection.MAXIMIZE], "first")
    return path


def names(path: Path) -> list[str]:
    return [study.study_name for study in open_storage(storage_url(path)).get_all_studies()]


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    assert names(journal(tmp_path)) == ["first"]


def test_a_line_that_was_cut_off_costs_nothing_else(tmp_path: Path) -> None:
    path = journal(tmp_path)
    with path.open("ab") as file:
        file.write(b'{"op_code":0,"wor')
    open_storage(storage_url(path)).create_new_study([StudyDirection.MAXIMIZE], "second")
    assert names(path) == ["first", "second"]


def test_a_damaged_line_is_named_with_its_number(tmp_path: Path) -> None:
    path = journal(tmp_path)
    path.write_bytes(path.read_bytes() + b"not json\n" + path.read_bytes())
    with pytest.raises(StorageDamagedError, match=r"journal\.log:2: "):
        open_storage(storage_url(path))


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.log"
    path.write_text('{"hello": "world"}\n')
    with pytest.raises(StorageDamagedError):
        open_storage(storage_url(path))


def test_an_unreadable_place_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWritableError, match="Not a directory|File exists") as caught:
        open_storage(storage_url(tmp_path / "file" / "journal.log"))
    assert caught.value.exit_code == 70
    assert "AUTOTUNER_STATE" in str(caught.value)


@pytest.mark.parametrize(
    ("number", "code"), [(errno.EACCES, 70), (errno.EROFS, 70), (errno.ENOSPC, 75), (errno.EIO, 75)]
)
def test_a_place_that_may_work_later_alone_is_worth_another_try(
    number: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(AutotunerError, match=os.strerror(number)) as caught:
        open_storage(storage_url(tmp_path / "state" / "journal.log"))
    assert caught.value.exit_code == code


@pytest.mark.parametrize("url", ["sqlite:///x.db", "journal://relative", "nonsense"])
def test_an_unknown_address_names_the_allowed_ones(url: str) -> None:
    with pytest.raises(AutotunerError, match="journal:///path"):
        open_storage(url)


HOLD = """
import sys, time, pathlib
from inference_autotuner.optimizer.storage import FileLock
FileLock(pathlib.Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_a_killed_holder_gives_the_lock_back_at_once(tmp_path: Path) -> None:
    path = journal(tmp_path)
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    lock = FileLock(path)
    assert lock.acquire()
    lock.release()
