"""How configurations stand after fresh runs: against the baseline, and against the SLOs."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from inference_autotuner.optimizer.evidence import EXPLORED, Arm, Evidence
from inference_autotuner.optimizer.statistics import (
    Difference,
    Noise,
    differences,
    lower_bound,
    mean,
    pooled_noise,
    upper_bound,
)
from inference_autotuner.optimizer.trial import TrialKind

# A configuration that was measured once on a fresh server may have been lucky to live.
_FEWEST_RUNS = 2


class BaselineState(StrEnum):
    """What a winner has to beat."""

    MEASURED = "measured"
    """A number: the winner's must be better."""
    MISSES = "misses"
    """It is shown to miss an SLO: any configuration that holds all of them is better."""
    CANNOT_RUN = "cannot run"
    """The engine cannot run it, or not reliably: any configuration that runs is better."""
    UNKNOWN = "unknown"
    """The world broke whenever it was tried: nothing can be said to be better."""


@dataclass(frozen=True)
class Miss:
    """An SLO in the fresh runs of one configuration, as logarithms of value / limit.

    Attributes:
        title: The SLO.
        point: Mean; zero or less holds.
        low: Lower 95 % bound of the mean; None when nothing can be said.
        high: Upper 95 % bound of the mean; None when nothing can be said.
    """

    title: str
    point: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Standing:
    """One configuration after its fresh runs.

    Attributes:
        arm: Its runs.
        difference: From the baseline; None when one of the two has no run.
        misses: One entry for each SLO, in the order of the task.
        is_sound: Enough runs, no crash, and every SLO holds with its bound.
    """

    arm: Arm
    difference: Difference | None
    misses: tuple[Miss, ...]
    is_sound: bool

    @property
    def holds_on_average(self) -> bool:
        """Whether every SLO holds in the mean, sure or not."""
        return all(miss.point <= 0 for miss in self.misses)


class Standings:
    """Every configuration with fresh runs of some kinds."""

    def __init__(self, evidence: Evidence, kinds: tuple[TrialKind, ...]) -> None:
        self._evidence = evidence
        self._kinds = kinds
        arms = evidence.arms(kinds)
        self.noise = pooled_noise([arm.runs for arm in arms.values()])
        self._slo_noise = {slo.title: self._noise_of(slo.title) for slo in evidence.spec.slos}
        rivals = [key for key in arms if key != evidence.baseline]
        found = differences(
            evidence.arm(evidence.ground.baseline, kinds).runs,
            tuple(arms[key].runs for key in rivals),
        )
        self._differences: dict[Hashable, Difference | None] = dict(zip(rivals, found, strict=True))
        self.baseline_state = self._judge_baseline()

    def _noise_of(self, title: str) -> Noise | None:
        arms = self._evidence.arms(self._kinds).values()
        return pooled_noise([arm.misses.get(title, ()) for arm in arms])

    def of(self, arm: Arm) -> Standing:
        """How an arm stands."""
        misses = self._misses(arm)
        fewest = min(_FEWEST_RUNS, max(1, self._evidence.spec.confirm.repeats))
        is_sound = (
            len(arm.runs) >= fewest
            and not arm.crashes
            and len(misses) == len(self._evidence.spec.slos)
            and all(miss.high is not None and miss.high <= 0 for miss in misses)
        )
        key = self._evidence.ground.identity(arm.params)
        return Standing(arm, self._differences.get(key), misses, is_sound)

    def _misses(self, arm: Arm) -> tuple[Miss, ...]:
        found = []
        for slo in self._evidence.spec.slos:
            if runs := arm.misses.get(slo.title, ()):
                noise = self._slo_noise[slo.title]
                bounds = lower_bound(runs, noise), upper_bound(runs, noise)
                found.append(Miss(slo.title, mean(runs), *bounds))
        return tuple(found)

    def _judge_baseline(self) -> BaselineState:
        baseline = self._evidence.ground.baseline
        fresh = self._evidence.arm(baseline, self._kinds)
        if fresh.crashes or self._evidence.arm(baseline, EXPLORED).crashes:
            return BaselineState.CANNOT_RUN
        if not fresh.runs:
            return BaselineState.UNKNOWN
        is_missed = any(miss.low is not None and miss.low > 0 for miss in self._misses(fresh))
        return BaselineState.MISSES if is_missed else BaselineState.MEASURED

    def is_better(self, standing: Standing) -> bool:
        """Whether it is shown to be better than the baseline."""
        if not standing.is_sound or self.baseline_state is BaselineState.UNKNOWN:
            return False
        if self.baseline_state is BaselineState.MEASURED:
            return standing.difference is not None and standing.difference.is_above_zero
        return True


def leader(standings: Standings, finalists: Sequence[Arm]) -> Arm | None:
    """The best finalist that is shown to be better than the baseline."""
    better = [arm for arm in finalists if standings.is_better(standings.of(arm))]
    return max(better, key=lambda arm: mean(arm.runs), default=None)
