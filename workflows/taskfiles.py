"""Reads task files from this machine."""

import sys
from pathlib import Path

from inference_autotuner.optimizer.errors import Mistake, TaskError
from inference_autotuner.optimizer.findings import sort_out
from inference_autotuner.optimizer.taskfile import LoadedTask, load_task
from inference_autotuner.optimizer.yaml_reader import SIZE_LIMIT
from inference_autotuner.workflows.model_files import missing_files

STDIN = "-"


def read_task(path: str | Path, *, is_for_here: bool = False) -> LoadedTask:
    """The task in a file, with what is to be said about it; `-` reads standard input.

    Args:
        path: The file.
        is_for_here: The task is to run on this machine now: a file that it names and that is not
            there is a mistake, and else a warning.

    Raises:
        TaskError: There is no such file, it cannot be read, or its task has mistakes.
    """
    source = "standard input" if str(path) == STDIN else str(path)
    text = _decoded(_bytes(path, source), source)
    base = base_of(path)
    return load_task(
        text,
        source,
        lambda task: sort_out(missing_files(task, base=base, is_mistake=is_for_here)),
    )


def base_of(path: str | Path) -> str:
    """The folder at which the relative paths of a task file start."""
    folder = Path.cwd() if str(path) == STDIN else Path(path).parent
    return str(folder.resolve())


def _bytes(path: str | Path, source: str) -> bytes:
    """The content, or the beginning of it where it is too large."""
    try:
        if str(path) == STDIN:
            return sys.stdin.buffer.read(SIZE_LIMIT + 1)
        with Path(path).open("rb") as file:
            return file.read(SIZE_LIMIT + 1)
    except FileNotFoundError as error:
        raise _problem("there is no such file", source) from error
    except IsADirectoryError as error:
        raise _problem("this is a folder; give the task file in it", source) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise _problem(f"cannot be read: {reason}", source) from error


def _decoded(content: bytes, source: str) -> str:
    if len(content) > SIZE_LIMIT:
        limit = f"at most {SIZE_LIMIT // 1024} KiB"
        raise _problem(f"the file is too large for a task; {limit}", source)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        problem = f"the byte 0x{content[error.start]:02x} is no UTF-8; save the file as UTF-8"
        raise _problem(problem, source, line) from error


def _problem(message: str, source: str, line: int | None = None) -> TaskError:
    return TaskError([Mistake("", message, line)], source)
