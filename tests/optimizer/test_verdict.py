"""The verdict of any study: it is there, it is honest, and units and directions do not matter."""

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_autotuner.optimizer.evidence import PROVED, Evidence
from inference_autotuner.optimizer.judgment import decide
from inference_autotuner.optimizer.statistics import differences
from inference_autotuner.optimizer.trial import Params, Trial, TrialKind, TrialState
from inference_autotuner.optimizer.verdict import Verdict, VerdictKind
from tests.benchmarks.verdict_honesty import WORLDS, Ending, World, judge
from tests.optimizer.proving import (
    END_STATES,
    Ground,
    Outcome,
    begin,
    ended,
    measured,
    proposals,
    run_study,
    spec,
)

SLO = {"metric": "ttft", "limit": "200ms"}


def mode(params: Params) -> float:
    return math.log(1.3) * (params.get("performance-mode") == "throughput")


def ground(**changes: Any) -> Ground:
    return Ground(spec(**{"budget": {"trials": 10}, **changes}))


def with_violation(outcome: Outcome, violation: Callable[[Params], float]) -> Outcome:
    """The same outcome with a TTFT that misses its limit by so much."""
    return lambda trial: replace(outcome(trial), violations={"ttft p99": violation(trial.params)})


@st.composite
def any_trials(draw: st.DrawFn) -> list[Trial]:
    """Trials of any kinds in any order with any ends, likely or not."""
    rng = random.Random(draw(st.integers(0, 10**6)))
    source = proposals(rng.randrange(10**6))
    known: list[Params] = [{}, *(next(source) for _ in range(draw(st.integers(0, 4))))]
    trials: list[Trial] = []
    for _ in range(draw(st.integers(0, 25))):
        kind = TrialKind.BASELINE if not trials else rng.choice(list(TrialKind)[1:])
        trial = begin(trials, kind, rng.choice(known) if trials else {})
        state = rng.choice([*END_STATES, TrialState.MEASURED, TrialState.RUNNING])
        if state is not TrialState.RUNNING:
            value = rng.choice([0.0, 100.0, 1e-300, 1e300, rng.lognormvariate(4, 0.3)])
            violation = rng.choice([-1.0, -0.2, 0.0, 0.1, math.inf])
            trial = ended(trial, state, value, ttft_p99=violation)
        trials.append(trial)
    return trials


@settings(max_examples=300, deadline=None)
@given(trials=any_trials(), repeats=st.integers(0, 3), has_slo=st.booleans())
def test_there_is_a_verdict_for_any_trials_and_it_survives_json(
    trials: list[Trial], repeats: int, has_slo: bool
) -> None:
    world = ground(confirm={"repeats": repeats}, slos=[SLO] if has_slo else [])
    verdict = decide(world, trials)
    assert verdict.summary
    assert (verdict.params is not None and bool(verdict.flags)) or not verdict.has_winner
    stored = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
    assert Verdict.from_dict(stored) == verdict


@settings(max_examples=300, deadline=None)
@given(trials=any_trials(), repeats=st.integers(0, 3))
def test_better_is_never_said_of_params_that_may_miss_an_slo(
    trials: list[Trial], repeats: int
) -> None:
    verdict = decide(ground(confirm={"repeats": repeats}, slos=[SLO]), trials)
    if verdict.has_winner:
        assert all(m.margin_low is not None and m.margin_low >= 0 for m in verdict.margins)
        assert len(verdict.margins) == 1


def test_a_gain_that_is_there_is_found_with_an_interval_around_it() -> None:
    world = ground()
    trials, _ = run_study(world, measured(mode, noise=0.02))
    verdict = decide(world, trials)
    assert verdict.kind is VerdictKind.BETTER
    assert verdict.params == {"performance-mode": "throughput"}
    assert verdict.gain is not None
    assert verdict.gain.low is not None
    assert verdict.gain.high is not None
    assert verdict.gain.low < 0.3 < verdict.gain.high
    assert {flag.flag for flag in verdict.flags if not flag.is_kept}


def test_the_only_flag_costs_what_it_gives() -> None:
    world = ground()
    verdict = decide(world, run_study(world, measured(mode, noise=0.02))[0])
    (kept,) = [flag for flag in verdict.flags if flag.is_kept]
    assert verdict.gain is not None
    assert kept.cost is not None
    assert kept.cost.point == pytest.approx(1 - 1 / (1 + verdict.gain.point))


