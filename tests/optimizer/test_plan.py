"""What to run next: explore, confirm, undo, and every way in which a study ends."""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_autotuner.optimizer.differing import differing_flags
from inference_autotuner.optimizer.errors import Reason
from inference_autotuner.optimizer.plan import (
    Explore,
    Finished,
    Move,
    Run,
    StopReason,
    Wait,
    next_move,
)
from inference_autotuner.optimizer.trial import Params, Trial, TrialKind, TrialState
from tests.optimizer.proving import (
    Ground,
    begin,
    ended,
    kinds,
    measured,
    now_s,
    proposals,
    propose,
    run_study,
    spec,
)

EXPLORED = (TrialKind.BASELINE, TrialKind.EXPLORE)
PROVED = (TrialKind.CONFIRM, TrialKind.UNDO)
MEASURED, INFEASIBLE, FAILED = TrialState.MEASURED, TrialState.INFEASIBLE, TrialState.FAILED


def nothing(params: Params) -> float:
    return 0.0


def mode(params: Params) -> float:
    return math.log(1.15) * (params.get("performance-mode") == "throughput")


def ground(**changes: Any) -> Ground:
    return Ground(spec(**changes))


def move(world: Ground, trials: Sequence[Trial], **how: Any) -> Move:
    return next_move(world, trials, now_s=how.pop("now_s", now_s(trials)), **how)


def explored(values: Sequence[float | TrialState], **common: Any) -> list[Trial]:
    """The baseline and explored trials with these values or other ends."""
    source = proposals()
    trials: list[Trial] = []
    for number, value in enumerate(values):
        kind = TrialKind.EXPLORE if number else TrialKind.BASELINE
        trial = replace(begin(trials, kind, next(source) if number else {}), **common)
        if isinstance(value, TrialState):
            trials.append(trial if value is TrialState.RUNNING else ended(trial, value))
        else:
            trials.append(ended(trial, MEASURED, value))
    return trials


def test_the_baseline_comes_first() -> None:
    world = Ground(spec(), baseline={"stream-interval": 4})
    assert move(world, []) == Run(TrialKind.BASELINE, {"stream-interval": 4})


def test_while_the_baseline_runs_others_are_explored() -> None:
    assert move(ground(), explored([TrialState.RUNNING])) == Explore()


def test_running_trials_count_toward_the_budget() -> None:
    world = ground(budget={"trials": 3, "parallel": 3})
    assert move(world, explored([100, TrialState.RUNNING])) == Explore()
    assert move(world, explored([100, TrialState.RUNNING, TrialState.RUNNING])) == Wait()


def test_a_failed_trial_is_tried_again_before_anything_new() -> None:
    trials = explored([100, FAILED, 90])
    assert move(ground(), trials) == Run(TrialKind.EXPLORE, trials[1].params)


def test_a_failed_baseline_is_tried_again_as_the_baseline() -> None:
    assert move(ground(), explored([FAILED, 90])) == Run(TrialKind.BASELINE, {})


def test_params_are_given_up_after_the_budget_of_retries_and_then_count() -> None:
    world = ground(budget={"trials": 2, "retries": 1})
    trials = explored([100, FAILED])
    trials.append(ended(begin(trials, TrialKind.EXPLORE, trials[1].params), FAILED))
    found = move(world, trials)
    assert isinstance(found, Finished)
    assert found.reason is StopReason.TRIALS


def test_no_retry_means_none() -> None:
    world = ground(budget={"retries": 0})
    assert move(world, explored([100, FAILED])) == Explore()


def test_being_interrupted_hardly_counts_as_a_failure() -> None:
    world = ground(budget={"retries": 0})
    trials = explored([100])
    for _ in range(9):
        trial = ended(begin(trials, TrialKind.EXPLORE, {"stream-interval": 8}), FAILED)
        trials.append(replace(trial, reason=Reason.INTERRUPTED))
        assert move(world, trials) == Run(TrialKind.EXPLORE, {"stream-interval": 8})
    trials.append(replace(trials[-1], number=len(trials)))
    assert move(world, trials) == Explore()


