"""The trials of a study as evidence: what was run of each configuration, and what it gave.

Explored trials choose what is measured again. They are never evidence themselves: the best of
thirty noisy numbers is mostly the luckiest one.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from inference_autotuner.optimizer.errors import Reason
from inference_autotuner.optimizer.metrics import Direction
from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.optimizer.statistics import Runs
from inference_autotuner.optimizer.trial import Params, Trial, TrialKind, TrialState

EXPLORED = (TrialKind.BASELINE, TrialKind.EXPLORE)
CONFIRMED = (TrialKind.CONFIRM,)
PROVED = (TrialKind.CONFIRM, TrialKind.UNDO)

# A value of zero (goodput where no request met its limits) has no logarithm.
_SMALLEST_SHARE = 1e-3
# An interval that reaches further than a factor of a million says nothing, but must not overflow.
_LARGEST_CHANGE = math.log(1e6)
# A person's Ctrl-C or a killed tuner says little against params, but not nothing: the params may
# be what takes the whole machine down.
_INTERRUPTIONS_FOR_A_FAILURE = 10


class Ground(Protocol):
    """What a proof must know of a search space; `Space` is one."""

    @property
    def spec(self) -> Spec:
        """The task's spec."""

    @property
    def baseline(self) -> Params:
        """The params that a winner must beat."""

    def identity(self, params: Params) -> Hashable:
        """Equal for params that make the engine run the same configuration."""

    def settle(self, choice: Params) -> Params | None:
        """Params without inactive flags, or None when they break a constraint."""


@dataclass(frozen=True)
class Arm:
    """One configuration and its trials of some kinds.

    Attributes:
        params: Its params, as they were first asked for.
        kind: The kind of its latest trial.
        runs: The merit of each measured trial: a logarithm, larger is better.
        misses: For each SLO by title the logarithm of value / limit; zero or less holds.
        crashes: Trials in which the engine could not run it.
        running: Trials that have no end yet.
        failures: How often the world broke, as far as it counts.
    """

    params: Params
    kind: TrialKind
    runs: Runs
    misses: Mapping[str, Runs]
    crashes: int
    running: int
    failures: int

    @property
    def started(self) -> int:
        """Trials that have a result or may still get one."""
        return len(self.runs) + self.crashes + self.running


class Evidence:
    """The trials of a study, sorted by configuration."""

    def __init__(self, ground: Ground, trials: Sequence[Trial], forgive_before: int = 0) -> None:
        self.ground = ground
        self.spec = ground.spec
        self.trials = tuple(trials)
        self.baseline = ground.identity(ground.baseline)
        self._forgive_before = forgive_before
        self._identities = {trial.number: ground.identity(trial.params) for trial in trials}
        self._top = max((t.values[0] for t in trials if is_measured(t)), default=0.0)
        self._arms: dict[tuple[TrialKind, ...], dict[Hashable, Arm]] = {}

    def identity(self, trial: Trial) -> Hashable:
        """The configuration of a trial."""
        return self._identities[trial.number]

    def of_kind(self, *kinds: TrialKind) -> list[Trial]:
        """Trials of some kinds, by number."""
        return [trial for trial in self.trials if trial.kind in kinds]

    def recent_trials(self) -> list[Trial]:
        """Trials whose failures count."""
        return [trial for trial in self.trials if trial.number >= self._forgive_before]

    def merit(self, trial: Trial) -> float:
        """What a measured trial is worth: the logarithm of its first objective, larger is better.

        A constant factor on all values, a change of unit say, changes no difference of merits.
        """
        if self._top <= 0:
            return 0.0
        logarithm = math.log(max(trial.values[0], self._top * _SMALLEST_SHARE))
        return logarithm if self.is_maximized else -logarithm

    @property
    def is_maximized(self) -> bool:
        """Whether more of the first objective is better."""
        return self.spec.objectives[0].metric.direction is Direction.MAXIMIZE

    def change(self, difference: float) -> float:
        """A difference of merits as relative change of the metric; above zero is better.

        For throughput 0.5 is half as much again, for a latency 0.5 is half of it saved.
        """
        bounded = min(max(difference, -_LARGEST_CHANGE), _LARGEST_CHANGE)
        return math.expm1(bounded) if self.is_maximized else -math.expm1(-bounded)

    def arms(self, kinds: tuple[TrialKind, ...]) -> Mapping[Hashable, Arm]:
        """Every configuration that has trials of these kinds, in order of first appearance."""
        if kinds not in self._arms:
            grouped: dict[Hashable, list[Trial]] = {}
            for trial in self.of_kind(*kinds):
                grouped.setdefault(self.identity(trial), []).append(trial)
            self._arms[kinds] = {key: self._arm(trials) for key, trials in grouped.items()}
        return self._arms[kinds]

    def arm(self, params: Params, kinds: tuple[TrialKind, ...]) -> Arm:
        """A configuration's trials of these kinds; there may be none."""
        found = self.arms(kinds).get(self.ground.identity(params))
        return found or Arm(params, kinds[0], (), {}, 0, 0, 0)

    def _arm(self, trials: Sequence[Trial]) -> Arm:
        measured = [trial for trial in trials if is_measured(trial)]
        return Arm(
            params=trials[0].params,
            kind=trials[-1].kind,
            runs=tuple(self.merit(trial) for trial in measured),
            misses={
                slo.title: tuple(log_ratio(t.violations[slo.title]) for t in measured)
                for slo in self.spec.slos
                if all(slo.title in t.violations for t in measured)
            },
            crashes=sum(trial.state is TrialState.INFEASIBLE for trial in trials),
            running=sum(trial.state is TrialState.RUNNING for trial in trials),
            failures=self._failures(trials),
        )

    def _failures(self, trials: Sequence[Trial]) -> int:
        failed = [t for t in trials if is_failed(t) and t.number >= self._forgive_before]
        interrupted = sum(trial.reason is Reason.INTERRUPTED for trial in failed)
        return len(failed) - interrupted + interrupted // _INTERRUPTIONS_FOR_A_FAILURE

    def is_given_up(self, arm: Arm) -> bool:
        """Whether the world broke so often that it is not tried again."""
        return arm.failures > self.spec.budget.retries


def is_measured(trial: Trial) -> bool:
    """Whether it gave a number that can be compared."""
    return (
        trial.state is TrialState.MEASURED and bool(trial.values) and math.isfinite(trial.values[0])
    )


def is_failed(trial: Trial) -> bool:
    """Whether nothing is known of its params: the world broke, or what it gave is no number."""
    return trial.state is TrialState.FAILED or (
        trial.state is TrialState.MEASURED and not is_measured(trial)
    )


def is_feasible(trial: Trial) -> bool:
    """Whether it gave a number, and every SLO held."""
    return is_measured(trial) and trial.holds_slos


def log_ratio(violation: float) -> float:
    """The logarithm of value / limit by a violation, between a thousandth and a thousand.

    >>> round(log_ratio(0.5), 3), log_ratio(math.inf) == math.log(1000)
    (0.405, True)
    """
    ratio = 1e3 if math.isnan(violation) else 1 + violation
    return math.log(min(max(ratio, 1e-3), 1e3))
