"""A model's place among this machine's files: where a name in a task leads, and what is missing."""

import os
from collections.abc import Iterator
from pathlib import Path

from inference_autotuner.optimizer.findings import Finding
from inference_autotuner.optimizer.spec import TuningTask

_WEIGHTS = (".gguf", ".safetensors", ".bin", ".pt")
_HERE = ("process", "docker")


def place_of(name: str, *, base: str) -> Path:
    """Where a name would be as a file: absolute, from `base` when it is relative."""
    return Path(os.path.normpath(Path(base, Path(name).expanduser()).absolute()))


def looks_like_path(name: str) -> bool:
    """Whether a name can only be a path, and no hub id.

    >>> looks_like_path("models/chat.gguf"), looks_like_path("org/model")
    (True, False)
    """
    return (
        name.startswith(("/", "./", "../", "~")) or name.endswith(_WEIGHTS) or name.count("/") > 1
    )


def missing_files(task: TuningTask, *, base: str, is_mistake: bool) -> Iterator[Finding]:
    """Files that a task of mode `process` names and this machine does not have.

    Args:
        task: The task.
        base: Folder at which its relative paths start.
        is_mistake: Whether the task is to run here; else another machine may have them.
    """
    if task.spec.deployment.mode != "process":
        return
    for field in ("name", "tokenizer"):
        name = getattr(task.spec.model, field)
        if name is None or not looks_like_path(name) or place_of(name, base=base).exists():
            continue
        message = (
            f"there is no such file: {place_of(name, base=base)}; a relative path starts at the "
            "task file"
        )
        yield Finding(f"spec.model.{field}", message, is_mistake)


def name_from_task(model: str, *, mode: str, task_file: Path) -> str:
    """How a task names a model that is typed in the current folder.

    Args:
        model: A path or a name, as typed.
        mode: The task's mode; on a cluster a path is one of the engine's image.
        task_file: Where the task is going to be.
    """
    is_relative = not model.startswith(("/", "~"))
    is_file = looks_like_path(model) or Path(model).exists()
    folder = task_file.parent.resolve()
    if mode not in _HERE or not is_relative or not is_file or folder == Path.cwd():
        return model
    path = os.path.relpath(Path.cwd() / model, folder)
    # Without a dot a folder would look like a hub id.
    return path if path.startswith("..") else f"./{path}"