def test_what_a_flag_costs_counts_each_run_once() -> None:
    world = ground()
    trials, _ = run_study(world, measured(mode, noise=0.02))
    verdict = decide(world, trials)
    arms = {key: arm.runs for key, arm in Evidence(world, trials).arms(PROVED).items()}
    winner, baseline = arms.pop(world.identity(verdict.params or {})), arms.pop(())
    (expected,) = differences(winner, (baseline,), tuple(arms.values()))
    (kept,) = [flag for flag in verdict.flags if flag.is_kept]
    assert expected is not None
    assert expected.low is not None
    assert kept.cost is not None
    assert kept.cost.high == pytest.approx(-math.expm1(expected.low))


def test_two_flags_that_both_give_are_both_kept_with_what_each_costs() -> None:
    def two(params: Params) -> float:
        return mode(params) + 0.2 * (params.get("stream-interval") == 8)

    world = ground(budget={"trials": 25})
    verdict = decide(world, run_study(world, measured(two, noise=0.02))[0])
    costs = {flag.flag: flag.cost for flag in verdict.flags if flag.is_kept}
    assert set(costs) == {"performance-mode", "stream-interval"}
    assert all(
        cost is not None and cost.low is not None and cost.low > 0 for cost in costs.values()
    )


def test_a_flag_that_costs_some_of_the_gain_is_dropped() -> None:
    def harm(params: Params) -> float:
        return mode(params) - 0.06 * (params.get("stream-interval", 1) > 1)

    world = ground(budget={"trials": 12})
    verdict = decide(world, run_study(world, measured(harm, noise=0.01))[0])
    assert verdict.params == {"performance-mode": "throughput"}


def test_of_two_flags_of_which_one_is_enough_one_is_kept() -> None:
    def either(params: Params) -> float:
        return max(mode(params), math.log(1.3) * (params.get("stream-interval") == 8))

    world = ground(budget={"trials": 20})
    verdict = decide(world, run_study(world, measured(either, noise=0.02))[0])
    kept = {flag.flag for flag in verdict.flags if flag.is_kept}
    assert kept in ({"performance-mode"}, {"stream-interval"})


def test_two_flags_that_give_only_together_are_both_kept() -> None:
    def together(params: Params) -> float:
        return mode(params) * (params.get("async-scheduling") is True)

    world = ground(budget={"trials": 25})
    verdict = decide(world, run_study(world, measured(together, noise=0.02))[0])
    kept = {flag.flag for flag in verdict.flags if flag.is_kept}
    assert kept == {"performance-mode", "async-scheduling"}


def test_explored_trials_are_no_evidence() -> None:
    world = ground()
    trials, _ = run_study(world, measured(mode, noise=0.02))
    explored = [
        replace(t, values=(1e6,)) if t.kind is TrialKind.EXPLORE and t.values else t for t in trials
    ]
    lucky, fair = decide(world, [*explored]), decide(world, trials)
    assert {f.gain for f in lucky.finalists} & {
        f.gain for f in fair.finalists
    } or lucky.gain is None


def test_a_proof_that_was_cut_short_is_inconclusive() -> None:
    world = ground()
    trials, _ = run_study(world, measured(mode, noise=0.01))
    confirmed = [t for t in trials if t.kind is not TrialKind.UNDO]
    assert decide(world, confirmed).kind is VerdictKind.BETTER
    cut = decide(world, confirmed[:-1])
    assert cut.kind is VerdictKind.INCONCLUSIVE
    assert "cut short" in cut.summary
    running = replace(confirmed[-1], state=TrialState.RUNNING, values=(), ended_s=None)
    assert decide(world, [*confirmed[:-1], running]).kind is VerdictKind.INCONCLUSIVE


def test_undo_runs_that_were_cut_short_leave_the_larger_winner() -> None:
    world = ground()
    trials, _ = run_study(world, measured(mode, noise=0.01))
    first_undo = next(t.number for t in trials if t.kind is TrialKind.UNDO)
    verdict = decide(world, trials[: first_undo + 2])
    assert verdict.kind is VerdictKind.BETTER
    assert verdict.params is not None
    assert len(verdict.params) > 1


def test_a_gain_that_vanishes_in_the_undo_runs_is_not_better() -> None:
    world = ground()
    trials, _ = run_study(world, measured(mode, noise=0.02))
    vanished = [
        replace(t, values=(70.0 if t.params else 100.0,)) if t.kind is TrialKind.UNDO else t
        for t in trials
    ]
    assert decide(world, trials).kind is VerdictKind.BETTER
    verdict = decide(world, vanished)
    assert verdict.kind is VerdictKind.INCONCLUSIVE
    assert "includes 0" in verdict.summary


