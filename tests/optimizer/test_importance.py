"""The guess at what each flag gives, by all explored trials together."""

import math
import random
from collections.abc import Callable

import pytest

from inference_autotuner.optimizer.differing import differing_flags, level_key
from inference_autotuner.optimizer.evidence import Evidence
from inference_autotuner.optimizer.importance import importance
from inference_autotuner.optimizer.trial import Params, Trial, TrialKind, TrialState
from tests.optimizer.proving import Ground, begin, ended, measured, proposals, spec

WORLD = Ground(spec())
WINNER: Params = {
    "max-num-seqs": 256,
    "performance-mode": "throughput",
    "stream-interval": 8,
}


def explored(merit: Callable[[Params], float], count: int = 25) -> list[Trial]:
    outcome, source = measured(merit, noise=0.02), proposals()
    trials = [outcome(begin([], TrialKind.BASELINE, {}))]
    for _ in range(count):
        trials.append(outcome(begin(trials, TrialKind.EXPLORE, next(source))))
    return trials


def seeming(trials: list[Trial], params: Params = WINNER) -> dict[str, float]:
    flags = differing_flags(WORLD, params)
    return importance(Evidence(WORLD, trials), params, flags, 0.02)


def test_a_flag_that_gives_stands_out_from_idle_ones() -> None:
    found = seeming(explored(lambda p: 0.2 * (p.get("performance-mode") == "throughput")))
    assert found["performance-mode"] == pytest.approx(0.2, abs=0.05)
    assert all(abs(found[flag]) < 0.05 for flag in ("max-num-seqs", "stream-interval"))


def test_a_flag_that_harms_is_below_zero() -> None:
    assert seeming(explored(lambda p: -0.2 * (p.get("stream-interval", 1) > 2)))[
        "stream-interval"
    ] == pytest.approx(-0.2, abs=0.06)


def test_a_number_that_was_never_tried_is_known_by_its_neighbors() -> None:
    trials = [
        trial
        for trial in explored(lambda p: 0.1 * math.log2(p.get("max-num-seqs", 64) / 64))
        if trial.params.get("max-num-seqs") != 256
    ]
    assert seeming(trials)["max-num-seqs"] > 0.08


def test_a_default_spelled_out_is_the_baselines_level() -> None:
    spelled: Params = {**WINNER, "stream-interval": 1}
    assert "stream-interval" not in differing_flags(WORLD, spelled)
    found = importance(Evidence(WORLD, explored(lambda p: 0.0)), spelled, ["stream-interval"], 0.02)
    assert found["stream-interval"] == pytest.approx(0.0, abs=1e-9)


def test_without_trials_nothing_is_guessed() -> None:
    assert set(seeming([]).values()) == {0.0}


def test_params_without_which_nothing_runs_seem_important() -> None:
    rng = random.Random(1)
    trials = []
    for params in [{}, *(p for p, _ in zip(proposals(), range(25), strict=False))]:
        trial = begin(trials, TrialKind.EXPLORE if trials else TrialKind.BASELINE, params)
        runs = params.get("performance-mode") == "throughput"
        state = TrialState.MEASURED if runs else TrialState.INFEASIBLE
        trials.append(ended(trial, state, rng.uniform(80, 120)))
    found = seeming(trials)
    assert max(found, key=lambda flag: found[flag]) == "performance-mode"


def test_true_is_not_one() -> None:
    assert level_key(True) != level_key(1)
    assert level_key(1.0) == level_key(1)
    assert level_key(False) != level_key(0)
