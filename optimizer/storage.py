"""Opening Optuna's storage by its address, and keeping a journal file whole."""

import fcntl
import json
import os
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from inference_autotuner.optimizer.errors import (
    AutotunerError,
    NotWritableError,
    StorageDamagedError,
    StorageUnavailableError,
    is_lasting,
)

# Optuna announces every study on stderr.
optuna.logging.set_verbosity(optuna.logging.WARNING)

_SCHEMES = (
    "memory://, journal:///path/to/file, grpc://host:port, grpcs://host:port, "
    "postgresql://user:password@host/database"
)
_WHY_NO_SQLITE = (
    "SQLite gives one trial to two askers, for it ignores the locks that Optuna relies on; use "
    "journal:///path/to/file, which is one file too"
)
_BLOCK = 64 * 1024


class FileLock(BaseJournalFileLock):
    """An exclusive lock that the kernel gives back when its holder dies, however it dies.

    Optuna's own lock files outlive a killed holder by 30 s. While the lock is held a last line
    that was cut off (a full disk, a power cut) is removed: what follows would be glued to it.
    """

    def __init__(self, path: Path) -> None:
        self._journal = path
        self._path = path.with_name(path.name + ".flock")
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Waits for the lock."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptor = descriptor
        _cut_torn_line(self._journal)
        return True

    def release(self) -> None:
        """Gives the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _cut_torn_line(journal: Path) -> None:
    with journal.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        end = size
        while end > 0:
            start = max(0, end - _BLOCK)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)


def storage_url(path: Path) -> str:
    """The address of a journal file."""
    return f"journal://{path}"


def shown(url: str) -> str:
    """An address for people: of a database neither user nor password.

    >>> shown("postgresql://me:secret@db:5432/tuning?sslmode=require")
    'postgresql://db:5432/tuning'
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "journal" or not ("@" in rest or scheme.startswith("postgres")):
        return url
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}"


def open_storage(url: str) -> BaseStorage:
    """The storage at `url`.

    Raises:
        AutotunerError: An address of another form.
        NotWritableError: This user cannot write the file, or it cannot be there.
        StorageUnavailableError: The disk is full or faulty, or the database does not answer. A
            storage service is asked at the first call only.
        StorageDamagedError: A line of the journal cannot be read.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        return InMemoryStorage()
    if scheme == "journal" and rest.startswith("/"):
        return _open_journal(Path(rest))
    # gRPC and the database's driver take longer to import than many a command runs.
    if scheme in ("grpc", "grpcs"):
        return _open_service(url)
    if scheme == "postgresql":
        return _open_postgresql(url)
    if scheme == "sqlite":
        raise AutotunerError(f"{url}: {_WHY_NO_SQLITE}")
    raise AutotunerError(f"{shown(url)}: no storage address; allowed are {_SCHEMES}")


def _open_service(url: str) -> BaseStorage:
    from inference_autotuner.optimizer.grpc_storage import ServiceStorage

    return ServiceStorage(url)


def _open_postgresql(url: str) -> BaseStorage:
    from inference_autotuner.optimizer.postgresql_storage import open_postgresql

    return open_postgresql(url)


def _open_journal(path: Path) -> BaseStorage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=FileLock(path)))
    except OSError as error:
        problem = f"{path} cannot be written: {error.strerror or error}"
        if is_lasting(error):
            remedy = "make it writable, or name another folder in AUTOTUNER_STATE"
            raise NotWritableError(f"{problem}; {remedy}, or another file in --storage") from error
        raise StorageUnavailableError(f"{problem}; make room there, and try again") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StorageDamagedError(
            f"{path}:{_damaged_line(path)}: this line cannot be read. Move the file away, or "
            "repair the line; every whole line before it is a valid record."
        ) from error


def _damaged_line(path: Path) -> int:
    """The first line that is no JSON object, from 1; the last line when all of them are."""
    number = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                if not isinstance(json.loads(line), dict):
                    return number
            except ValueError:
                return number
    return number
