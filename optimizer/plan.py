"""What to run next, or why nothing more: explore, then confirm, then undo.

Everything is worked out from the list of trials, so that a run that was killed goes on by
looking at the list again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from inference_autotuner.optimizer.confirm import confirm_arms, finalists, is_running
from inference_autotuner.optimizer.errors import Reason
from inference_autotuner.optimizer.evidence import (
    CONFIRMED,
    EXPLORED,
    PROVED,
    Evidence,
    Ground,
    is_failed,
    is_feasible,
)
from inference_autotuner.optimizer.second_look import missing_runs
from inference_autotuner.optimizer.spending import (
    is_over_gpu_hours,
    is_over_time,
    leaves_no_gpu_hours,
    leaves_no_time,
)
from inference_autotuner.optimizer.standing import Standings, leader
from inference_autotuner.optimizer.trial import Params, Trial, TrialKind, TrialState
from inference_autotuner.optimizer.undo import Undo

# So many failures in a row, all for one reason, are no chance.
_FAILURES_IN_A_ROW = 5


class StopReason(StrEnum):
    """Why a study ended: one word, the same in storage, logs and docs."""

    TRIALS = "Trials"
    """Every trial of the budget was explored."""
    PATIENCE = "Patience"
    """No better trial for as long as the budget's patience."""
    GPU_HOURS = "GpuHours"
    """The GPU-hours are used up, or what is left of them belongs to the proof."""
    WALL_TIME = "WallTime"
    """The time is used up, or what is left of it belongs to the proof."""
    EXHAUSTED = "Exhausted"
    """Every combination of the search space was tried."""
    STOPPED = "Stopped"
    """Somebody asked for it; the same command goes on."""
    SAME_FAILURE = "SameFailure"
    """The world broke again and again for the same reason."""


@dataclass(frozen=True)
class Explore:
    """The sampler proposes."""


@dataclass(frozen=True)
class Run:
    """A trial with params that are known already."""

    kind: TrialKind
    params: Params


@dataclass(frozen=True)
class Wait:
    """Nothing can be started until a running trial ends."""


@dataclass(frozen=True)
class Finished:
    """Nothing more is to be started."""

    reason: StopReason
    sentence: str

    @property
    def is_stopped(self) -> bool:
        """Whether somebody asked for the end, before the study came to its own."""
        return self.reason is StopReason.STOPPED

    @property
    def is_final(self) -> bool:
        """Whether the study is over; else the same command goes on with it."""
        return self.reason not in (StopReason.STOPPED, StopReason.SAME_FAILURE)


Move = Explore | Run | Wait | Finished


def next_move(
    ground: Ground,
    trials: Sequence[Trial],
    *,
    now_s: float,
    is_stopping: bool = False,
    is_exhausted: bool = False,
    forgive_before: int = 0,
) -> Move:
    """What to do next in a study.

    Args:
        ground: The search space.
        trials: Every trial so far, by number.
        now_s: Unix time.
        is_stopping: Whether somebody asked to stop.
        is_exhausted: Whether the sampler has nothing left to propose.
        forgive_before: Failures of trials below this number do not count: they are of an earlier
            run of the same command, and what broke may have been mended since.
    """
    if is_stopping:
        return Finished(StopReason.STOPPED, "stopped on request; the same command goes on")
    evidence = Evidence(ground, trials, forgive_before)
    if broken := _same_failure(evidence):
        return broken
    end = _end_of_exploring(evidence, now_s, is_exhausted)
    if not evidence.of_kind(*PROVED):
        if (again := _broken_baseline_or_trial(evidence)) and not _is_final(end):
            return again
        if end is None:
            return Explore()
        if _is_anything_running(evidence):
            return Wait()
    return _prove(evidence, now_s, end or _used_trials(evidence))


def _same_failure(evidence: Evidence) -> Finished | None:
    """With trials side by side one hiccup fails them all, and counts once."""
    limit = _FAILURES_IN_A_ROW + evidence.spec.budget.parallel - 1
    ended = [t for t in evidence.recent_trials() if t.state is not TrialState.RUNNING][-limit:]
    reasons = {trial.reason for trial in ended}
    if len(ended) < limit or len(reasons) > 1 or not all(map(is_failed, ended)):
        return None
    if reasons == {Reason.INTERRUPTED}:
        return None
    last = ended[-1]
    return Finished(
        StopReason.SAME_FAILURE,
        f"the last {limit} trials all failed with {last.reason}: {last.message}",
    )


