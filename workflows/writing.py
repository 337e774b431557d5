"""Writing to a place of the user's choice: what the system refuses is said in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inference_autotuner.optimizer.errors import NotReadyError, NotWritableError, is_lasting

STATE_REMEDY = "make it writable, or name another folder in AUTOTUNER_STATE"


@contextmanager
def writing_to(path: Path, remedy: str) -> Iterator[None]:
    """Names the place, the problem and the remedy where something cannot be written.

    Args:
        path: What is written, or the folder of it.
        remedy: What to do when its rights or its kind stand in the way.

    Raises:
        NotWritableError: It cannot be written by this user, or not there.
        NotReadyError: The disk is full or faulty.
    """
    try:
        yield
    except OSError as error:
        problem = f"{path} cannot be written: {error.strerror or error}"
        if is_lasting(error):
            raise NotWritableError(f"{problem}; {remedy}") from error
        raise NotReadyError(f"{problem}; make room there, or name another place") from error
