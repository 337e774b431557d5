"""Every error raised on purpose, by what happens next, and the closed list of reasons."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class AutotunerError(Exception):
    """Every error this project raises on purpose."""

    exit_code = 70


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong in a task file: where, what, and what to do about it.

    Attributes:
        path: The field, for instance `spec.slos[0].limit`.
        message: What is wrong and what is allowed, one sentence.
        line: Line in the file, from 1; None when the task did not come from a file.
    """

    path: str
    message: str
    line: int | None = None


class TaskError(AutotunerError):
    """The user's task is wrong. Nothing has been started."""

    exit_code = 64

    def __init__(self, mistakes: Sequence[Mistake], source: str = "task") -> None:
        self.mistakes = tuple(mistakes)
        self.source = source
        super().__init__("\n".join(self._lines()))

    def _lines(self) -> list[str]:
        return [
            f"{self.source}{f':{m.line}' if m.line else ''}: {m.path + ': ' if m.path else ''}"
            f"{m.message}"
            for m in self.mistakes
        ]


class RenderError(AutotunerError):
    """A template broke its contract: our bug."""


class NotWritableError(AutotunerError):
    """A file or folder that this user cannot write, or that cannot be where it is to be."""


class NotReadyError(AutotunerError):
    """The world is not ready yet: trying again later may work."""

    exit_code = 75


class StorageUnavailableError(NotReadyError):
    """The storage does not answer."""


class StorageRefusedError(AutotunerError):
    """The storage service does not accept this client's token."""


class StudyBusyError(NotReadyError):
    """Another process runs this study."""


class StudyError(AutotunerError):
    """The study cannot go on."""


class StudyMismatchError(StudyError):
    """What is stored under the study's name was made from another task."""


class StorageDamagedError(StudyError):
    """The storage holds something that nobody can read."""


class TrialError(AutotunerError):
    """This trial could not be measured, and its params are not to blame."""

    exit_code = 0

    def __init__(self, reason: "Reason", message: str) -> None:
        self.reason = reason
        super().__init__(message)


class BenchmarkError(TrialError):
    """The load generator failed, or its run is not valid."""


class DeployError(TrialError):
    """The engine could not be started for a reason outside its params."""


# A full disk, or one that fails or is gone for a while, is none of these.
_LASTING = frozenset(
    (
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ELOOP,
        errno.ENAMETOOLONG,
    )
)


def is_lasting(error: OSError) -> bool:
    """Whether what the file system refuses stays refused until somebody changes a path or right."""
    return error.errno in _LASTING


class Reason(StrEnum):
    """Why a trial has no score: one word, the same in storage, logs, web app and docs."""

    OUT_OF_MEMORY = "OutOfMemory"
    INVALID_ARGUMENTS = "InvalidArguments"
    UNSUPPORTED = "Unsupported"
    CRASHED = "Crashed"
    CRASHED_UNDER_LOAD = "CrashedUnderLoad"
    NEVER_READY = "NeverReady"
    MODEL_NOT_FOUND = "ModelNotFound"
    ENGINE_NOT_FOUND = "EngineNotFound"
    PORT_IN_USE = "PortInUse"
    DEVICE_BUSY = "DeviceBusy"
    HOST_OUT_OF_MEMORY = "HostOutOfMemory"
    NETWORK_FAULT = "NetworkFault"
    DISK_FULL = "DiskFull"
    NO_ROOM = "NoRoom"
    IMAGE_NOT_PULLED = "ImageNotPulled"
    RUNTIME_NOT_FOUND = "RuntimeNotFound"
    SERVER_LOST = "ServerLost"
    SERVER_CHANGED = "ServerChanged"
    BENCHMARK_FAILED = "BenchmarkFailed"
    BENCHMARK_INVALID = "BenchmarkInvalid"
    INTERRUPTED = "Interrupted"


class Blame(StrEnum):
    """Who is at fault when an engine does not serve, and so what happens next."""

    PARAMS = "params"
    """The engine cannot run these params: a result the search learns from."""
    WORLD = "world"
    """Something outside: forgotten by the search, retried within the budget."""
    TASK = "task"
    """Every trial would fail alike: the study stops and says what to mend."""


@dataclass(frozen=True)
class Failure:
    """What became of an engine that does not serve.

    Attributes:
        blame: Who is at fault.
        reason: One word of the closed list.
        message: One sentence for a person, with the line of the log that says it.
    """

    blame: Blame
    reason: Reason
    message: str
