"""How fresh runs are judged: who is sound, who misses an SLO, what the baseline is worth."""

from collections.abc import Sequence

import pytest

from inference_autotuner.optimizer.evidence import CONFIRMED, Evidence
from inference_autotuner.optimizer.standing import BaselineState, Standings
from inference_autotuner.optimizer.trial import Params, Trial, TrialKind, TrialState
from tests.optimizer.proving import Ground, begin, ended, spec

SLO = {"metric": "ttft", "limit": "200ms"}
WORLD = Ground(spec(slos=[SLO]))
FAST: Params = {"performance-mode": "throughput"}


def fresh(params: Params, violations: Sequence[float], trials: list[Trial]) -> list[Trial]:
    """Confirm runs that missed the SLO by so much, after the trials so far."""
    for violation in violations:
        trial = begin(trials, TrialKind.CONFIRM, params)
        trials.append(ended(trial, TrialState.MEASURED, 100.0, ttft_p99=violation))
    return trials


def standings(baseline: Sequence[float], fast: Sequence[float]) -> tuple[Evidence, Standings]:
    evidence = Evidence(WORLD, fresh(FAST, fast, fresh({}, baseline, [])))
    return evidence, Standings(evidence, CONFIRMED)


@pytest.mark.parametrize(
    ("violations", "state"),
    [
        ([-0.3, -0.31, -0.29], BaselineState.MEASURED),
        ([0.25, -0.1, 0.05], BaselineState.MEASURED),  # misses in the mean, and may yet hold
        ([0.3, 0.31, 0.29], BaselineState.MISSES),
        ([], BaselineState.UNKNOWN),
    ],
)
def test_a_baseline_misses_an_slo_only_when_that_is_shown(
    violations: Sequence[float], state: BaselineState
) -> None:
    assert standings(violations, [-0.5, -0.52, -0.48])[1].baseline_state is state


def test_a_baseline_that_crashed_once_cannot_run() -> None:
    trials = fresh({}, [-0.3, -0.3, -0.3], [])
    trials.append(ended(begin(trials, TrialKind.CONFIRM, {}), TrialState.INFEASIBLE))
    found = Standings(Evidence(WORLD, trials), CONFIRMED)
    assert found.baseline_state is BaselineState.CANNOT_RUN


@pytest.mark.parametrize(
    ("violations", "is_sound", "holds"),
    [
        ([-0.2, -0.21, -0.19], True, True),
        ([-0.02, 0.05, -0.09], False, True),  # in the mean only
        ([0.1, 0.11, 0.12], False, False),
        ([-0.2], False, True),  # once may be luck
    ],
)
def test_an_slo_holds_when_its_bound_does(
    violations: Sequence[float], is_sound: bool, holds: bool
) -> None:
    evidence, found = standings([-0.3, -0.35, -0.25], violations)
    standing = found.of(evidence.arm(FAST, CONFIRMED))
    assert (standing.is_sound, standing.holds_on_average) == (is_sound, holds)


def test_nothing_is_better_than_an_unknown_baseline() -> None:
    evidence, found = standings([], [-0.2, -0.21, -0.19])
    assert not found.is_better(found.of(evidence.arm(FAST, CONFIRMED)))


def test_whoever_holds_every_slo_is_better_than_a_baseline_that_does_not() -> None:
    evidence, found = standings([0.3, 0.31, 0.29], [-0.2, -0.21, -0.19])
    assert found.is_better(found.of(evidence.arm(FAST, CONFIRMED)))
