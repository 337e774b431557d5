"""The confirm runs: which configurations are measured again, and in which order.

The baseline is compared with every finalist, so it is measured about sqrt(k) times as often as
each of k finalists (Dunnett); its runs are spread from the first to the last, and the order of
the finalists turns round each time, so that a machine that drifts favors nobody.
"""

import math
from collections.abc import Sequence
from statistics import fmean

from inference_autotuner.optimizer.evidence import (
    CONFIRMED,
    EXPLORED,
    PROVED,
    Arm,
    Evidence,
    is_feasible,
)
from inference_autotuner.optimizer.trial import Params, TrialKind

# Finalists that looked this much worse than the baseline are not worth a GPU.
_WORTH_CONFIRMING = math.log(0.9)


def finalists(evidence: Evidence) -> tuple[Params, ...]:
    """The best explored configurations, best first: they hold every SLO and may beat the baseline.

    A trial that was told after the first confirm run changes nothing any more.
    """
    proof = evidence.of_kind(*PROVED)
    end = proof[0].number if proof else len(evidence.trials)
    candidates = [
        trial
        for trial in evidence.of_kind(TrialKind.EXPLORE)
        if trial.number < end
        and is_feasible(trial)
        and evidence.identity(trial) != evidence.baseline
        and evidence.merit(trial) >= _least_merit(evidence)
    ]
    candidates.sort(key=lambda trial: (-evidence.merit(trial), trial.number))
    distinct = {evidence.identity(trial): trial.params for trial in reversed(candidates)}
    best = [distinct[key] for key in dict.fromkeys(map(evidence.identity, candidates))]
    return tuple(best[: evidence.spec.confirm.finalists])


def _least_merit(evidence: Evidence) -> float:
    """Any will do where the baseline misses an SLO or does not run."""
    merits = [
        evidence.merit(trial)
        for trial in evidence.of_kind(TrialKind.BASELINE)
        if is_feasible(trial)
    ]
    return fmean(merits) + _WORTH_CONFIRMING if merits else -math.inf


def baseline_repeats(finalist_count: int, repeats: int) -> int:
    """Fresh runs of the baseline.

    >>> baseline_repeats(1, 3), baseline_repeats(3, 3)
    (3, 5)
    """
    return round(repeats * math.sqrt(finalist_count))


def schedule(evidence: Evidence, chosen: tuple[Params, ...]) -> list[Params]:
    """Every confirm run in order."""
    repeats = evidence.spec.confirm.repeats
    runs = [
        params
        for round_number in range(repeats)
        for params in (chosen if round_number % 2 == 0 else chosen[::-1])
    ]
    if evidence.arm(evidence.ground.baseline, EXPLORED).crashes:
        return runs
    count = baseline_repeats(len(chosen), repeats)
    gap = len(runs) / (count - 1) if count > 1 else 0.0
    for number in reversed(range(count)):
        runs.insert(round(number * gap), evidence.ground.baseline)
    return runs


def not_started(evidence: Evidence, planned: Sequence[Params]) -> list[Params]:
    """Planned confirm runs that were not started yet, in order.

    A configuration that crashed is out, and one for which the world broke too often is not tried
    again: what is left of their runs is not missing.
    """
    started = {key: arm.started for key, arm in evidence.arms(CONFIRMED).items()}
    missing = []
    for params in planned:
        key = evidence.ground.identity(params)
        if started.get(key, 0) > 0:
            started[key] -= 1
        elif not is_out(evidence, evidence.arm(params, CONFIRMED)):
            missing.append(params)
    return missing


def is_running(evidence: Evidence) -> bool:
    """Whether a confirm run has no end yet."""
    return any(arm.running for arm in evidence.arms(CONFIRMED).values())


def is_out(evidence: Evidence, arm: Arm) -> bool:
    """Whether a configuration gets no further runs."""
    return arm.crashes > 0 or evidence.is_given_up(arm)


def confirm_arms(evidence: Evidence, chosen: tuple[Params, ...]) -> tuple[Arm, ...]:
    """The finalists with their confirm runs; one that crashed in an undo run is out as well."""
    sound = [params for params in chosen if not evidence.arm(params, PROVED).crashes]
    return tuple(evidence.arm(params, CONFIRMED) for params in sound)
