"""What a study will cost: before it begins the most it can, while it runs what is left."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from inference_autotuner.optimizer.evidence import EXPLORED, is_failed
from inference_autotuner.optimizer.space import Space, count_combinations
from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.optimizer.spending import proof_trials, usual_s
from inference_autotuner.optimizer.trial import Trial

# What an invocation of genai-bench costs beside its load (reference: 11 to 15 s).
_OVERHEAD_S = 15.0


@dataclass(frozen=True)
class Forecast:
    """What a task may cost.

    Attributes:
        combinations: Distinct params that may run, counted up to the budget.
        explored: Trials that explore, the baseline included.
        proof: About how many trials confirm and undo.
        trial_most_s: Longest time of one trial that is ready just in time.
        most_s: Longest time of the study.
        most_gpu_hours: GPU-hours of the study at the most.
        gpus: GPUs of the baseline.
        usual_s: What a trial of the same task took; None while there is none.
    """

    combinations: int
    explored: int
    proof: int
    trial_most_s: float
    most_s: float
    most_gpu_hours: float
    gpus: int
    usual_s: float | None


def forecast(space: Space, known: Sequence[Trial] = ()) -> Forecast:
    """The cost of a task before it begins; `known` are trials of an earlier run."""
    spec = space.spec
    combinations = count_combinations(space, spec.budget.trials)
    explored = min(spec.budget.trials, combinations + 1)
    proof = proof_trials(spec.confirm)
    trial_s = trial_most_s(spec)
    most_s = math.ceil((explored + proof) / spec.budget.parallel) * trial_s
    gpus = space.gpus(space.baseline)
    hours = (explored + proof) * trial_s * gpus / 3600
    return Forecast(
        combinations=combinations,
        explored=explored,
        proof=proof,
        trial_most_s=trial_s,
        most_s=min(most_s, spec.budget.wallTime or math.inf),
        most_gpu_hours=min(hours, spec.budget.gpuHours or math.inf),
        gpus=gpus,
        usual_s=usual_s(known) or None,
    )


def trial_most_s(spec: Spec) -> float:
    """The longest that a trial can take: ready at the last moment, every point to its limit."""
    levels = spec.workload.concurrency
    points = len(spec.workload.scenarios) * (len(levels) if isinstance(levels, list) else 1)
    runs = points + (spec.workload.warmupRequests > 0)
    minutes = math.ceil(spec.workload.maxTime / 60)
    return spec.deployment.readyTimeout + runs * (minutes * 60 + _OVERHEAD_S)


def remaining_trials(spec: Spec, trials: Sequence[Trial]) -> int:
    """About how many trials are still to end, running ones included."""
    ended = [trial for trial in trials if trial.ended_s is not None and not is_failed(trial)]
    explored = sum(trial.kind in EXPLORED for trial in ended)
    proved = len(ended) - explored
    left = max(0, spec.budget.trials - explored) if proved == 0 else 0
    running = sum(trial.ended_s is None for trial in trials)
    return max(running, left + max(0, proof_trials(spec.confirm) - proved))


def seconds_left(spec: Spec, trials: Sequence[Trial]) -> float | None:
    """About how long the study still takes; None before anything was measured."""
    usual = usual_s(trials)
    if usual == 0:
        return None
    return usual * remaining_trials(spec, trials) / spec.budget.parallel