def test_failures_of_an_earlier_run_of_the_command_are_forgiven() -> None:
    world = ground(budget={"retries": 0})
    trials = explored([100, FAILED])
    again = Run(TrialKind.EXPLORE, trials[1].params)
    assert move(world, trials, forgive_before=2) == again
    assert move(world, trials, forgive_before=1) == Explore()


def test_an_infeasible_baseline_does_not_end_the_search() -> None:
    assert move(ground(), explored([INFEASIBLE, INFEASIBLE])) == Explore()


def test_patience_ends_the_search_when_nothing_gets_better() -> None:
    world = ground(budget={"patience": 2}, confirm={"repeats": 0})
    assert move(world, explored([100, 120, 110])) == Explore()
    assert reason(move(world, explored([100, 120, 110, INFEASIBLE]))) is StopReason.PATIENCE


def test_patience_waits_for_a_first_feasible_trial() -> None:
    world = ground(budget={"patience": 2})
    assert move(world, explored([INFEASIBLE] * 4)) == Explore()


def test_after_the_search_lost_patience_nothing_is_tried_again() -> None:
    world = ground(budget={"patience": 2}, confirm={"repeats": 0})
    assert reason(move(world, explored([120, 110, 110, FAILED]))) is StopReason.PATIENCE


def test_a_missed_slo_is_no_better_trial() -> None:
    world = ground(budget={"patience": 2}, confirm={"repeats": 0})
    trials = explored([100, 200, 300])
    trials[1:] = [replace(trial, violations={"ttft p99": 0.1}) for trial in trials[1:]]
    assert reason(move(world, trials)) is StopReason.PATIENCE


def test_wall_time_is_left_for_the_proof() -> None:
    # A trial takes a minute, the proof about 20 of them.
    world = ground(budget={"wallTime": "60m", "trials": 100})
    assert move(world, explored([100] * 39)) == Explore()
    assert isinstance(move(world, explored([100] * 41)), Run)
    assert kind_of(move(world, explored([100] * 41))) is TrialKind.CONFIRM


def test_trials_side_by_side_need_less_time_for_the_proof() -> None:
    world = ground(budget={"wallTime": "60m", "parallel": 4, "trials": 100})
    assert move(world, explored([100] * 50)) == Explore()


def test_exploring_may_always_use_half_of_the_time() -> None:
    world = ground(budget={"wallTime": "10m"})
    assert move(world, explored([100] * 4)) == Explore()
    assert kind_of(move(world, explored([100] * 6))) is TrialKind.CONFIRM


def test_gpu_hours_are_left_for_the_proof() -> None:
    world = ground(budget={"gpuHours": 1, "trials": 100})
    assert move(world, explored([100] * 39)) == Explore()
    assert kind_of(move(world, explored([100] * 41))) is TrialKind.CONFIRM
    assert kind_of(move(world, explored([100] * 8, gpus=4))) is TrialKind.CONFIRM


def test_a_running_trial_costs_gpu_hours() -> None:
    world = ground(budget={"gpuHours": 1, "parallel": 12, "trials": 100})
    assert move(world, explored([100] * 34)) == Explore()
    assert move(world, explored([100] * 30 + [TrialState.RUNNING] * 11)) == Wait()


def test_a_trial_that_waits_for_its_gpus_costs_no_gpu_hours_and_one_that_has_them_does() -> None:
    world = ground(budget={"gpuHours": 1, "parallel": 2, "trials": 100})
    trials = explored([100, TrialState.RUNNING])
    later = now_s(trials) + 2 * 3600
    assert move(world, trials, now_s=later) == Explore()
    holding = [trials[0], replace(trials[1], held_since_s=now_s(trials))]
    assert move(world, holding, now_s=later) == Wait()


def test_a_clock_that_is_set_back_costs_nothing() -> None:
    world = ground(budget={"wallTime": "60m", "gpuHours": 1, "trials": 30})
    trials = explored([100, TrialState.RUNNING])
    assert move(world, trials, now_s=-1e9) == Explore()
    backward = [replace(trial, ended_s=-5.0, spans={}) for trial in trials]
    assert move(world, backward, now_s=-1e9) == Explore()