def test_a_latency_that_holds_too_narrowly_is_inconclusive() -> None:
    rng = random.Random(4)
    world = ground(slos=[SLO])
    narrow = with_violation(measured(mode, noise=0.02), lambda _: -0.01 + rng.gauss(0, 0.005))
    wide = with_violation(measured(mode, noise=0.02), lambda _: -0.2 + rng.gauss(0, 0.005))
    shaky = with_violation(measured(mode, noise=0.02), lambda _: -0.06 + abs(rng.gauss(0, 0.03)))
    assert decide(world, run_study(world, wide)[0]).kind is VerdictKind.BETTER
    for outcome in (narrow, shaky):
        verdict = decide(world, run_study(world, outcome)[0])
        assert verdict.kind is not VerdictKind.BETTER or verdict.margins[0].margin_low >= 0  # type: ignore[operator]


def test_a_finalist_that_crashed_once_is_not_sound_however_fast_it_was() -> None:
    world = ground(budget={"trials": 4})
    trials, _ = run_study(world, measured(mode, noise=0.01))
    last = next(t for t in reversed(trials) if t.kind is TrialKind.CONFIRM and t.params)
    crashed = replace(last, state=TrialState.INFEASIBLE, values=())
    trials = [crashed if t.number == last.number else t for t in trials]
    rows = {Ground().identity(f.params): f for f in decide(world, trials).finalists}
    assert rows[Ground().identity(last.params)].crashes == 1
    assert not rows[Ground().identity(last.params)].is_sound


def test_a_baseline_that_may_miss_its_slo_must_still_be_beaten() -> None:
    rng = random.Random(3)

    def shaky_baseline(params: Params) -> float:
        return (0.01 if not params else -0.4) + rng.gauss(0, 0.08)

    world = ground(slos=[SLO])
    trials, _ = run_study(world, with_violation(measured(lambda p: 0.0), shaky_baseline))
    assert decide(world, trials).kind is not VerdictKind.BETTER


def test_a_baseline_that_is_shown_to_miss_its_slo_need_not_be_beaten() -> None:
    rng = random.Random(3)

    def slow_baseline(params: Params) -> float:
        return (0.5 if not params else -0.4) + rng.gauss(0, 0.03)

    world = ground(slos=[SLO])
    trials, _ = run_study(world, with_violation(measured(lambda p: 0.0), slow_baseline))
    verdict = decide(world, trials)
    assert verdict.kind is VerdictKind.BETTER
    assert "baseline does not" in verdict.summary


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), factor=st.sampled_from([1e-9, 0.001, 7.3, 1e9]))
def test_a_change_of_unit_changes_no_verdict(seed: int, factor: float) -> None:
    world = ground()
    trials, _ = run_study(world, measured(mode, noise=0.1, seed=seed), seed=seed)
    scaled = [replace(t, values=tuple(v * factor for v in t.values)) for t in trials]
    same(decide(world, trials), decide(world, scaled))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_less_of_the_reciprocal_is_the_same_verdict(seed: int) -> None:
    world = ground()
    turned = ground(objectives=[{"metric": "tpot"}])
    trials, _ = run_study(world, measured(mode, noise=0.1, seed=seed), seed=seed)
    mirrored = [replace(t, values=tuple(1 / v for v in t.values)) for t in trials]
    more, less = decide(world, trials), decide(turned, mirrored)
    assert (more.kind, more.params) == (less.kind, less.params)
    if more.gain is not None and less.gain is not None:
        assert 1 - less.gain.point == pytest.approx(1 / (1 + more.gain.point))


def same(one: Verdict, other: Verdict) -> None:
    assert (one.kind, one.params) == (other.kind, other.params)
    for a, b in zip(one.finalists, other.finalists, strict=True):
        assert a.gain is not None
        assert b.gain is not None
        assert a.gain.point == pytest.approx(b.gain.point, abs=1e-9)


def world_called(title: str) -> World:
    return next(world for world in WORLDS if world.title == title)


def endings(title: str, seeds: Sequence[int]) -> list[Ending]:
    return [judge(world_called(title), seed) for seed in seeds]


def test_through_ask_and_tell_nothing_is_called_better_when_nothing_differs() -> None:
    found = endings("nothing differs, noise 5%", range(12))
    assert sum(e.kind is VerdictKind.BETTER for e in found) <= 1


def test_through_ask_and_tell_the_one_flag_that_gives_15_percent_is_found_and_named_alone() -> None:
    found = endings("one word +15 %, noise 5%", range(12))
    right = [e for e in found if e.kind is VerdictKind.BETTER and e.named == {"performance-mode"}]
    assert len(right) >= 10
