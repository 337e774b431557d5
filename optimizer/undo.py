"""The undo runs: the smallest difference from the baseline that keeps the winner's gain.

A flag that does nothing is a risk without a return. So configurations with flags put back to the
baseline are measured on fresh servers: first without all flags that seem idle at once, then, of
what is left, without one flag at a time. One that keeps the gain takes the winner's place; when
none does, each flag that is left has been shown to be needed, and by how much.

Everything is worked out anew from the trials each time; there is nothing to remember.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from inference_autotuner.optimizer.differing import differing_flags, put_back
from inference_autotuner.optimizer.evidence import (
    EXPLORED,
    PROVED,
    Arm,
    Evidence,
    is_failed,
)
from inference_autotuner.optimizer.importance import importance
from inference_autotuner.optimizer.standing import BaselineState, Standings
from inference_autotuner.optimizer.statistics import NOISE_FLOOR, mean
from inference_autotuner.optimizer.trial import Params, TrialKind

# A configuration keeps the gain when it loses at most this share of it; but never more than 5 %,
# and less than 1 % is not told from nothing.
_SHARE_OF_GAIN = 0.25
_LEAST_TOLERANCE = 0.01
_LARGEST_TOLERANCE = 0.05
# Flags that seem to give less than this share of what the most important one gives are dropped
# first; at least those below half of the tolerance, at most those below all of it.
_IDLE_SHARE = 1 / 3
# Each configuration is measured up to twice the repeats of the confirm runs. It keeps the gain
# when its loss is within the tolerance after the repeats, or at the end within this many standard
# errors beyond; it loses early when it is this many beyond.
_DOUBT = 0.75
_CLEAR = 2.0
_FEWEST_RUNS = 2
# Undo runs in repeats of the confirm runs, references included: a limit for a study in which
# many flags give a little each.
_LIMIT = 8
# Runs of smaller configurations between two references.
_BETWEEN_REFERENCES = 2
_UNDONE = (TrialKind.UNDO,)


class _Outcome(Enum):
    """What fresh runs say of a configuration with fewer flags."""

    KEEPS = "keeps the gain"
    LOSES = "loses some of it"
    OPEN = "needs more runs"


@dataclass(frozen=True)
class Reduction:
    """How far the winner could be made smaller.

    Attributes:
        winner: The smallest configuration so far that keeps the gain.
        singles: For each flag that is left, the winner without it; None where that breaks a
            constraint. Empty while flags are still dropped together.
        wanted: Configurations that need more runs before anything can be decided.
    """

    winner: Params
    singles: Mapping[str, Params | None]
    wanted: tuple[Params, ...]


class Undo:
    """The undo runs of one winner of the confirm runs.

    Args:
        evidence: The study.
        leader: The winner of the confirm runs.
        is_over: Whether there will be no further runs: what is open then is not dropped.
    """

    def __init__(self, evidence: Evidence, leader: Params, *, is_over: bool = False) -> None:
        self._evidence = evidence
        self._ground = evidence.ground
        self._leader = leader
        self._is_over = is_over
        self._repeats = evidence.spec.confirm.repeats
        self._standings = Standings(evidence, PROVED)
        self.tolerance = self._tolerance()

    def _tolerance(self) -> float:
        """The loss, as a difference of merits, up to which the gain is kept."""
        difference = self._standings.of(self._arm(self._leader)).difference
        is_compared = self._standings.baseline_state is BaselineState.MEASURED
        if not is_compared or difference is None:
            return _LARGEST_TOLERANCE
        return min(max(difference.point * _SHARE_OF_GAIN, _LEAST_TOLERANCE), _LARGEST_TOLERANCE)

    def _arm(self, params: Params) -> Arm:
        return self._evidence.arm(params, PROVED)

    @property
    def is_spent(self) -> bool:
        """Whether no further undo run may start."""
        undone = sum(not is_failed(trial) for trial in self._evidence.of_kind(*_UNDONE))
        return self._standings.noise is None or undone >= _LIMIT * self._repeats

    def reduce(self) -> Reduction:
        """Drops what the runs so far allow to drop."""
        keepers = [self._leader]
        idle = self._seemingly_idle()
        while True:
            smaller, wanted = self._drop_together(keepers, idle)
            if wanted is not None:
                return Reduction(keepers[-1], {}, (wanted,))
            keepers.append(smaller)
            flags = differing_flags(self._ground, smaller)
            singles = {flag: put_back(self._ground, smaller, [flag]) for flag in flags}
            outcomes = {flag: self._outcome(single, keepers) for flag, single in singles.items()}
            wanted_singles = tuple(
                single
                for flag, single in singles.items()
                if single is not None and outcomes[flag] is _Outcome.OPEN
            )
            idle = [flag for flag in flags if outcomes[flag] is _Outcome.KEEPS]
            if wanted_singles or not idle:
                return Reduction(smaller, singles, wanted_singles)
            idle.sort(key=lambda flag: -self._merit(singles[flag]))

    def _seemingly_idle(self) -> list[str]:
        """Flags to drop first, the most idle first; the most important one is not among them."""
        flags = differing_flags(self._ground, self._leader)
        if len(flags) < 2:
            return []
        noise = self._standings.noise.sd if self._standings.noise else NOISE_FLOOR
        seeming = importance(self._evidence, self._leader, flags, noise)
        *others, most = sorted(flags, key=lambda flag: (seeming[flag], flag))
        limit = max(seeming[most] * _IDLE_SHARE, self.tolerance / 2)
        return [flag for flag in others if seeming[flag] < min(limit, self.tolerance)]

    def _drop_together(
        self, keepers: Sequence[Params], idle: Sequence[str]
    ) -> tuple[Params, Params | None]:
        """The winner without idle flags, and what needs more runs to know.

        Where all of them together lose the gain, the more idle half is tried, and so on.
        """
        while idle:
            smaller = put_back(self._ground, keepers[-1], idle)
            outcome = self._outcome(smaller, keepers)
            if smaller is not None and outcome is _Outcome.KEEPS:
                return smaller, None
            if smaller is not None and outcome is _Outcome.OPEN:
                return keepers[-1], smaller
            idle = idle[: len(idle) // 2]
        return keepers[-1], None

    def _outcome(self, params: Params | None, keepers: Sequence[Params]) -> _Outcome:
        """Whether a smaller configuration keeps the gain of those that kept it so far."""
        if params is None:
            return _Outcome.LOSES
        identity = self._ground.identity(params)
        if identity == self._ground.identity(keepers[-1]):
            return _Outcome.KEEPS
        arm = self._arm(params)
        if identity == self._evidence.baseline or arm.crashes:
            return _Outcome.LOSES
        return self._judge(arm, self._loss(arm, keepers))

    def _judge(self, arm: Arm, loss: float) -> _Outcome:
        count = len(arm.runs)
        if count >= _FEWEST_RUNS and loss > _CLEAR:
            return _Outcome.LOSES
        is_given_up = self._evidence.is_given_up(self._evidence.arm(arm.params, _UNDONE))
        is_last = self._is_over or count >= 2 * self._repeats or is_given_up
        is_kept = count >= self._repeats and self._standings.is_better(self._standings.of(arm))
        if is_kept and loss <= (_DOUBT if is_last else 0.0):
            return _Outcome.KEEPS
        return _Outcome.LOSES if is_last else _Outcome.OPEN

    def _loss(self, arm: Arm, keepers: Sequence[Params]) -> float:
        """What is lost beyond the tolerance, in standard errors.

        The leader is the best of several and so looks a little too good; the runs of all that
        kept the gain together are a fairer reference.
        """
        kept = {self._ground.identity(params): self._arm(params).runs for params in keepers}
        reference = tuple(run for runs in kept.values() for run in runs)
        noise = self._standings.noise
        if not arm.runs or not reference or noise is None:
            return 0.0
        loss = mean(reference) - mean(arm.runs) - self.tolerance
        return loss / noise.error(len(reference), len(arm.runs))

    def _merit(self, params: Params | None) -> float:
        runs = self._arm(params).runs if params is not None else ()
        return mean(runs) if runs else float("-inf")

    def next_run(self, reduction: Reduction) -> Params | None:
        """What to measure next; None when that depends on runs that have no end yet.

        The wanted ones take turns, and a reference goes before them time and again, the winner
        and the baseline in turns: a machine that drifts must not pass for a flag.
        """
        waiting = [arm for arm in map(self._arm, reduction.wanted) if self._may_start(arm)]
        if not waiting:
            return None
        if (reference := self._reference_due(reduction)) is not None:
            return reference
        return min(waiting, key=lambda arm: arm.started).params

    def _may_start(self, arm: Arm) -> bool:
        """The repeats may run side by side; each further run waits for what they say."""
        return arm.started < self._repeats or not arm.running

    def _reference_due(self, reduction: Reduction) -> Params | None:
        started = [
            self._evidence.identity(trial)
            for trial in self._evidence.of_kind(*_UNDONE)
            if not is_failed(trial)
        ]
        latest = {key: position for position, key in enumerate(started)}
        references = {
            self._ground.identity(params): params
            for params in (reduction.winner, self._ground.baseline)
        }
        last = max(latest.get(key, -1) for key in references)
        between = max(_BETWEEN_REFERENCES, len(reduction.wanted))
        if last >= 0 and len(started) - 1 - last < between:
            return None
        usable = [key for key, params in references.items() if self._is_usable(params)]
        return references[min(usable, key=lambda key: latest.get(key, -1))] if usable else None

    def _is_usable(self, params: Params) -> bool:
        crashes = self._arm(params).crashes + self._evidence.arm(params, EXPLORED).crashes
        fresh = self._evidence.arm(params, _UNDONE)
        return not crashes and not self._evidence.is_given_up(fresh)
