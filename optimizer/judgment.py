"""Decides the verdict from the trials: fresh runs alone count, and doubt counts against change."""

import math
from collections import Counter
from collections.abc import Sequence

from inference_autotuner.optimizer.confirm import confirm_arms, finalists
from inference_autotuner.optimizer.differing import differing_flags
from inference_autotuner.optimizer.evidence import (
    CONFIRMED,
    EXPLORED,
    PROVED,
    Arm,
    Evidence,
    Ground,
    is_feasible,
    is_measured,
    log_ratio,
)
from inference_autotuner.optimizer.metrics import Direction
from inference_autotuner.optimizer.second_look import is_confirmed
from inference_autotuner.optimizer.sentences import (
    summarize_better,
    summarize_nothing_feasible,
    summarize_unproved,
)
from inference_autotuner.optimizer.spec import Slo
from inference_autotuner.optimizer.standing import BaselineState, Miss, Standings, leader
from inference_autotuner.optimizer.statistics import Difference, differences
from inference_autotuner.optimizer.trial import Params, Trial, TrialState, Value
from inference_autotuner.optimizer.undo import Reduction, Undo
from inference_autotuner.optimizer.verdict import (
    Change,
    Finalist,
    FlagChange,
    Nearest,
    SloMargin,
    Verdict,
    VerdictKind,
)


def decide(ground: Ground, trials: Sequence[Trial]) -> Verdict:
    """The answer that the trials so far allow; also of a study that is not over."""
    evidence = Evidence(ground, trials)
    explored = [trial for trial in evidence.of_kind(*EXPLORED) if trial.ended_s is not None]
    if not any(is_feasible(trial) for trial in explored):
        return _nothing_feasible(evidence, explored)
    chosen = finalists(evidence)
    best = leader(Standings(evidence, CONFIRMED), confirm_arms(evidence, chosen))
    if best is not None and is_confirmed(evidence, chosen):
        reduction = Undo(evidence, best.params, is_over=True).reduce()
        standings = Standings(evidence, PROVED)
        if standings.is_better(standings.of(evidence.arm(reduction.winner, PROVED))):
            return _better(evidence, standings, chosen, best, reduction)
    return _unproved(evidence, chosen)


def _better(
    evidence: Evidence,
    standings: Standings,
    chosen: Sequence[Params],
    best: Arm,
    reduction: Reduction,
) -> Verdict:
    winner = evidence.arm(reduction.winner, PROVED)
    standing = standings.of(winner)
    verdict = Verdict(
        kind=VerdictKind.BETTER,
        summary="",
        params=_plain(evidence, winner.params),
        gain=_change(evidence, standing.difference),
        flags=_flag_changes(evidence, best.params, reduction),
        margins=_margins(evidence, standing.misses),
        runs=len(winner.runs),
        baseline_runs=len(evidence.arm(evidence.ground.baseline, PROVED).runs),
        finalists=_finalists(evidence, chosen),
        reasons=_reasons(evidence),
    )
    return summarize_better(evidence, verdict, standings.baseline_state)


def _plain(evidence: Evidence, params: Params) -> dict[str, Value]:
    """Params without flags that only spell out what the baseline does anyway."""
    baseline = evidence.ground.baseline
    heard = differing_flags(evidence.ground, params)
    return {name: value for name, value in params.items() if name in heard or name in baseline}


def _unproved(evidence: Evidence, chosen: Sequence[Params]) -> Verdict:
    """Somebody runs and holds the SLOs, and nobody is shown to be better than the baseline."""
    standings = Standings(evidence, PROVED)
    found = _finalists(evidence, chosen)
    is_worse = [f.gain is not None and f.gain.high is not None and f.gain.high <= 0 for f in found]
    baseline = evidence.arm(evidence.ground.baseline, EXPLORED)
    others = [t for t in evidence.trials if evidence.identity(t) != evidence.baseline]
    is_kept = bool(baseline.runs) and bool(others) and all(is_worse)
    verdict = Verdict(
        kind=VerdictKind.KEEP_CURRENT if is_kept else VerdictKind.INCONCLUSIVE,
        summary="",
        params=None if baseline.crashes else dict(evidence.ground.baseline),
        baseline_runs=len(evidence.arm(evidence.ground.baseline, PROVED).runs),
        finalists=found,
        reasons=_reasons(evidence),
    )
    is_shaky = standings.baseline_state is BaselineState.UNKNOWN
    return summarize_unproved(evidence, verdict, is_baseline_unknown=is_shaky)


def _nothing_feasible(evidence: Evidence, explored: Sequence[Trial]) -> Verdict:
    measured = [trial for trial in explored if is_measured(trial)]
    verdict = Verdict(
        kind=VerdictKind.NOTHING_FEASIBLE if explored else VerdictKind.INCONCLUSIVE,
        summary="",
        params=None,
        nearest=_nearest(evidence, measured),
        reasons=_reasons(evidence),
    )
    return summarize_nothing_feasible(evidence, verdict)


