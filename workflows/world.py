"""Turns what the machine refuses into errors that say what happens next."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from inference_autotuner.optimizer.errors import DeployError, Reason
from inference_autotuner.workflows.processes import UnkillableError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


@contextmanager
def world_may_break() -> Iterator[None]:
    """Says what was refused, and whether the disk or the machine itself is to blame.

    Raises:
        DeployError: In place of an OSError or UnkillableError.
    """
    try:
        yield
    except UnkillableError as error:
        raise DeployError(
            Reason.DEVICE_BUSY,
            f"{error} outlives SIGKILL: it hangs in the kernel, often in a GPU or disk driver; "
            "see dmesg, and restart the machine if it stays",
        ) from error
    except OSError as error:
        reason = Reason.DISK_FULL if error.errno in _NO_ROOM else Reason.HOST_OUT_OF_MEMORY
        raise DeployError(reason, f"the machine refused: {error}") from error
