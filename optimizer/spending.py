"""What a study has cost so far, and how much of its budget the proof will need."""

import math
from collections.abc import Sequence

from inference_autotuner.optimizer.confirm import baseline_repeats
from inference_autotuner.optimizer.spec import Confirm, Spec
from inference_autotuner.optimizer.trial import Trial, TrialState

# Most winners lose their idle flags all at once: one configuration beside its references.
_UNDO_ROUNDS = 2
# Exploring may always use half of a budget, however long the proof.
_LARGEST_RESERVE = 0.5


def proof_trials(confirm: Confirm) -> int:
    """About how many confirm and undo trials follow the exploring.

    >>> proof_trials(Confirm(finalists=3, repeats=3)), proof_trials(Confirm(repeats=0))
    (20, 0)
    """
    baseline = baseline_repeats(confirm.finalists, confirm.repeats)
    return confirm.repeats * (confirm.finalists + _UNDO_ROUNDS) + baseline


def elapsed_s(trials: Sequence[Trial], now_s: float) -> float:
    """Seconds since the study began; a clock that was set back gives zero, not less."""
    return max(0.0, now_s - trials[0].started_s) if trials else 0.0


def spent_gpu_hours(trials: Sequence[Trial], now_s: float) -> float:
    """GPU-hours so far; a running trial counts at least as long as a measured one took."""
    usual = _average([_held_s(t) for t in trials if t.state is TrialState.MEASURED])
    seconds = sum(
        max(trial.gpus * usual, trial.gpu_seconds + trial.gpus * _holding_s(trial, now_s))
        if trial.state is TrialState.RUNNING
        else trial.gpu_seconds
        for trial in trials
    )
    return seconds / 3600


def _held_s(trial: Trial) -> float:
    return sum(s for step, s in trial.spans.items() if step != "queue") or _seconds(trial)


def _holding_s(trial: Trial, now_s: float) -> float:
    """Seconds for which it has held its GPUs; one that waits for them holds none."""
    return 0.0 if trial.held_since_s is None else max(0.0, now_s - trial.held_since_s)


def usual_s(trials: Sequence[Trial]) -> float:
    """Seconds that a measured trial takes; zero while there is none."""
    return _average([_seconds(t) for t in trials if t.state is TrialState.MEASURED])


def is_over_time(spec: Spec, trials: Sequence[Trial], now_s: float) -> bool:
    """Whether the wall time is used up."""
    limit = spec.budget.wallTime
    return limit is not None and elapsed_s(trials, now_s) >= limit


def is_over_gpu_hours(spec: Spec, trials: Sequence[Trial], now_s: float) -> bool:
    """Whether the GPU-hours are used up."""
    limit = spec.budget.gpuHours
    return limit is not None and spent_gpu_hours(trials, now_s) >= limit


def leaves_no_time(spec: Spec, trials: Sequence[Trial], now_s: float) -> bool:
    """Whether one more explored trial would take the wall time that the proof needs."""
    if spec.budget.wallTime is None:
        return False
    waves = math.ceil(proof_trials(spec.confirm) / spec.budget.parallel)
    usual = usual_s(trials)
    limit = _less_reserve(spec.budget.wallTime, waves * usual)
    return elapsed_s(trials, now_s) + usual > limit


def leaves_no_gpu_hours(spec: Spec, trials: Sequence[Trial], now_s: float) -> bool:
    """Whether one more explored trial would take the GPU-hours that the proof needs."""
    if spec.budget.gpuHours is None:
        return False
    measured = [t.gpu_seconds / 3600 for t in trials if t.state is TrialState.MEASURED]
    usual = _average(measured)
    limit = _less_reserve(spec.budget.gpuHours, proof_trials(spec.confirm) * usual)
    return spent_gpu_hours(trials, now_s) + usual > limit


def _less_reserve(budget: float, proof: float) -> float:
    return budget - min(proof, budget * _LARGEST_RESERVE)


def _seconds(trial: Trial) -> float:
    return sum(trial.spans.values()) or max(0.0, (trial.ended_s or 0.0) - trial.started_s)


def _average(numbers: Sequence[float]) -> float:
    return math.fsum(numbers) / len(numbers) if numbers else 0.0
