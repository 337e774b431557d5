"""What a check found in a task: mistakes, which stop it, and warnings, which do not."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from inference_autotuner.optimizer.errors import Mistake


@dataclass(frozen=True)
class Finding:
    """One thing to say about a field of a task.

    Attributes:
        path: The field, for instance `spec.parameters.tp-size[1]`.
        message: What is wrong or doubtful, and what to do about it.
        is_mistake: Whether the task must not run.
    """

    path: str
    message: str
    is_mistake: bool = True


@dataclass(frozen=True)
class Findings:
    """Everything there is to say about a task.

    Attributes:
        mistakes: The task must not run before these are mended.
        warnings: It may run, but perhaps not as its writer thinks.
    """

    mistakes: tuple[Mistake, ...]
    warnings: tuple[Mistake, ...]


def sort_out(found: Iterable[Finding]) -> Findings:
    """Mistakes and warnings apart, each said once."""
    distinct = tuple(dict.fromkeys(found))
    return Findings(
        tuple(Mistake(f.path, f.message) for f in distinct if f.is_mistake),
        tuple(Mistake(f.path, f.message) for f in distinct if not f.is_mistake),
    )


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing when no known word is near.

    >>> suggestion("tp-siez", ["tp-size", "dp-size"])
    "; did you mean 'tp-size'?"
    """
    choices = sorted(set(known))
    longer = [choice for choice in choices if choice.startswith(word)]
    near = longer if len(longer) == 1 else get_close_matches(word, choices, n=1)
    return f"; did you mean '{near[0]}'?" if near else ""
