"""Which params to explore next. Optuna proposes; what is known already is never proposed again.

A proposal is made on a throw-away copy of the study in memory: proposals that break a
constraint or repeat a trial vanish with the copy instead of leaving numbers in the study.
"""

import random
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from inference_autotuner.optimizer.space import (
    ENUMERATION_LIMIT,
    Parameter,
    Space,
    count_combinations,
)
from inference_autotuner.optimizer.trial import Params, Trial, TrialKind, TrialState, Value

_EXPLORED = (TrialKind.BASELINE, TrialKind.EXPLORE)
_TPE_TRIES = 40
_RANDOM_TRIES = 2_000
# Optuna's own default of 10 random trials would be the whole of a small budget.
_MOST_RANDOM_TRIALS = 10
# Params with a suspect are passed over so often: one may be innocent, and part of the best.
_PASSED_OVER = 0.8
_SUSPECT_AFTER = 2

Choice = tuple[str, Value]


def propose(space: Space, trials: Sequence[Trial]) -> Params | None:
    """Params that were not tried yet, or None when everything was.

    The same trials give the same proposal: the seed comes from the task's and their number.
    """
    seen = {space.identity(t.params) for t in trials} | {space.identity(space.baseline)}
    rng = random.Random(f"{space.spec.search.seed}/{len(trials)}")
    if _kind(space) == "grid":
        return _next_of_grid(space, seen)
    is_wary = _kind(space) == "tpe" and rng.random() < _PASSED_OVER
    suspected = suspects(trials) if is_wary else frozenset()
    proposal = _propose(space, trials, seen, suspected, rng)
    if proposal is None and suspected:
        return _propose(space, trials, seen, frozenset(), rng)
    return proposal


def suspects(trials: Sequence[Trial]) -> frozenset[Choice]:
    """Values that were part of several infeasible trials and never ran.

    A flag that the model or the build does not have would otherwise cost a small budget half of
    its trials: the first proposals are random, and TPE learns from crashes only beside successes.
    """
    crashed = Counter(
        choice
        for trial in trials
        if trial.state is TrialState.INFEASIBLE
        for choice in trial.params.items()
    )
    ran = {c for t in trials if t.state is TrialState.MEASURED for c in t.params.items()}
    return frozenset(c for c, count in crashed.items() if count >= _SUSPECT_AFTER and c not in ran)


def _propose(
    space: Space,
    trials: Sequence[Trial],
    seen: set[Hashable],
    suspected: frozenset[Choice],
    rng: random.Random,
) -> Params | None:
    def is_new(params: Params) -> bool:
        return space.identity(params) not in seen and suspected.isdisjoint(params.items())

    if _kind(space) == "tpe":
        proposal = _propose_tpe(space, trials, is_new, rng.randrange(2**32))
        if proposal is not None:
            return proposal
    return _propose_random(space, is_new, rng)


def _kind(space: Space) -> str:
    kind = space.spec.search.sampler
    if kind != "auto":
        return kind
    budget = space.spec.budget.trials
    fits = space.size <= ENUMERATION_LIMIT and count_combinations(space, budget + 1) <= budget
    return "grid" if fits else "tpe"


def _next_of_grid(space: Space, seen: set[Hashable]) -> Params | None:
    def is_new(params: Params) -> bool:
        return space.identity(params) not in seen

    if space.size > ENUMERATION_LIMIT:
        return _propose_random(space, is_new, random.Random(space.spec.search.seed))
    return next(filter(is_new, space.combinations(space.spec.search.seed)), None)


def _propose_random(
    space: Space, is_new: Callable[[Params], bool], rng: random.Random
) -> Params | None:
    for _ in range(_RANDOM_TRIES):
        params = space.random(rng)
        if params is not None and is_new(params):
            return params
    if space.size > ENUMERATION_LIMIT:
        return None
    return next(filter(is_new, space.combinations(rng.randrange(2**32))), None)


def _propose_tpe(
    space: Space, trials: Sequence[Trial], is_new: Callable[[Params], bool], seed: int
) -> Params | None:
    study = _copy_of(space, trials, seed)
    for _ in range(_TPE_TRIES):
        asked = study.ask()
        params = space.settle(_suggest(space, asked))
        if params is not None and is_new(params):
            return params
        if params is None:
            asked.set_constraint("constraint", 1.0)
            study.tell(asked, state=OptunaState.PRUNED)
        else:
            study.tell(asked, state=OptunaState.FAIL)
    return None


def _suggest(space: Space, asked: optuna.Trial) -> Params:
    choice: dict[str, Value] = {}
    for parameter in space.parameters:
        if space.is_active(parameter, choice):
            raw = asked._suggest(parameter.name, distribution(parameter))
            choice[parameter.name] = from_optuna(parameter, raw)
    return choice


def _copy_of(space: Space, trials: Sequence[Trial], seed: int) -> optuna.Study:
    startup = min(_MOST_RANDOM_TRIALS, max(4, space.spec.budget.trials // 3))
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
    study = optuna.create_study(directions=directions(space), sampler=sampler)
    for trial in trials:
        if trial.kind in _EXPLORED and (copy := _copy_of_trial(space, trial)):
            study.add_trial(copy)
    return study


def _copy_of_trial(space: Space, trial: Trial) -> FrozenTrial | None:
    """Nothing for a failed trial, nor for params that are not of the space.

    A trial that lacks a parameter would empty Optuna's intersection of all search spaces, and
    with it end the joint sampling; so a baseline outside the space teaches nothing.
    """
    known = to_optuna(space, trial.params)
    if known is None or trial.state is TrialState.FAILED:
        return None
    params, distributions = known
    fields: dict[str, Any] = {"params": params, "distributions": distributions}
    if trial.state is TrialState.RUNNING:
        return create_trial(state=OptunaState.RUNNING, **fields)
    if trial.state is TrialState.INFEASIBLE:
        constraints = {str(trial.reason): 1.0}
        return create_trial(state=OptunaState.PRUNED, constraints=constraints, **fields)
    return create_trial(values=trial.values, constraints=dict(trial.violations), **fields)


def directions(space: Space) -> list[StudyDirection]:
    """Optuna's directions for the task's objectives."""
    return [StudyDirection[o.metric.direction.upper()] for o in space.spec.objectives]


def distribution(parameter: Parameter) -> BaseDistribution:
    """Numbers are an index into their order, so that neighbors teach about one another."""
    if parameter.is_ordered:
        return IntDistribution(0, len(parameter.values) - 1)
    return CategoricalDistribution(parameter.values)


def from_optuna(parameter: Parameter, raw: Any) -> Value:
    """The flag's value that Optuna's one stands for."""
    value = parameter.values[raw] if parameter.is_ordered else raw
    assert isinstance(value, bool | int | float | str)
    return value


def to_optuna(
    space: Space, params: Params
) -> tuple[dict[str, Any], dict[str, BaseDistribution]] | None:
    """Optuna's params and distributions; None when a value is not of the space.

    A flag that is not set counts as the engine's default where that is a constant.
    """
    defaults = space.engine.defaults()
    values: dict[str, Any] = {}
    for parameter in space.parameters:
        if not space.is_active(parameter, params):
            continue
        value = params.get(parameter.name, defaults.get(parameter.name))
        if value not in parameter.values:
            return None
        values[parameter.name] = parameter.values.index(value) if parameter.is_ordered else value
    return values, {p.name: distribution(p) for p in space.parameters if p.name in values}
