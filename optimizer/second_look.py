"""One more round for the best finalist when the confirm runs promise a gain and do not show it.

Runs enough for every gain that matters would waste GPUs on most studies. So the confirm runs are
few, and where they end close to a proof, the best finalist and the baseline are measured as often
again. Looking twice makes a false Better a little more likely; by how much is measured in
`tests/benchmarks/verdict_honesty.py`.
"""

from collections import Counter
from collections.abc import Hashable

from inference_autotuner.optimizer.confirm import confirm_arms, is_running, not_started, schedule
from inference_autotuner.optimizer.evidence import CONFIRMED, Arm, Evidence, is_failed
from inference_autotuner.optimizer.standing import BaselineState, Standings, leader
from inference_autotuner.optimizer.trial import Params, Trial, TrialKind

# A gain of fewer standard errors is not worth more runs: they would hardly prove it.
_PROMISE = 1.5


def missing_runs(evidence: Evidence, chosen: tuple[Params, ...]) -> list[Params]:
    """Confirm runs that were not started yet, in order; a second look follows all others."""
    planned = schedule(evidence, chosen)
    if missing := not_started(evidence, planned):
        return missing
    return not_started(evidence, [*planned, *_second_schedule(evidence, chosen, planned)])


def is_confirmed(evidence: Evidence, chosen: tuple[Params, ...]) -> bool:
    """Whether every confirm run has ended.

    A verdict before that could be had by stopping at a lucky moment.
    """
    return not is_running(evidence) and not missing_runs(evidence, chosen)


def _second_schedule(
    evidence: Evidence, chosen: tuple[Params, ...], planned: list[Params]
) -> list[Params]:
    """The runs of a second look in order, the baseline and the finalist turning round each time."""
    first = Evidence(evidence.ground, _first_look(evidence, planned))
    promising = None if is_running(first) else _promising(first, chosen)
    if promising is None:
        return []
    pair = [evidence.ground.baseline, promising]
    repeats = evidence.spec.confirm.repeats
    return [p for number in range(repeats) for p in (pair if number % 2 == 0 else pair[::-1])]


def _first_look(evidence: Evidence, planned: list[Params]) -> list[Trial]:
    """The trials without undo runs and without confirm runs beyond the plan."""
    left: Counter[Hashable] = Counter(map(evidence.ground.identity, planned))
    seen = []
    for trial in evidence.trials:
        if trial.kind is TrialKind.UNDO:
            continue
        if trial.kind is TrialKind.CONFIRM and not is_failed(trial):
            left[evidence.identity(trial)] -= 1
            if left[evidence.identity(trial)] < 0:
                continue
        seen.append(trial)
    return seen


def _promising(first: Evidence, chosen: tuple[Params, ...]) -> Params | None:
    """The finalist that is nearest to a proof; None when one is proved already, or none is near."""
    standings = Standings(first, CONFIRMED)
    arms = confirm_arms(first, chosen)
    if standings.baseline_state is not BaselineState.MEASURED or leader(standings, arms):
        return None
    ranked = [(_promise(first, standings, arm), -place) for place, arm in enumerate(arms)]
    promise, place = max(ranked, default=(0.0, 0))
    return arms[-place].params if promise >= _PROMISE else None


def _promise(first: Evidence, standings: Standings, arm: Arm) -> float:
    """The gain in standard errors; zero for an arm that cannot win."""
    standing = standings.of(arm)
    baseline = first.arm(first.ground.baseline, CONFIRMED)
    if standing.difference is None or standings.noise is None or not standing.holds_on_average:
        return 0.0
    return standing.difference.point / standings.noise.error(len(arm.runs), len(baseline.runs))
