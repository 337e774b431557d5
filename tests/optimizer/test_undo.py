"""The undo runs: what is tried, what keeps the gain, and what is left alone."""

import math
from dataclasses import replace
from typing import Any

import pytest

from inference_autotuner.optimizer.differing import differing_flags
from inference_autotuner.optimizer.judgment import decide
from inference_autotuner.optimizer.plan import Finished, Run, next_move
from inference_autotuner.optimizer.trial import Params, Trial, TrialKind, TrialState
from inference_autotuner.optimizer.verdict import Verdict, VerdictKind
from tests.optimizer.proving import (
    Ground,
    Outcome,
    begin,
    ended,
    measured,
    now_s,
    proposals,
    propose,
    run_study,
    spec,
)

SLO = {"metric": "ttft", "limit": "200ms"}
MODE, INTERVAL, ASYNC = "performance-mode", "stream-interval", "async-scheduling"


def is_fast(params: Params) -> bool:
    return params.get(MODE) == "throughput"


def mode(params: Params) -> float:
    return math.log(1.3) * is_fast(params)


def ground(**changes: Any) -> Ground:
    return Ground(spec(**{"budget": {"trials": 25}, **changes}))


def judged(outcome: Outcome, **changes: Any) -> tuple[Verdict, list[Trial]]:
    world = ground(**changes)
    trials, _ = run_study(world, outcome)
    return decide(world, trials), trials


def kept(verdict: Verdict) -> set[str]:
    return {flag.flag for flag in verdict.flags if flag.is_kept}


def undone(trials: list[Trial]) -> list[set[str]]:
    return [set(differing_flags(Ground(), t.params)) for t in trials if t.kind is TrialKind.UNDO]


def test_small_gains_of_two_flags_are_both_kept_when_the_noise_is_small() -> None:
    def two(params: Params) -> float:
        return math.log(1.04) * (is_fast(params) + (params.get(INTERVAL) == 8))

    verdict, _ = judged(measured(two, noise=0.005))
    assert kept(verdict) == {MODE, INTERVAL}


def test_the_flag_that_seems_to_give_most_is_tried_alone_first() -> None:
    _, trials = judged(measured(mode, noise=0.02))
    smaller = [flags for flags in undone(trials) if flags and len(flags) < 3]
    assert smaller
    assert smaller[0] == {MODE}


def test_a_smaller_configuration_that_crashes_is_dropped_at_once() -> None:
    steady = measured(mode, noise=0.02)

    def fragile(trial: Trial) -> Trial:
        alone = trial.kind is TrialKind.UNDO and set(differing_flags(Ground(), trial.params))
        return ended(trial, TrialState.INFEASIBLE) if alone == {MODE} else steady(trial)

    verdict, trials = judged(fragile)
    assert verdict.kind is VerdictKind.BETTER
    assert undone(trials).count({MODE}) == 1
    assert kept(verdict) > {MODE}


def test_a_smaller_configuration_that_misses_an_slo_is_not_the_answer() -> None:
    steady = measured(mode, noise=0.02)

    def needs_async(trial: Trial) -> Trial:
        held = trial.params.get(ASYNC) is True or not is_fast(trial.params)
        return replace(steady(trial), violations={"ttft p99": -0.3 if held else 0.3})

    verdict, _ = judged(needs_async, slos=[SLO])
    assert verdict.kind is VerdictKind.BETTER
    assert kept(verdict) == {MODE, ASYNC}


def test_the_baseline_is_no_smaller_configuration_to_try() -> None:
    world = ground(budget={"trials": 2}, slos=[SLO])
    trials: list[Trial] = []
    while isinstance(found := next_move(world, trials, now_s=now_s(trials)), Run) or not trials[2:]:
        params = found.params if isinstance(found, Run) else {MODE: "throughput"}
        kind = found.kind if isinstance(found, Run) else TrialKind.EXPLORE
        violation = -0.3 if params else 0.3
        end = ended(begin(trials, kind, params), TrialState.MEASURED, 100.0, ttft_p99=violation)
        trials.append(end)
    assert decide(world, trials).kind is VerdictKind.BETTER
    assert all(trial.kind is not TrialKind.UNDO for trial in trials)


@pytest.mark.parametrize("parallel", [3, 6])
def test_runs_beyond_the_repeats_wait_for_one_another(parallel: int) -> None:
    def two(params: Params) -> float:
        return math.log(1.06) * (is_fast(params) + (params.get(INTERVAL) == 8))

    world = ground(budget={"trials": 25, "parallel": parallel})
    outcome, source = measured(two, noise=0.02), proposals()
    trials: list[Trial] = []
    while True:
        found = propose(next_move(world, trials, now_s=now_s(trials)), source)
        running = [t for t in trials if t.state is TrialState.RUNNING]
        if isinstance(found, Run) and len(running) < parallel:
            check_turn(world, trials, found)
            trials.append(begin(trials, found.kind, found.params))
        elif running:
            trials[running[-1].number] = outcome(running[-1])
        else:
            break
    assert isinstance(found, Finished)
    assert TrialKind.UNDO in {trial.kind for trial in trials}


def check_turn(world: Ground, trials: list[Trial], found: Run) -> None:
    """No smaller configuration runs more often side by side than the repeats ask for."""
    if found.kind is not TrialKind.UNDO or not found.params:
        return
    key = world.identity(found.params)
    confirmed = {world.identity(t.params) for t in trials if t.kind is TrialKind.CONFIRM}
    own = [t for t in trials if t.kind is TrialKind.UNDO and world.identity(t.params) == key]
    is_kept_already = (
        key in confirmed or len([t for t in own if t.state is TrialState.MEASURED]) > 3
    )
    if not is_kept_already and len(own) >= world.spec.confirm.repeats:
        assert all(t.state is not TrialState.RUNNING for t in own)


def test_flags_that_were_not_reached_are_kept_without_a_cost() -> None:
    world = ground()
    trials, _ = run_study(world, measured(mode, noise=0.02))
    confirmed = [t for t in trials if t.kind is not TrialKind.UNDO]
    verdict = decide(world, confirmed)
    assert verdict.kind is VerdictKind.BETTER
    assert len(kept(verdict)) > 1
    assert all(flag.cost is None for flag in verdict.flags)


def test_costs_measured_before_the_study_was_stopped_are_told() -> None:
    def two(params: Params) -> float:
        return 0.2 * (is_fast(params) + (params.get(INTERVAL) == 8))

    world = ground()
    trials, _ = run_study(world, measured(two, noise=0.02))
    whole = decide(world, trials)
    assert kept(whole) == {MODE, INTERVAL}
    costs = [flag.cost for flag in decide(world, trials[:-1]).flags if flag.is_kept]
    assert any(cost is not None for cost in costs)
