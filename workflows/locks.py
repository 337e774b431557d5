"""Locks that every tuner of this machine sees, whoever runs it.

A lock is an empty file in one folder, held with flock: the kernel gives it back however its
holder ends, and a process that inherits the descriptor keeps it. Two threads exclude each other
too, for each opens the file anew.
"""

import contextlib
import fcntl
import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path


def lock_folder() -> Path:
    """`$AUTOTUNER_LOCKS`, else a folder in `/tmp` that all users share.

    Not `$TMPDIR`: tuners with different ones must meet. Containers that share GPUs mount one
    folder and name it in the variable.
    """
    if chosen := os.environ.get("AUTOTUNER_LOCKS"):
        return Path(chosen).expanduser().absolute()
    shared = Path("/tmp")
    parent = shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
    return parent / "inference-autotuner-locks"


@dataclass
class Lock:
    """A lock that is held.

    Attributes:
        path: Its file.
        descriptor: What holds it; a process that inherits it holds the lock as well.
    """

    path: Path
    descriptor: int
    _is_held: bool = field(default=True, repr=False)

    def release(self, *, is_kept: bool = True) -> None:
        """Gives it back; the second time does nothing.

        Args:
            is_kept: Whether its file stays, for a lock that is taken again and again.
        """
        if not self._is_held:
            return
        self._is_held = False
        if not is_kept:  # still held: whoever has opened the file looks again
            self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


def try_lock(name: str) -> Lock | None:
    """The lock called `name`, or None while somebody else holds it.

    Raises:
        OSError: The folder cannot be made or written.
    """
    path = _made_folder() / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.lock"
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_file_of(path, descriptor):
            _mark_as_used(descriptor)
            return Lock(path, descriptor)
        os.close(descriptor)


def remove_unused(prefix: str) -> int:
    """Removes the files of locks that nobody holds; says how many."""
    count = 0
    for path in lock_folder().glob(f"{prefix}*.lock"):
        with contextlib.suppress(OSError):  # another user's file, in a folder with the sticky bit
            if lock := try_lock(path.stem):
                lock.release(is_kept=False)
                count += 1
    return count


def _made_folder() -> Path:
    folder = lock_folder()
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777)  # all users make files here, none removes another's
    return folder


def _open(path: Path) -> int:
    """Reading is enough for flock, so a file of another user can be locked as well."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, flags)
        with contextlib.suppress(FileExistsError):
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)


def _is_file_of(path: Path, descriptor: int) -> bool:
    """False when the file was removed between opening and locking it."""
    try:
        now = path.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (now.st_dev, now.st_ino) == (held.st_dev, held.st_ino)


def _mark_as_used(descriptor: int) -> None:
    """Programs that clean /tmp go by age: a file in use must look young."""
    with contextlib.suppress(OSError):
        os.utime(descriptor)