def test_a_budget_that_ends_amid_the_proof_ends_the_study() -> None:
    world = ground(budget={"wallTime": "60m", "trials": 6})
    trials, _ = run_study(ground(budget={"trials": 6}), measured(mode))
    amid = trials[:10]
    assert kind_of(move(world, amid)) is TrialKind.CONFIRM
    found = move(world, amid, now_s=3600.0)
    assert reason(found) is StopReason.WALL_TIME
    assert "proof" in found.sentence  # type: ignore[union-attr]


def test_a_budget_that_ends_amid_the_undo_runs_ends_the_study() -> None:
    trials, _ = run_study(ground(), measured(mode, noise=0.02))
    amid = trials[: next(t.number for t in trials if t.kind is TrialKind.UNDO) + 2]
    late = ground(budget={"wallTime": "10h"})
    assert kind_of(move(late, amid)) is TrialKind.UNDO
    assert reason(move(late, amid, now_s=36_000.0)) is StopReason.WALL_TIME


def test_nothing_left_to_propose_ends_the_search() -> None:
    world = ground(confirm={"repeats": 0})
    assert reason(move(world, explored([100, 90]), is_exhausted=True)) is StopReason.EXHAUSTED


def test_whoever_asks_to_stop_is_heard_at_once_and_may_go_on_later() -> None:
    trials = explored([100, TrialState.RUNNING])
    found = move(ground(), trials, is_stopping=True)
    assert isinstance(found, Finished)
    assert found.is_stopped
    assert not found.is_final
    assert move(ground(), trials) == Explore()


def test_one_failure_again_and_again_ends_the_study_before_gpus_burn() -> None:
    world = ground()
    assert move(world, explored([FAILED] * 4)) == Run(TrialKind.BASELINE, {})
    found = move(world, explored([FAILED] * 5))
    assert reason(found) is StopReason.SAME_FAILURE
    assert "NetworkFault: it did not work" in found.sentence  # type: ignore[union-attr]
    assert isinstance(move(world, explored([FAILED] * 5), forgive_before=5), Run)


def test_different_failures_are_bad_luck() -> None:
    trials = explored([FAILED] * 5)
    trials[2] = replace(trials[2], reason=Reason.DISK_FULL)
    assert isinstance(move(ground(), trials), Run)


def test_trials_side_by_side_fail_together_once() -> None:
    world = ground(budget={"parallel": 4})
    assert isinstance(move(world, explored([FAILED] * 7)), Run)
    assert reason(move(world, explored([FAILED] * 8))) is StopReason.SAME_FAILURE


def test_the_confirm_runs_wait_for_explored_trials_that_run() -> None:
    world = ground(budget={"trials": 3})
    assert move(world, explored([100, 120, TrialState.RUNNING])) == Wait()


def test_the_undo_runs_wait_for_confirm_runs_that_run() -> None:
    trials, _ = run_study(ground(), measured(mode, noise=0.02))
    confirmed = [t for t in trials if t.kind is not TrialKind.UNDO]
    assert kind_of(move(ground(), confirmed)) is TrialKind.UNDO
    last = replace(confirmed[-1], state=TrialState.RUNNING, values=(), ended_s=None)
    assert move(ground(), [*confirmed[:-1], last]) == Wait()


def test_a_study_is_not_over_before_its_last_trial_is() -> None:
    trials, _ = run_study(ground(), measured(mode, noise=0.02))
    assert isinstance(move(ground(), trials), Finished)
    assert move(ground(), [*trials, begin(trials, TrialKind.UNDO, {})]) == Wait()


def test_without_repeats_there_is_no_proof() -> None:
    world = ground(budget={"trials": 2}, confirm={"repeats": 0})
    found = move(world, explored([100, 200]))
    assert reason(found) is StopReason.TRIALS
    assert "nothing is proved" in found.sentence  # type: ignore[union-attr]


