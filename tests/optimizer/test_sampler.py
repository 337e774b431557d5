"""Proposals: always new, always allowed, the same for the same trials."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_autotuner.optimizer.errors import Reason
from inference_autotuner.optimizer.objective import objective_values, violations
from inference_autotuner.optimizer.sampler import propose, suspects
from inference_autotuner.optimizer.space import Space, build_space
from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.optimizer.trial import Params, Trial, TrialKind, TrialState, Value
from tests.optimizer.tasks import measurement, vllm_task

PARAMETERS: dict[str, Any] = {
    "max-num-seqs": [16, 64, 256, 1024],
    "max-num-batched-tokens": [512, 2048, 8192],
    "enforce-eager": [True, False],
    "spec-method": ["none", "ngram"],
    "spec-tokens": {"values": [1, 3, 5], "when": 'params["spec-method"] == "ngram"'},
}
SAMPLERS = ["tpe", "random", "grid", "auto"]


def space_of(sampler: str, trials: int = 30, **parameters: Any) -> Space:
    task = vllm_task(
        parameters or PARAMETERS,
        search={"sampler": sampler, "seed": 3},
        budget={"trials": trials},
        slos=[{"metric": "ttft", "limit": "200ms"}],
    )
    return build_space(task.spec)


def ended(number: int, params: Params, spec: Spec, state: TrialState) -> Trial:
    kind = TrialKind.EXPLORE if number else TrialKind.BASELINE
    if state is not TrialState.MEASURED:
        reason = Reason.OUT_OF_MEMORY if state is TrialState.INFEASIBLE else None
        return Trial(number, kind, params, state, reason=reason)
    seen = measurement(100.0 + number)
    return Trial(
        number,
        kind,
        params,
        state,
        values=objective_values(spec, seen),
        violations=violations(spec, seen),
        measurement=seen,
    )


def explore(space: Space, states: list[TrialState]) -> list[Trial]:
    trials = [ended(0, space.baseline, space.spec, TrialState.MEASURED)]
    for state in states:
        params = propose(space, trials)
        if params is None:
            break
        trials.append(ended(len(trials), params, space.spec, state))
    return trials


@pytest.mark.parametrize("sampler", SAMPLERS)
@settings(max_examples=8, deadline=None)
@given(states=st.lists(st.sampled_from(TrialState), min_size=25, max_size=25))
def test_no_params_are_proposed_twice_and_none_that_break_a_rule(
    sampler: str, states: list[TrialState]
) -> None:
    space = space_of(sampler)
    trials = explore(space, states)
    identities = [space.identity(trial.params) for trial in trials]
    assert len(set(identities)) == len(identities) == 26
    assert all(space.settle(trial.params) == trial.params for trial in trials)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_trials_give_the_same_proposal(sampler: str) -> None:
    space = space_of(sampler)
    trials = explore(space, [TrialState.MEASURED] * 12)
    assert propose(space, trials) == propose(space, trials)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_trials_side_by_side_differ(sampler: str) -> None:
    space = space_of(sampler)
    trials = explore(space, [TrialState.RUNNING] * 8)
    assert len({space.identity(trial.params) for trial in trials}) == 9


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_combination_is_found_and_then_nothing_more(sampler: str) -> None:
    space = space_of(sampler, **{"max-num-seqs": [16, 64, 128], "enforce-eager": [True, False]})
    trials = explore(space, [TrialState.MEASURED] * 50)
    everything = {space.identity(params) for params in space.combinations()}
    assert {space.identity(trial.params) for trial in trials[1:]} == everything
    assert propose(space, trials) is None


def test_auto_is_grid_only_where_everything_fits_into_the_budget() -> None:
    parameters = {"max-num-seqs": [16, 64, 128]}
    trials = [ended(0, {}, space_of("grid", **parameters).spec, TrialState.MEASURED)]
    for budget, sampler in ((3, "grid"), (2, "tpe")):
        auto = propose(space_of("auto", budget, **parameters), trials)
        assert auto == propose(space_of(sampler, budget, **parameters), trials)


def test_tpe_learns_where_the_engine_cannot_run() -> None:
    """After the random start, crashes in the upper half of a flag's range become rare."""
    values = list(range(16, 1040, 16))
    space = space_of("tpe", trials=40, **{"max-num-seqs": values, "enforce-eager": [True, False]})
    trials = [ended(0, space.baseline, space.spec, TrialState.MEASURED)]
    for _ in range(40):
        params = propose(space, trials)
        assert params is not None
        fits = params["max-num-seqs"] <= 512  # type: ignore[operator]
        state = TrialState.MEASURED if fits else TrialState.INFEASIBLE
        trials.append(ended(len(trials), params, space.spec, state))
    late = trials[-20:]
    assert sum(trial.state is TrialState.INFEASIBLE for trial in late) <= 5


def test_a_baseline_outside_the_space_does_not_end_the_joint_sampling() -> None:
    space = space_of("tpe", **{"max-num-seqs": [7, 9, 11], "enforce-eager": [True, False]})
    trials = explore(space, [TrialState.MEASURED] * 6)
    assert len(trials) == 7


def test_a_value_that_crashed_twice_and_never_ran_is_suspected_until_it_runs() -> None:
    def trial(number: int, state: TrialState, **params: Value) -> Trial:
        return Trial(number, TrialKind.EXPLORE, params, state)

    crashed = [
        trial(1, TrialState.INFEASIBLE, spec="mtp", threads=1),
        trial(2, TrialState.INFEASIBLE, spec="mtp", threads=2),
    ]
    assert suspects(crashed) == {("spec", "mtp")}
    assert suspects(crashed[:1]) == frozenset()
    assert suspects([*crashed, trial(3, TrialState.MEASURED, spec="mtp")]) == frozenset()


def test_a_value_that_never_works_costs_at_most_three_of_ten_trials() -> None:
    parameters = {"max-num-seqs": [16, 64, 256], "spec-method": ["none", "ngram"]}
    parameters |= {"max-num-batched-tokens": [512, 2048, 8192], "enforce-eager": [True, False]}
    spent = []
    for seed in range(20):
        task = vllm_task(parameters, search={"seed": seed}, budget={"trials": 10})
        space = build_space(task.spec)
        trials = [ended(0, space.baseline, task.spec, TrialState.MEASURED)]
        while len(trials) < 10:
            params = propose(space, trials)
            assert params is not None
            is_broken = params["spec-method"] == "ngram"
            state = TrialState.INFEASIBLE if is_broken else TrialState.MEASURED
            trials.append(ended(len(trials), params, task.spec, state))
        spent.append(sum(trial.state is TrialState.INFEASIBLE for trial in trials))
    assert max(spent) <= 3
