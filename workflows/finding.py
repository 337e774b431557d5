"""One thing that `autotuner doctor` looked at."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How it stands with something."""

    OK = "ok"
    WARN = "warn"
    """A run works, but not as well as it could."""
    BAD = "bad"
    """No run works before this is mended."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What was looked at, a word or two.
        state: How it stands.
        found: What was found, for a person.
        remedy: What to do about it; empty when nothing needs doing.
    """

    name: str
    state: State
    found: str
    remedy: str = ""