def test_what_looks_much_worse_than_the_baseline_is_not_confirmed() -> None:
    world = ground(budget={"trials": 3})
    found = move(world, explored([100, 85, INFEASIBLE]))
    assert "worth confirming" in found.sentence  # type: ignore[union-attr]
    assert kind_of(move(world, explored([100, 92, 60]))) is TrialKind.CONFIRM


def test_without_a_baseline_that_holds_its_slos_any_feasible_finalist_will_do() -> None:
    world = ground(budget={"trials": 3})
    trials = explored([100, 20, INFEASIBLE])
    trials[0] = replace(trials[0], violations={"ttft p99": 0.2})
    assert kind_of(move(world, trials)) is TrialKind.CONFIRM


def test_finalists_turn_round_and_the_baseline_is_spread_from_first_to_last() -> None:
    world = ground(budget={"trials": 4})
    trials = explored([100, 103, 102, 101])
    order = "".join(confirm_order(world, trials))
    assert order == "b12b33b211b23b"


def confirm_order(world: Ground, trials: list[Trial]) -> list[str]:
    """The confirm runs by the numbers of the finalists' explored trials."""
    number = {world.identity(t.params): str(t.number) for t in trials if t.kind in EXPLORED}
    number[world.identity({})] = "b"
    order = []
    while isinstance(found := move(world, trials), Run) and found.kind is TrialKind.CONFIRM:
        order.append(number[world.identity(found.params)])
        trials.append(ended(begin(trials, found.kind, found.params), MEASURED, 100.0))
    return order


def test_a_baseline_that_cannot_run_is_not_confirmed() -> None:
    world = ground(budget={"trials": 3})
    assert confirm_order(world, explored([INFEASIBLE, 103, 102])) == ["1", "2", "2", "1", "1", "2"]


def test_a_finalist_that_crashes_gets_no_further_runs() -> None:
    world = ground(budget={"trials": 3})
    trials = explored([100, 103, 102])
    trials.append(ended(begin(trials, TrialKind.CONFIRM, {}), MEASURED, 100))
    trials.append(ended(begin(trials, TrialKind.CONFIRM, trials[1].params), INFEASIBLE))
    assert "".join(confirm_order(world, trials)) == "2b2b2b"


def test_confirm_runs_that_failed_are_run_again() -> None:
    world = ground(budget={"trials": 2})
    trials = explored([100, 103])
    trials.append(ended(begin(trials, TrialKind.CONFIRM, {}), FAILED))
    assert confirm_order(world, trials).count("b") == 3


def test_explored_trials_told_after_the_confirm_runs_began_change_no_finalist() -> None:
    world = ground(budget={"trials": 2})
    trials = explored([100, 103])
    trials.append(ended(begin(trials, TrialKind.CONFIRM, {}), MEASURED, 100))
    late = {"stream-interval": 2}
    trials.append(ended(begin(trials, TrialKind.EXPLORE, late), MEASURED, 500))
    assert move(world, trials) == Run(TrialKind.CONFIRM, trials[1].params)


def confirm_values(
    world: Ground, finalists: Sequence[float], values: Sequence[float]
) -> Counter[str]:
    """How often baseline and finalists are confirmed when each always gives its value, roughly."""
    trials = explored([100, *finalists])
    number = {world.identity(t.params): t.number for t in trials}
    runs: Counter[str] = Counter()
    while isinstance(found := move(world, trials), Run) and found.kind is TrialKind.CONFIRM:
        arm = number[world.identity(found.params)]
        wobble = 1 + 0.06 * (-1) ** runs[str(arm)]
        runs[str(arm)] += 1
        trials.append(
            ended(begin(trials, found.kind, found.params), MEASURED, values[arm] * wobble)
        )
    return runs


def test_a_gain_close_to_a_proof_gets_a_second_look_at_the_best_finalist_alone() -> None:
    world = ground(budget={"trials": 3})
    assert confirm_values(world, [120, 119], [100, 101, 113]) == {"0": 7, "1": 3, "2": 6}


def test_what_is_proved_or_far_from_it_gets_no_second_look() -> None:
    world = ground(budget={"trials": 3})
    assert confirm_values(world, [120, 119], [100, 101, 160]) == {"0": 4, "1": 3, "2": 3}
    assert confirm_values(world, [120, 119], [100, 101, 102]) == {"0": 4, "1": 3, "2": 3}


