"""What each flag of a configuration seems to give, by all explored trials together.

Only a guess at which flags to drop first: it spares fresh runs where it is right, and costs some
where it is wrong. Whether they may be dropped is decided by fresh runs alone.
"""

from collections.abc import Hashable, Sequence
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

from inference_autotuner.optimizer.differing import Level, level_key, with_level
from inference_autotuner.optimizer.evidence import (
    EXPLORED,
    Evidence,
    is_feasible,
    is_measured,
)
from inference_autotuner.optimizer.trial import Params, Trial, TrialState

_Numbers = npt.NDArray[np.float64]
# Over how large a part of a flag's values what is known of one tells about another.
_REACH = 0.5


def importance(
    evidence: Evidence, params: Params, flags: Sequence[str], noise: float
) -> dict[str, float]:
    """For each flag what its value in `params` seems to give over the baseline's.

    An additive model, merit = mean + one unknown function for each flag + noise: each function is
    a Gaussian process over the flag's values, smooth over numbers and free over words, and any of
    them may be what the trials scatter by beyond the noise.

    Args:
        evidence: The study.
        params: A configuration.
        flags: Flags in which it differs from the baseline.
        noise: Standard deviation of one trial's merit.

    Returns:
        Differences of merit, drawn towards zero where little is known.
    """
    trials = [t for t in evidence.of_kind(*EXPLORED) if _is_known(t)]
    if len(trials) < 2:
        return dict.fromkeys(flags, 0.0)
    merits = _merits(evidence, trials)
    names = sorted({name for trial in trials for name in trial.params} | set(flags))
    likeness = {name: _likeness(evidence, trials, params, name) for name in names}
    scatter = max(float(merits.var()) - noise**2, noise**2) / 2
    total = np.sum([table[:-2, :-2] for table in likeness.values()], axis=0)
    covariance = scatter * total + noise**2 * np.eye(len(trials))
    weights = scatter * np.linalg.solve(covariance, merits - merits.mean())
    return {name: float((likeness[name][-2] - likeness[name][-1])[:-2] @ weights) for name in flags}


def _is_known(trial: Trial) -> bool:
    return is_measured(trial) or trial.state is TrialState.INFEASIBLE


def _merits(evidence: Evidence, trials: Sequence[Trial]) -> _Numbers:
    """A trial that does not run or misses an SLO counts as the worst one that holds them."""
    worst = min((evidence.merit(t) for t in trials if is_feasible(t)), default=0.0)
    return np.array([evidence.merit(t) if is_feasible(t) else worst for t in trials])


def _likeness(evidence: Evidence, trials: Sequence[Trial], params: Params, name: str) -> _Numbers:
    """How alike two configurations are in one flag, 0 to 1; the last two: `params`, baseline."""
    everybody = [*(trial.params for trial in trials), params, evidence.ground.baseline]
    levels = _levels(evidence, params, name, [each.get(name) for each in everybody])
    distinct = list(dict.fromkeys(map(level_key, levels)))
    codes = np.array([distinct.index(level_key(level)) for level in levels])
    numbers = sorted({level for level in levels if _is_number(level)})
    ranks = np.array([numbers.index(v) if _is_number(v) else np.nan for v in levels])
    near = np.exp(-np.abs(ranks[:, None] - ranks) / max(1.0, _REACH * len(numbers)))
    return np.asarray(np.where(np.isnan(near), codes[:, None] == codes, near), dtype=np.float64)


def _levels(evidence: Evidence, params: Params, name: str, levels: Sequence[Level]) -> list[Level]:
    """Levels that are the same beside `params`, such as an engine's default written out, as one."""
    distinct = {level_key(level): level for level in levels}
    identities = {
        key: evidence.ground.identity(with_level(params, name, level))
        for key, level in distinct.items()
    }
    chosen: dict[Hashable, Level] = {}
    for key, level in distinct.items():
        if identities[key] not in chosen or _is_number(level):
            chosen[identities[key]] = level
    return [chosen[identities[level_key(level)]] for level in levels]


def _is_number(level: Level) -> TypeGuard[int | float]:
    return isinstance(level, int | float) and not isinstance(level, bool)
