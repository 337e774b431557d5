"""What a running study tells its audience: plain values, drawn by whoever listens."""

from collections.abc import Callable
from dataclasses import dataclass

from inference_autotuner.optimizer.plan import Finished
from inference_autotuner.optimizer.trial import Trial


@dataclass(frozen=True)
class TrialBegan:
    """A trial was asked for, or goes on after the tuner was killed."""

    trial: Trial


@dataclass(frozen=True)
class StepBegan:
    """A trial entered a step.

    Attributes:
        trial: The trial.
        step: `deploy`, `benchmark` or `release`.
    """

    trial: Trial
    step: str


@dataclass(frozen=True)
class PointMeasured:
    """One more point of a trial's benchmark is done."""

    trial: Trial
    done: int
    total: int


@dataclass(frozen=True)
class Line:
    """A line of an engine's or benchmark's output.

    Attributes:
        trial: The trial.
        source: `engine` or `benchmark`.
        text: The line, without its end.
    """

    trial: Trial
    source: str
    text: str


@dataclass(frozen=True)
class TrialEnded:
    """A trial was told."""

    trial: Trial


@dataclass(frozen=True)
class Notice:
    """One sentence for a person."""

    text: str


@dataclass(frozen=True)
class StudyEnded:
    """Nothing is left to do, or the user stopped it."""

    finished: Finished


Event = TrialBegan | StepBegan | PointMeasured | Line | TrialEnded | Notice | StudyEnded
Listener = Callable[[Event], None]