def test_a_gain_of_one_flag_is_traced_to_that_flag_in_a_few_runs() -> None:
    trials, finished = run_study(ground(), measured(mode, noise=0.02))
    assert finished.reason is StopReason.TRIALS
    assert "proved" in finished.sentence
    undone = [trial for trial in trials if trial.kind is TrialKind.UNDO]
    assert {"performance-mode": "throughput"} in [reduced(trial.params) for trial in undone]
    assert len(undone) <= 8


def reduced(params: Params) -> dict[str, Any]:
    return {flag: params[flag] for flag in differing_flags(Ground(), params)}


def test_without_a_gain_nothing_is_undone() -> None:
    trials, finished = run_study(ground(), measured(nothing, seed=2))
    assert TrialKind.UNDO not in kinds(trials)
    assert "no finalist is shown to be better" in finished.sentence


def test_a_single_flag_needs_no_undo_runs() -> None:
    world = ground(budget={"trials": 2})
    trials = explored([100])
    single = {"performance-mode": "throughput"}
    trials.append(ended(begin(trials, TrialKind.EXPLORE, single), MEASURED, 150))
    while isinstance(found := move(world, trials), Run):
        value = 150.0 if found.params else 100.0
        trials.append(ended(begin(trials, found.kind, found.params), MEASURED, value))
    assert TrialKind.UNDO not in kinds(trials)


def test_what_breaks_a_constraint_is_not_undone_to() -> None:
    def forbidden(params: Params) -> bool:
        return "max-num-seqs" not in params

    world = Ground(spec(), forbidden=forbidden)
    trials, _ = run_study(world, measured(mode, noise=0.02))
    undone = [t.params for t in trials if t.kind is TrialKind.UNDO and t.params]
    assert undone
    assert all("max-num-seqs" in params for params in undone)


def test_undo_runs_are_interleaved_with_the_winner_and_the_baseline() -> None:
    trials, _ = run_study(ground(), measured(mode, noise=0.02))
    undone = [Ground().identity(t.params) for t in trials if t.kind is TrialKind.UNDO]
    confirmed = {Ground().identity(t.params) for t in trials if t.kind is TrialKind.CONFIRM}
    references = [key in confirmed for key in undone]
    assert references[0]
    assert Ground().identity({}) in undone
    assert all(any(references[n : n + 3]) for n in range(len(references) - 2))


def reason(found: Move) -> StopReason | None:
    return found.reason if isinstance(found, Finished) else None


def kind_of(found: Move) -> TrialKind | None:
    return found.kind if isinstance(found, Run) else None


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Ground, random.Random]:
    budget = {
        "trials": draw(st.integers(1, 8)),
        "parallel": draw(st.integers(1, 4)),
        "retries": draw(st.integers(0, 2)),
        "patience": draw(st.sampled_from([None, 1, 3])),
        "wallTime": draw(st.sampled_from([None, "5m", "40m"])),
        "gpuHours": draw(st.sampled_from([None, 0.1, 0.7])),
    }
    confirm = {"finalists": draw(st.integers(1, 3)), "repeats": draw(st.integers(0, 3))}
    return ground(budget=budget, confirm=confirm), random.Random(draw(st.integers(0, 10**6)))


def random_end(trial: Trial, rng: random.Random, luck: float) -> Trial:
    state = rng.choices([MEASURED, INFEASIBLE, FAILED], [luck, (1 - luck) / 2, (1 - luck) / 2])[0]
    value = rng.choice([0.0, 1.0, 100 * math.exp(2 * mode(trial.params) + rng.gauss(0, 0.05))])
    found = ended(trial, state, value, ttft_p99=rng.choice([-0.5, -0.1, 0.2]))
    return replace(found, reason=rng.choice(list(Reason))) if state is FAILED else found


