"""The verdict: a study's answer with its evidence, as a value that is kept and written down."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from inference_autotuner.optimizer.trial import Params, Value


class VerdictKind(StrEnum):
    """The answer in one word."""

    BETTER = "Better"
    """Other params are shown to be better than the baseline, and hold every SLO."""
    INCONCLUSIVE = "Inconclusive"
    """The runs leave it open whether anything is better."""
    KEEP_CURRENT = "KeepCurrent"
    """Nothing that was tried is better than the baseline."""
    NOTHING_FEASIBLE = "NothingFeasible"
    """Nothing that was tried runs and holds every SLO."""


@dataclass(frozen=True)
class Change:
    """A relative change; above zero is better, whatever the direction of the metric.

    Attributes:
        point: 0.5 is half as much again of a rate, or half of a latency saved.
        low: Lower end of the 95 % interval; None when there are too few runs to say.
        high: Upper end of the 95 % interval.
    """

    point: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class FlagChange:
    """One flag in which the winner of the search differs from the baseline.

    Attributes:
        flag: Its name.
        value: Its value; None where the engine's default is kept.
        baseline: The baseline's value; None for the engine's default.
        is_kept: Whether it is part of the answer; else it made no difference.
        cost: What putting it back to the baseline costs; None where that was not measured.
    """

    flag: str
    value: Value | None
    baseline: Value | None
    is_kept: bool
    cost: Change | None


@dataclass(frozen=True)
class SloMargin:
    """An SLO in the fresh runs of the winner.

    Attributes:
        slo: Its title, such as `ttft p99`.
        limit: In seconds or per second.
        value: Mean over the fresh runs, at the point where it is worst.
        margin: Share of the limit that is left; below zero it is missed.
        margin_low: What is left with 95 % confidence; None when nothing can be said.
        baseline_margin: The baseline's margin; None where it was not measured.
    """

    slo: str
    limit: float
    value: float
    margin: float
    margin_low: float | None
    baseline_margin: float | None


@dataclass(frozen=True)
class Finalist:
    """One finalist in its fresh runs, confirm and undo.

    Attributes:
        params: Its params.
        runs: Fresh servers on which it was measured.
        gain: Against the baseline; None where one of the two was not measured.
        is_sound: Whether it ran every time and held every SLO with confidence.
        crashes: Fresh servers that it did not run on.
    """

    params: Params
    runs: int
    gain: Change | None
    is_sound: bool
    crashes: int


@dataclass(frozen=True)
class Nearest:
    """Where nothing holds every SLO: the trial that is nearest to it.

    Attributes:
        trial: Its number.
        params: Its params.
        slo: The SLO that binds.
        limit: Its limit, in seconds or per second.
        value: What the trial reached: the limit that would have been met.
    """

    trial: int
    params: Params
    slo: str
    limit: float
    value: float


@dataclass(frozen=True)
class Verdict:
    """A study's answer with its evidence.

    Attributes:
        kind: The answer in one word.
        summary: The answer in a sentence or two, for people.
        params: Params to use: the winner's, else the baseline's; None when nothing is feasible.
        gain: The winner against the baseline; None when there is no winner.
        flags: What the winner of the search changed, kept or dropped.
        margins: SLOs in the winner's fresh runs; empty when there is no winner.
        runs: Fresh runs of the winner.
        baseline_runs: Fresh runs of the baseline.
        finalists: Every finalist, best of the search first.
        nearest: Only for NothingFeasible, where anything was measured.
        reasons: How often each Reason ended a trial without a score.
    """

    kind: VerdictKind
    summary: str
    params: Params | None
    gain: Change | None = None
    flags: tuple[FlagChange, ...] = ()
    margins: tuple[SloMargin, ...] = ()
    runs: int = 0
    baseline_runs: int = 0
    finalists: tuple[Finalist, ...] = ()
    nearest: Nearest | None = None
    reasons: Mapping[str, int] | None = None

    @property
    def has_winner(self) -> bool:
        """Whether other params than the baseline's are to be used."""
        return self.kind is VerdictKind.BETTER

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they are stored and printed."""
        return {**asdict(self), "kind": str(self.kind)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Verdict":
        """Reads back what `to_dict` gave, from JSON as well."""
        return cls(
            **{
                **stored,
                "kind": VerdictKind(stored["kind"]),
                "gain": _change(stored["gain"]),
                "flags": tuple(
                    FlagChange(**{**flag, "cost": _change(flag["cost"])})
                    for flag in stored["flags"]
                ),
                "margins": tuple(SloMargin(**margin) for margin in stored["margins"]),
                "finalists": tuple(
                    Finalist(**{**finalist, "gain": _change(finalist["gain"])})
                    for finalist in stored["finalists"]
                ),
                "nearest": Nearest(**stored["nearest"]) if stored["nearest"] else None,
            }
        )


def _change(stored: Mapping[str, Any] | None) -> Change | None:
    return Change(**stored) if stored else None