def _broken_baseline_or_trial(evidence: Evidence) -> Run | None:
    """The baseline first; then params for which the world broke, before anything new."""
    if not evidence.of_kind(TrialKind.BASELINE):
        return Run(TrialKind.BASELINE, evidence.ground.baseline)
    for arm in evidence.arms(EXPLORED).values():
        if arm.started == 0 and not evidence.is_given_up(arm):
            return Run(arm.kind, arm.params)
    return None


def _end_of_exploring(evidence: Evidence, now_s: float, is_exhausted: bool) -> Finished | None:
    """Why no further params are explored; None while there is room for more."""
    spec, trials = evidence.spec, evidence.trials
    if leaves_no_time(spec, trials, now_s):
        return Finished(StopReason.WALL_TIME, "the rest of the wall time belongs to the proof")
    if leaves_no_gpu_hours(spec, trials, now_s):
        return Finished(StopReason.GPU_HOURS, "the rest of the GPU-hours belongs to the proof")
    if is_out_of_patience(evidence):
        patience = spec.budget.patience
        return Finished(StopReason.PATIENCE, f"no better trial among the last {patience}")
    if explored_count(evidence) >= spec.budget.trials:
        return _used_trials(evidence)
    if is_exhausted:
        return Finished(StopReason.EXHAUSTED, "every combination was tried")
    return None


def _used_trials(evidence: Evidence) -> Finished:
    count = explored_count(evidence)
    return Finished(StopReason.TRIALS, f"{count} of {evidence.spec.budget.trials} trials explored")


def _is_final(end: Finished | None) -> bool:
    """Whether not even broken params are tried again."""
    return end is not None and end.reason not in (StopReason.TRIALS, StopReason.EXHAUSTED)


def explored_count(evidence: Evidence) -> int:
    """How much of the budget's trials is used: running ones count, and so do params given up."""
    return sum(arm.started or evidence.is_given_up(arm) for arm in evidence.arms(EXPLORED).values())


def is_out_of_patience(evidence: Evidence) -> bool:
    """Whether the best trial is too long ago; never before there is one that holds every SLO."""
    ended = [
        trial
        for trial in evidence.of_kind(*EXPLORED)
        if not is_failed(trial) and trial.state is not TrialState.RUNNING
    ]
    feasible = [n for n, trial in enumerate(ended) if is_feasible(trial)]
    if evidence.spec.budget.patience is None or not feasible:
        return False
    best = max(feasible, key=lambda n: (evidence.merit(ended[n]), -n))
    return len(ended) - 1 - best >= evidence.spec.budget.patience


def _is_anything_running(evidence: Evidence) -> bool:
    return any(trial.state is TrialState.RUNNING for trial in evidence.trials)


def _prove(evidence: Evidence, now_s: float, end: Finished) -> Move:
    """The next confirm or undo run."""
    if evidence.spec.confirm.repeats == 0:
        return Finished(end.reason, f"{end.sentence}; confirm.repeats is 0, so nothing is proved")
    chosen = finalists(evidence)
    if not chosen:
        return Finished(end.reason, f"{end.sentence}; nothing explored is worth confirming")
    if missing := missing_runs(evidence, chosen):
        return _cut_short(evidence, now_s) or Run(TrialKind.CONFIRM, missing[0])
    if is_running(evidence):
        return Wait()
    best = leader(Standings(evidence, CONFIRMED), confirm_arms(evidence, chosen))
    if best is None:
        return Finished(end.reason, f"{end.sentence}; no finalist is shown to be better")
    move = _undo(evidence, now_s, best.params)
    return move or Finished(end.reason, f"{end.sentence}; the winner is proved")


def _undo(evidence: Evidence, now_s: float, leader_params: Params) -> Move | None:
    """The next undo run; None when there is nothing to undo, or nothing left to find out."""
    undo = Undo(evidence, leader_params)
    reduction = undo.reduce()
    params = undo.next_run(reduction) if reduction.wanted and not undo.is_spent else None
    if params is not None:
        return _cut_short(evidence, now_s) or Run(TrialKind.UNDO, params)
    return Wait() if _is_anything_running(evidence) else None


def _cut_short(evidence: Evidence, now_s: float) -> Finished | None:
    if is_over_time(evidence.spec, evidence.trials, now_s):
        return Finished(StopReason.WALL_TIME, "the wall time ended in the middle of the proof")
    if is_over_gpu_hours(evidence.spec, evidence.trials, now_s):
        return Finished(StopReason.GPU_HOURS, "the GPU-hours ended in the middle of the proof")
    return None