@settings(max_examples=60, deadline=None)
@given(world=worlds(), luck=st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_any_study_ends_within_its_budget_whatever_happens(
    world: tuple[Ground, random.Random], luck: float
) -> None:
    space, rng = world
    source = proposals(rng.randrange(10**6))
    trials: list[Trial] = []
    for _ in range(1200):
        running = [t for t in trials if t.state is TrialState.RUNNING]
        found = propose(move(space, trials), source)
        assert move(space, trials) in (found, Explore()), "the same list, another move"
        if isinstance(found, Run) and len(running) < space.spec.budget.parallel:
            trials.append(begin(trials, found.kind, found.params))
        elif running:
            one = rng.choice(running)
            trials[one.number] = random_end(one, rng, luck)
        else:
            assert isinstance(found, Finished), found
            break
        check_budget(space, trials)
    else:
        raise AssertionError("the study does not end")


def check_budget(space: Ground, trials: Sequence[Trial]) -> None:
    confirm = space.spec.confirm
    alive = [trial for trial in trials if trial.state is not FAILED]
    assert sum(trial.kind in EXPLORED for trial in alive) <= space.spec.budget.trials
    fresh = Counter(space.identity(t.params) for t in alive if t.kind is TrialKind.CONFIRM)
    baseline = fresh.pop(space.identity({}), 0)
    twice = [count for count in fresh.values() if count > confirm.repeats]
    assert len(twice) <= 1, "a second look at more than one"
    assert all(count <= 2 * confirm.repeats for count in twice)
    assert len(fresh) <= confirm.finalists
    planned = round(confirm.repeats * math.sqrt(confirm.finalists))
    # A second look begins with the baseline, before the finalist that it is for.
    assert baseline <= planned + confirm.repeats
    assert sum(t.kind is TrialKind.UNDO for t in alive) <= 8 * confirm.repeats


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), cut=st.integers(0, 60), effect=st.sampled_from([nothing, mode]))
def test_a_killed_study_goes_on_with_what_it_was_doing(seed: int, cut: int, effect: Any) -> None:
    world = ground(budget={"trials": 8})
    trials, _ = run_study(world, measured(effect, seed=seed), seed=seed)
    before = trials[:cut]
    found = move(world, before)
    if isinstance(found, Run):
        lost = begin(before, found.kind, found.params)
        failed = replace(ended(lost, FAILED), reason=Reason.INTERRUPTED)
        assert move(world, [*before, failed]) == found
        assert (
            move(world, [t for t in (*before, lost) if t.state is not TrialState.RUNNING]) == found
        )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), factor=st.sampled_from([1e-6, 0.37, 1e6]))
def test_a_change_of_unit_changes_no_move(seed: int, factor: float) -> None:
    world = ground(budget={"trials": 8})
    trials, _ = run_study(world, measured(mode, seed=seed), seed=seed)
    scaled = [replace(t, values=tuple(v * factor for v in t.values)) for t in trials]
    for count in range(8, len(trials)):
        assert move(world, trials[:count]) == move(world, scaled[:count])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_less_of_the_reciprocal_is_the_same_as_more(seed: int) -> None:
    world = ground(budget={"trials": 8})
    turned = ground(budget={"trials": 8}, objectives=[{"metric": "tpot"}])
    trials, _ = run_study(world, measured(mode, seed=seed), seed=seed)
    mirrored = [replace(t, values=tuple(1 / v for v in t.values)) for t in trials]
    for count in range(8, len(trials)):
        assert move(world, trials[:count]) == move(turned, mirrored[:count])


@pytest.mark.parametrize("parallel", [2, 5])
def test_side_by_side_no_configuration_gets_more_runs_than_alone(parallel: int) -> None:
    world = ground(budget={"trials": 10, "parallel": parallel})
    source, outcome = proposals(), measured(mode, noise=0.02)
    trials: list[Trial] = []
    while True:
        found = propose(move(world, trials), source)
        running = [t for t in trials if t.state is TrialState.RUNNING]
        if isinstance(found, Run) and len(running) < parallel:
            trials.append(begin(trials, found.kind, found.params))
        elif running:
            trials[running[0].number] = outcome(running[0])
        else:
            break
    check_budget(world, trials)
    assert isinstance(found, Finished)
    assert "proved" in found.sentence
