"""The undo runs: the smallest difference from the baseline that keeps the winner's gain.

A flag that does nothing is a risk without a return. So configurations with flags put back to the
baseline are measured on fresh servers: first without all flags that seem idle at once, then, of
what is left, without one flag at a time. One that keeps the gain takes the winner's place; when
none does, each flag that is left has been shown to be needed, and by how much.

Everything is worked out anew from the trials each time; there is nothing to remember.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from inference_autotuner.optimizer.differing import differing_flags, put_back
from inference_autotuner.optimizer.evidence import (
    CONFIRMED,
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
_SHARE_OF_GAIN = 0.2
_LEAST_TOLERANCE = 0.01
_LARGEST_TOLERANCE = 0.05
# Each configuration is measured up to so many times the repeats of the confirm runs. It keeps the
# gain when its loss is within the tolerance after the repeats, or at the end within this many
# standard errors beyond; it loses early when it is this many beyond.
_MOST_ROUNDS = 3
_DOUBT = 1.0
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
        singles: For each of its flags, the winner without it; None where that breaks a
            constraint. Empty while several flags are still dropped at once.
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
        # What steers the undo runs must not change while they come in.
        self._confirmed = Standings(evidence, CONFIRMED)
        self.tolerance = self._tolerance()
        self._keepers = self._find_keepers()

    def _tolerance(self) -> float:
        """The loss, as a difference of merits, up to which the gain is kept."""
        confirmed = self._confirmed.of(self._evidence.arm(self._leader, CONFIRMED))
        is_compared = self._confirmed.baseline_state is BaselineState.MEASURED
        if not is_compared or confirmed.difference is None:
            return _LARGEST_TOLERANCE
        share = confirmed.difference.point * _SHARE_OF_GAIN
        return min(max(share, _LEAST_TOLERANCE), _LARGEST_TOLERANCE)

    def _find_keepers(self) -> list[Params]:
        """The leader, and every configuration with some of its flags that keeps the gain.

        From the largest to the smallest, among equals the best last.
        """
        keepers = [self._leader]
        smaller = [arm.params for arm in self._evidence.arms(PROVED).values()]
        smaller = [params for params in smaller if self._is_part(params)]
        for params in sorted(smaller, key=lambda p: (-len(self._flags(p)), self._merit(p))):
            if self._outcome(params, keepers) is _Outcome.KEEPS:
                keepers.append(params)
        return keepers

    def _flags(self, params: Params) -> tuple[str, ...]:
        return differing_flags(self._ground, params)

    def _is_part(self, params: Params) -> bool:
        """Whether all its differences from the baseline are the leader's, but not all of them."""
        dropped = set(self._flags(self._leader)) - set(self._flags(params))
        if not dropped or len(self._flags(params)) >= len(self._flags(self._leader)):
            return False
        reduced = put_back(self._ground, self._leader, dropped)
        return reduced is not None and self._key(reduced) == self._key(params)

    def _key(self, params: Params) -> Hashable:
        return self._ground.identity(params)

    def _arm(self, params: Params) -> Arm:
        return self._evidence.arm(params, PROVED)

    @property
    def is_spent(self) -> bool:
        """Whether no further undo run may start."""
        undone = sum(not is_failed(trial) for trial in self._evidence.of_kind(*_UNDONE))
        return self._standings.noise is None or undone >= _LIMIT * self._repeats

    def reduce(self) -> Reduction:
        """Drops what the runs so far allow to drop."""
        winner = self._keepers[-1]
        for smaller in self._dropped_together():
            if len(self._flags(smaller)) < len(self._flags(winner)):
                outcome = self._outcome(smaller, self._keepers)
                if outcome is _Outcome.OPEN:
                    return Reduction(winner, {}, (smaller,))
        singles = {flag: put_back(self._ground, winner, [flag]) for flag in self._flags(winner)}
        wanted = tuple(
            single
            for single in singles.values()
            if single is not None and self._outcome(single, self._keepers) is _Outcome.OPEN
        )
        return Reduction(winner, singles, wanted)

    def _dropped_together(self) -> Iterator[Params]:
        """The leader with several flags back at once, in the order in which they are worth trying.

        First with the one flag alone that seems to give most, then with two, three, four, six, …
        Most winners are found at the first step, and a step that fails was not in vain: what it
        measured is the next step's configuration without a flag. Once something smaller keeps the
        gain: without every flag that it is kept without.
        """
        if len(self._keepers) > 1:
            spared = {flag for keeper in self._keepers for flag in self._without_them(keeper)}
            yield from self._put_back(spared)
            return
        ranked = self._ranked_flags()
        size = 1
        while size < len(ranked):
            yield from self._put_back(ranked[size:])
            size += max(1, size // 2)

    def _put_back(self, flags: Iterable[str]) -> Iterator[Params]:
        smaller = put_back(self._ground, self._leader, flags)
        if smaller is not None:
            yield smaller

    def _without_them(self, keeper: Params) -> set[str]:
        return set(self._flags(self._leader)) - set(self._flags(keeper))

    def _ranked_flags(self) -> list[str]:
        """The leader's flags, the one that seems to give most first."""
        flags = self._flags(self._leader)
        noise = self._confirmed.noise.sd if self._confirmed.noise else NOISE_FLOOR
        seeming = importance(self._evidence, self._leader, flags, noise)
        return sorted(flags, key=lambda flag: (-seeming[flag], flag))

    def _outcome(self, params: Params, keepers: Sequence[Params]) -> _Outcome:
        """Whether a smaller configuration keeps the gain of those that kept it so far."""
        arm = self._arm(params)
        if self._key(params) == self._evidence.baseline or arm.crashes:
            return _Outcome.LOSES
        return self._judge(arm, self._loss(arm, keepers))

    def _judge(self, arm: Arm, loss: float) -> _Outcome:
        count = len(arm.runs)
        if count >= _FEWEST_RUNS and loss > _CLEAR:
            return _Outcome.LOSES
        is_given_up = self._evidence.is_given_up(self._evidence.arm(arm.params, _UNDONE))
        is_last = self._is_over or count >= _MOST_ROUNDS * self._repeats or is_given_up
        is_kept = count >= self._repeats and self._standings.is_better(self._standings.of(arm))
        if is_kept and loss <= (_DOUBT if is_last else 0.0):
            return _Outcome.KEEPS
        return _Outcome.LOSES if is_last else _Outcome.OPEN

    def _loss(self, arm: Arm, keepers: Sequence[Params]) -> float:
        """What is lost beyond the tolerance, in standard errors.

        The leader is the best of several and so looks a little too good; the runs of all that
        kept the gain together are a fairer reference.
        """
        kept = {self._key(params): self._arm(params).runs for params in keepers}
        reference = tuple(run for runs in kept.values() for run in runs)
        noise = self._standings.noise
        if not arm.runs or not reference or noise is None:
            return 0.0
        loss = mean(reference) - mean(arm.runs) - self.tolerance
        return loss / noise.error(len(reference), len(arm.runs))

    def _merit(self, params: Params) -> float:
        runs = self._arm(params).runs
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
            self._key(params): params for params in (reduction.winner, self._ground.baseline)
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
