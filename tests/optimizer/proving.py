"""Whole studies as lists of trials, without engines and storage: the proof's own small world."""

import math
import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from inference_autotuner.optimizer.errors import Reason
from inference_autotuner.optimizer.plan import Explore, Finished, Move, Run, next_move
from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.optimizer.trial import Params, Trial, TrialKind, TrialState
from tests.optimizer.tasks import vllm_task

TRIAL_S = 60.0
LEVELS = {
    "max-num-seqs": [64, 128, 256, 512],
    "max-num-batched-tokens": [2048, 4096, 8192],
    "performance-mode": ["balanced", "interactivity", "throughput"],
    "stream-interval": [1, 2, 4, 8],
    "async-scheduling": [False, True],
}
END_STATES = (TrialState.MEASURED, TrialState.INFEASIBLE, TrialState.FAILED)


def spec(**changes: Any) -> Spec:
    """A task's spec over five flags; `changes` replace its fields."""
    return vllm_task(dict(LEVELS), **changes).spec


@dataclass(frozen=True)
class Ground:
    """A search space in which each flag's first level is what the engine does anyway."""

    spec: Spec = field(default_factory=spec)
    baseline: Params = field(default_factory=dict)
    forbidden: Callable[[Params], bool] = lambda params: False

    def identity(self, params: Params) -> Hashable:
        return tuple(sorted((k, v) for k, v in params.items() if v != LEVELS[k][0]))

    def settle(self, choice: Params) -> Params | None:
        return None if self.forbidden(choice) else dict(choice)


Outcome = Callable[[Trial], Trial]
"""A running trial to the same trial with its end."""


def ended(trial: Trial, state: TrialState, value: float = 100.0, **violations: float) -> Trial:
    """A trial's end, a minute after it began; SLO titles are written with underscores."""
    told = {name.replace("_", " "): violation for name, violation in violations.items()}
    common = replace(
        trial,
        state=state,
        ended_s=trial.started_s + TRIAL_S,
        spans={"deploy": TRIAL_S / 3, "benchmark": TRIAL_S * 2 / 3},
    )
    if state is TrialState.MEASURED:
        return replace(common, values=(value,), violations=told)
    reason = Reason.OUT_OF_MEMORY if state is TrialState.INFEASIBLE else Reason.NETWORK_FAULT
    return replace(common, reason=reason, message="it did not work")


def measured(merit: Callable[[Params], float], noise: float = 0.05, seed: int = 1) -> Outcome:
    """Every trial is measured: 100 times exp(merit + noise)."""
    rng = random.Random(seed)

    def end(trial: Trial) -> Trial:
        value = 100 * math.exp(merit(trial.params) + rng.gauss(0, noise))
        return ended(trial, TrialState.MEASURED, value)

    return end


def proposals(seed: int = 1) -> Iterator[Params]:
    """Distinct params by chance, for ever or until all were seen."""
    rng = random.Random(seed)
    ground, seen = Ground(), {Ground().identity({})}
    for _ in range(10_000):
        params = {name: rng.choice(levels) for name, levels in LEVELS.items()}
        if ground.identity(params) not in seen:
            seen.add(ground.identity(params))
            yield params


def begin(trials: Sequence[Trial], kind: TrialKind, params: Params, gpus: int = 1) -> Trial:
    """A trial that runs; trials begin a minute apart."""
    number = len(trials)
    return Trial(number, kind, params, TrialState.RUNNING, gpus=gpus, started_s=TRIAL_S * number)


def now_s(trials: Sequence[Trial]) -> float:
    return TRIAL_S * len(trials)


def run_study(
    ground: Ground, outcome: Outcome, *, seed: int = 1, most: int = 400
) -> tuple[list[Trial], Finished]:
    """A study from its first trial to its end, one trial at a time."""
    trials: list[Trial] = []
    source = proposals(seed)
    while len(trials) < most:
        move = propose(next_move(ground, trials, now_s=now_s(trials)), source)
        if isinstance(move, Finished):
            return trials, move
        assert isinstance(move, Run), move
        trials.append(outcome(begin(trials, move.kind, move.params)))
    raise AssertionError(f"the study does not end within {most} trials")


def propose(move: Move, source: Iterator[Params]) -> Move:
    """An exploring move with its params."""
    return Run(TrialKind.EXPLORE, next(source)) if isinstance(move, Explore) else move


def kinds(trials: Sequence[Trial]) -> list[TrialKind]:
    return [trial.kind for trial in trials]