def _nearest(evidence: Evidence, measured: Sequence[Trial]) -> Nearest | None:
    """The trial whose worst violation is smallest, and the SLO that it misses by most."""
    slos = {slo.title: slo for slo in evidence.spec.slos}
    missed = {
        trial.number: max((v, title) for title, v in trial.violations.items() if title in slos)
        for trial in measured
        if trial.violations.keys() & slos.keys()
    }
    if not missed:
        return None
    trial = min(measured, key=lambda t: missed.get(t.number, (math.inf, "")))
    violation, title = missed[trial.number]
    value = _value(slos[title], log_ratio(violation))
    return Nearest(trial.number, dict(trial.params), title, slos[title].limit, value)


def _value(slo: Slo, log_ratio: float) -> float:
    """The metric's value that misses a limit by so much; a ratio above one is a miss."""
    is_latency = slo.metric.direction is Direction.MINIMIZE
    return slo.limit * math.exp(log_ratio if is_latency else -log_ratio)


def _margins(evidence: Evidence, misses: Sequence[Miss]) -> tuple[SloMargin, ...]:
    slos = {slo.title: slo for slo in evidence.spec.slos}
    baseline = evidence.arm(evidence.ground.baseline, PROVED).misses
    return tuple(
        SloMargin(
            slo=miss.title,
            limit=slos[miss.title].limit,
            value=_value(slos[miss.title], miss.point),
            margin=-math.expm1(miss.point),
            margin_low=None if miss.high is None else -math.expm1(miss.high),
            baseline_margin=_mean_margin(baseline.get(miss.title, ())),
        )
        for miss in misses
    )


def _mean_margin(runs: Sequence[float]) -> float | None:
    return -math.expm1(math.fsum(runs) / len(runs)) if runs else None


def _finalists(evidence: Evidence, chosen: Sequence[Params]) -> tuple[Finalist, ...]:
    standings = Standings(evidence, PROVED)
    rows = []
    for params in chosen:
        arm = evidence.arm(params, PROVED)
        standing = standings.of(arm)
        gain = _change(evidence, standing.difference)
        rows.append(Finalist(dict(params), len(arm.runs), gain, standing.is_sound, arm.crashes))
    return tuple(rows)


def _flag_changes(
    evidence: Evidence, leader_params: Params, reduction: Reduction
) -> tuple[FlagChange, ...]:
    """Every flag of the leader: what putting it back costs, or that it was dropped."""
    baseline = evidence.ground.baseline
    kept = differing_flags(evidence.ground, reduction.winner)
    costs = _costs(evidence, reduction)
    everything = sorted({*kept, *differing_flags(evidence.ground, leader_params)})
    source = {**leader_params, **reduction.winner}
    return tuple(
        FlagChange(
            flag=flag,
            value=source.get(flag),
            baseline=baseline.get(flag),
            is_kept=flag in kept,
            cost=costs.get(flag),
        )
        for flag in everything
    )


def _costs(evidence: Evidence, reduction: Reduction) -> dict[str, Change]:
    """What the winner loses without each flag, all intervals at once."""
    identity = evidence.ground.identity
    singles = {f: identity(p) for f, p in reduction.singles.items() if p is not None}
    winner = identity(reduction.winner)
    arms = {key: arm.runs for key, arm in evidence.arms(PROVED).items()}
    others = tuple(r for key, r in arms.items() if key not in {winner, *singles.values()})
    runs = tuple(arms.get(key, ()) for key in singles.values())
    found = differences(arms.get(winner, ()), runs, others)
    return {
        flag: Change(*_mirrored(evidence, difference))
        for flag, difference in zip(singles, found, strict=True)
        if difference is not None
    }


def _mirrored(
    evidence: Evidence, difference: Difference
) -> tuple[float, float | None, float | None]:
    """A loss of merit as a cost above zero."""
    low = None if difference.high is None else -evidence.change(difference.high)
    high = None if difference.low is None else -evidence.change(difference.low)
    return -evidence.change(difference.point), low, high


def _change(evidence: Evidence, difference: Difference | None) -> Change | None:
    if difference is None:
        return None
    ends = [
        None if end is None else evidence.change(end) for end in (difference.low, difference.high)
    ]
    return Change(evidence.change(difference.point), *ends)


def _reasons(evidence: Evidence) -> dict[str, int]:
    """How often each Reason ended a trial without a score."""
    lost = [
        str(trial.reason)
        for trial in evidence.trials
        if trial.state in (TrialState.INFEASIBLE, TrialState.FAILED)
    ]
    return dict(sorted(Counter(lost).items()))
