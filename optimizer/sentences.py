"""The verdict in words: what a person reads first, with the numbers that carry it."""

from dataclasses import replace

from inference_autotuner.optimizer.evidence import Evidence
from inference_autotuner.optimizer.listing import (
    format_value,
    interval,
    objective_heading,
    percent,
)
from inference_autotuner.optimizer.second_look import is_confirmed
from inference_autotuner.optimizer.spec import Slo
from inference_autotuner.optimizer.standing import BaselineState
from inference_autotuner.optimizer.trial import Params, describe_params, spell
from inference_autotuner.optimizer.verdict import Change, FlagChange, Verdict, VerdictKind

UNITS = {"output tok/s": "output tokens/s", "input tok/s": "input tokens/s"}


def summarize_better(evidence: Evidence, verdict: Verdict, baseline: BaselineState) -> Verdict:
    """What to use, how much it gives, how sure that is, and what was dropped."""
    params = _named(evidence, verdict.params or {})
    parts = [f"{params} {_gain(evidence, verdict, baseline)}{_slos(evidence)}."]
    if dropped := [flag for flag in verdict.flags if not flag.is_kept]:
        made = "made" if len(dropped) == 1 else "made together"
        were = "was" if len(dropped) == 1 else "were"
        parts.append(
            f"{' '.join(map(spell_flag, dropped))} {made} no difference and {were} dropped."
        )
    return replace(verdict, summary=" ".join(parts))


def _gain(evidence: Evidence, verdict: Verdict, baseline: BaselineState) -> str:
    runs = f"{verdict.runs} fresh runs against {verdict.baseline_runs} of the baseline"
    if baseline is BaselineState.CANNOT_RUN:
        return f"runs where the baseline does not ({verdict.runs} fresh runs)"
    measured = _by(evidence, verdict.gain) if verdict.gain else ""
    if baseline is BaselineState.MISSES:
        return f"holds every SLO, which the baseline does not ({measured}; {runs})"
    return f"gives {measured} ({_interval(verdict.gain)}{runs})"


def _slos(evidence: Evidence) -> str:
    return ", every SLO holds" if evidence.spec.slos else ""


def _by(evidence: Evidence, change: Change) -> str:
    """`+91 % output tokens/s`; for a latency `12 % less ttft p99`."""
    heading = objective_heading(evidence.spec)
    name = UNITS.get(heading, heading)
    if evidence.is_maximized:
        return f"{percent(change.point)} {name}"
    return f"{abs(change.point) * 100:.0f} % {'less' if change.point > 0 else 'more'} {name}"


def _interval(change: Change | None) -> str:
    if change is None or change.low is None or change.high is None:
        return ""
    return f"95 % interval {interval(change.low, change.high)}, "


def _named(evidence: Evidence, params: Params) -> str:
    return describe_params(params, evidence.ground.baseline)


def spell_flag(flag: FlagChange) -> str:
    """A change of a flag in one word: `threads=2`, or `threads=(default)`."""
    return f"{flag.flag}={'(default)' if flag.value is None else spell(flag.value)}"


def summarize_unproved(
    evidence: Evidence, verdict: Verdict, *, is_baseline_unknown: bool
) -> Verdict:
    """Why nothing is recommended."""
    if verdict.kind is VerdictKind.KEEP_CURRENT:
        return replace(verdict, summary=_why_kept(evidence, verdict))
    if not verdict.finalists:
        return replace(verdict, summary="nothing beside the baseline was measured yet.")
    if not any(finalist.runs for finalist in verdict.finalists):
        best = _named(evidence, verdict.finalists[0].params)
        said = f"{best} looks best after one run each; no fresh server confirmed it."
        return replace(verdict, summary=said)
    if is_baseline_unknown:
        return replace(verdict, summary="the baseline could not be measured again to compare with.")
    return replace(verdict, summary=_why_open(evidence, verdict))


def _why_kept(evidence: Evidence, verdict: Verdict) -> str:
    if not verdict.finalists:
        return "no params that hold every SLO came within 10 % of the baseline; keep it."
    best = verdict.finalists[0]
    assert best.gain is not None
    return (
        f"the best of the search, {_named(evidence, best.params)}, is not better than the baseline "
        f"({_interval(best.gain).rstrip(', ')}); keep it."
    )


def _why_open(evidence: Evidence, verdict: Verdict) -> str:
    compared = [finalist for finalist in verdict.finalists if finalist.gain is not None]
    if not compared:
        return "the finalists did not run reliably on fresh servers."
    best = max(compared, key=lambda finalist: finalist.gain.point if finalist.gain else 0)
    assert best.gain is not None
    said = f"{_named(evidence, best.params)} gives {_by(evidence, best.gain)}"
    interval = _interval(best.gain).rstrip(", ")
    if best.crashes:
        return f"{said}, but did not run on {best.crashes} of its fresh servers."
    chosen = tuple(finalist.params for finalist in verdict.finalists)
    if not is_confirmed(evidence, chosen):
        return f"{said} so far, but the proof was cut short."
    if best.gain.low is not None and best.gain.low > 0:
        return f"{said} ({interval}), but its fresh runs do not show that every SLO holds."
    if not interval:
        return f"{said}, from too few fresh runs to tell it from noise."
    return f"{said}, but the {interval} includes 0; more repeats would tell."


def summarize_nothing_feasible(evidence: Evidence, verdict: Verdict) -> Verdict:
    """Which SLO binds, who came nearest, and what limit would have been met."""
    if verdict.kind is VerdictKind.INCONCLUSIVE:
        return replace(verdict, summary="nothing was measured yet.")
    if verdict.nearest is None:
        counts = ", ".join(
            f"{count} × {reason}" for reason, count in (verdict.reasons or {}).items()
        )
        return replace(verdict, summary=f"no params could be measured ({counts}).")
    nearest = verdict.nearest
    slo = next(slo for slo in evidence.spec.slos if slo.title == nearest.slo)
    return replace(
        verdict,
        summary=(
            f"{nearest.slo} binds: no params hold every SLO. The nearest, trial {nearest.trial} "
            f"with {_named(evidence, nearest.params)}, would meet a limit of "
            f"{_limit(slo, nearest.value)} instead of {_limit(slo, nearest.limit)}."
        ),
    )


def _limit(slo: Slo, value: float) -> str:
    shown = format_value(slo.metric, value)
    return shown if slo.metric.is_latency else f"{shown} {slo.metric.unit}"
