"""What the machine refuses, as errors that say what happens next."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inference_autotuner.optimizer.errors import DeployError, Reason

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
_PROBE = bytes(256 << 10)


@contextmanager
def world_may_break() -> Iterator[None]:
    """Says what was refused, and whether the disk or the machine itself is to blame.

    Raises:
        DeployError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        reason = Reason.DISK_FULL if error.errno in _NO_ROOM else Reason.HOST_OUT_OF_MEMORY
        raise DeployError(reason, f"the machine refused: {error}") from error


def is_full(folder: Path) -> bool:
    """Whether nothing more can be written to `folder`; by trying, for quotas have no number."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(_PROBE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno in _NO_ROOM
    return False
