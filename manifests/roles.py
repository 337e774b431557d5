"""Who is who among a study's trials: the baseline, the winner, their runs, and the rest."""

import math
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from inference_autotuner.optimizer.goals import Objective
from inference_autotuner.optimizer.metrics import Metric, Statistic
from inference_autotuner.optimizer.objective import objective_values
from inference_autotuner.optimizer.space import Space, build_space
from inference_autotuner.optimizer.spec import Spec, TuningTask
from inference_autotuner.optimizer.trial import (
    Params,
    Trial,
    TrialKind,
    TrialState,
    describe_params,
)
from inference_autotuner.optimizer.verdict import Verdict, VerdictKind

_EXPLORED = (TrialKind.BASELINE, TrialKind.EXPLORE)
_SHOWN = (VerdictKind.BETTER, VerdictKind.KEEP_CURRENT)


class Role(StrEnum):
    """What a trial is in a picture."""

    WINNER = "winner"
    BASELINE = "baseline"
    HOLDS = "every SLO holds"
    MISSES = "an SLO is missed"
    INFEASIBLE = "infeasible"
    FAILED = "failed"


class Roles:
    """A study's trials, seen from its answer.

    Attributes:
        space: The search space; it tells which params are the same configuration.
        spec: The task's spec.
        trials: Every trial, by number.
        baseline: Params of the baseline.
        winner: Params that won; None where nothing beat the baseline.
    """

    def __init__(self, space: Space, trials: Sequence[Trial], winner: Params | None) -> None:
        self.space = space
        self.spec = space.spec
        self.trials = tuple(trials)
        self.baseline = space.baseline
        self.winner = winner
        self._identities = {trial.number: space.identity(trial.params) for trial in trials}

    @property
    def explored(self) -> list[Trial]:
        """The baseline and what the sampler proposed, without the proof that follows."""
        return [trial for trial in self.trials if trial.kind in _EXPLORED]

    @property
    def measured(self) -> list[Trial]:
        """Trials that have a measurement."""
        return [trial for trial in self.trials if has_numbers(trial)]

    def is_of(self, trial: Trial, params: Params | None) -> bool:
        """Whether a trial ran the configuration that some params make."""
        return params is not None and self._identities[trial.number] == self.space.identity(params)

    def role(self, trial: Trial) -> Role:
        """What a trial that has ended is."""
        if not has_numbers(trial):
            is_infeasible = trial.state is TrialState.INFEASIBLE
            return Role.INFEASIBLE if is_infeasible else Role.FAILED
        if self.is_of(trial, self.winner):
            return Role.WINNER
        if self.is_of(trial, self.baseline):
            return Role.BASELINE
        return Role.HOLDS if trial.holds_slos else Role.MISSES

    def runs(self, params: Params) -> list[Trial]:
        """The measured runs that count for some params: fresh servers where there are any."""
        own = [trial for trial in self.measured if self.is_of(trial, params)]
        return [trial for trial in own if trial.kind not in _EXPLORED] or own

    def describe(self, params: Params) -> str:
        """Params as the difference from the baseline."""
        return describe_params(params, self.baseline)


def has_numbers(trial: Trial) -> bool:
    """Whether a trial was measured and gave numbers that can be drawn and compared."""
    return (
        trial.measurement is not None
        and bool(trial.values)
        and all(math.isfinite(value) for value in trial.values)
    )


def served_trial(roles: Roles, verdict: Verdict) -> Trial | None:
    """The latest run of what the verdict says to serve with, under the verdict's own params."""
    if verdict.params is None:
        return None
    runs = roles.runs(verdict.params)
    return replace(runs[-1], params=dict(verdict.params)) if runs else None


def proven_value(roles: Roles, verdict: Verdict) -> float | None:
    """The deciding objective in the fresh runs of what the verdict shows to be best.

    None where it shows nothing, or nothing was measured again.
    """
    if verdict.params is None or verdict.kind not in _SHOWN:
        return None
    runs = fresh_runs(roles, verdict.params)
    return mean([trial.values[0] for trial in runs]) if runs else None


def fresh_runs(roles: Roles, params: Params) -> list[Trial]:
    """The measured runs of some params in the proof; none when there was none."""
    return [trial for trial in roles.runs(params) if trial.kind not in _EXPLORED]


def build_roles(task: TuningTask, trials: Sequence[Trial], verdict: Verdict) -> Roles:
    """The trials of a study with its answer."""
    winner = verdict.params if verdict.has_winner else None
    return Roles(build_space(task.spec), trials, winner)


def overall(spec: Spec, trial: Trial, metric: Metric, statistic: Statistic | None) -> float:
    """A metric of a measured trial over all points, weighted like an objective."""
    assert trial.measurement is not None
    objective = Objective(metric=metric, statistic=statistic)
    alone = spec.model_copy(update={"objectives": [objective]})
    return objective_values(alone, trial.measurement)[0]


def worst(trial: Trial, metric: Metric, statistic: Statistic) -> float:
    """A latency of a measured trial at the point where it is longest, seconds."""
    assert trial.measurement is not None
    return max(point.value(metric, statistic) for point in trial.measurement.points)


def mean(values: Sequence[float]) -> float:
    """The mean of at least one number, as the verdict takes it: of logarithms where there are any.

    >>> round(mean([1.0, 100.0])), mean([0.0, 4.0])
    (10, 2.0)
    """
    if min(values) <= 0:
        return math.fsum(values) / len(values)
    return math.exp(math.fsum(map(math.log, values)) / len(values))
