import errno
import os
from pathlib import Path

import pytest

from inference_autotuner.optimizer.errors import DeployError, Reason
from inference_autotuner.workflows.world import is_full, world_may_break


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, Reason.DISK_FULL),
        (errno.EROFS, Reason.DISK_FULL),
        (errno.ENOMEM, Reason.HOST_OUT_OF_MEMORY),
        (errno.EMFILE, Reason.HOST_OUT_OF_MEMORY),
    ],
)
def test_what_the_machine_refuses_has_a_reason(number: int, reason: Reason) -> None:
    with pytest.raises(DeployError, match=os.strerror(number)) as caught, world_may_break():
        raise OSError(number, os.strerror(number))
    assert caught.value.reason is reason


def test_a_folder_with_room_is_not_full(tmp_path: Path) -> None:
    assert not is_full(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_folder_without_room_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: open("/dev/full", "wb"))  # noqa: SIM115
    assert is_full(tmp_path)


def test_a_folder_that_is_gone_is_not_full(tmp_path: Path) -> None:
    assert not is_full(tmp_path / "gone")
