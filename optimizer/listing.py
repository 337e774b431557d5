"""Trials as rows for people: the same words in the terminal, the report and the web app."""

from collections.abc import Sequence
from dataclasses import dataclass

from inference_autotuner.optimizer.metrics import Direction, Measurement, Metric, Statistic
from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.optimizer.trial import (
    Params,
    Trial,
    TrialKind,
    TrialState,
    describe_params,
)

SHORT_NAMES = {
    Metric.OUTPUT_THROUGHPUT: "output tok/s",
    Metric.INPUT_THROUGHPUT: "input tok/s",
    Metric.TOTAL_THROUGHPUT: "total tok/s",
    Metric.REQUEST_THROUGHPUT: "req/s",
    Metric.GOODPUT: "good req/s",
    Metric.TOKEN_GOODPUT: "good tok/s",
    Metric.TTFT: "ttft",
    Metric.TPOT: "tpot",
    Metric.E2E_LATENCY: "e2e",
}


@dataclass(frozen=True)
class TrialRow:
    """One trial for a listing; every cell is text, a dash where there is nothing."""

    number: int
    kind: str
    params: str
    objective: str
    latency: str
    slo: str
    state: str
    why: str


def objective_heading(spec: Spec) -> str:
    """The heading above the deciding objective: `output tok/s`, `ttft p99`."""
    objective = spec.objectives[0]
    if not objective.metric.is_latency:
        return SHORT_NAMES[objective.metric]
    return f"{SHORT_NAMES[objective.metric]} {objective.statistic or Statistic.MEAN}"


def latency_shown(spec: Spec) -> tuple[Metric, Statistic]:
    """The latency shown beside the objective: the first one with an SLO, else TTFT p99."""
    limited = [slo for slo in spec.slos if slo.metric.is_latency]
    if not limited:
        return Metric.TTFT, Statistic.P99
    return limited[0].metric, limited[0].statistic or Statistic.P99


def latency_heading(spec: Spec) -> str:
    """The heading above that latency: `ttft p99`."""
    return " ".join(latency_shown(spec))


def trial_row(spec: Spec, trial: Trial, baseline: Params) -> TrialRow:
    """A trial as text."""
    seen = trial.measurement
    return TrialRow(
        number=trial.number,
        kind=str(trial.kind),
        params=describe_params(trial.params, baseline),
        objective=format_value(spec.objectives[0].metric, trial.values[0]) if seen else "–",
        latency=_latency(spec, seen) if seen else "–",
        slo=_slo(spec, trial) if seen else "–",
        state=str(trial.state),
        why=": ".join(filter(None, (str(trial.reason or ""), trial.message))),
    )


def _latency(spec: Spec, measurement: Measurement) -> str:
    """At the point where it is worst."""
    metric, statistic = latency_shown(spec)
    return format_value(metric, max(p.value(metric, statistic) for p in measurement.points))


def _slo(spec: Spec, trial: Trial) -> str:
    if not spec.slos:
        return "–"
    missed = [title for title, violation in trial.violations.items() if violation > 0]
    return f"missed {', '.join(missed)}" if missed else "ok"


def format_value(metric: Metric, value: float) -> str:
    """A metric's value with its unit for people: latencies in ms, rates with three digits.

    >>> format_value(Metric.TTFT, 0.412), format_value(Metric.OUTPUT_THROUGHPUT, 61.23)
    ('412 ms', '61.2')
    >>> format_value(Metric.OUTPUT_THROUGHPUT, 12345.6)
    '12,346'
    """
    if metric.is_latency:
        milliseconds = value * 1000
        return f"{milliseconds:.0f} ms" if milliseconds >= 100 else f"{milliseconds:.3g} ms"
    if value >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def percent(ratio: float) -> str:
    """A change as percent, with its sign.

    >>> percent(0.914), percent(-0.032), percent(0.0), percent(0.0004)
    ('+91 %', '−3.2 %', '0 %', '+0.04 %')
    """
    hundredth = ratio * 100
    size = abs(hundredth)
    text = f"{size:,.0f}" if size >= 9.95 else f"{size:.1f}" if size >= 0.095 else f"{size:.2f}"
    if not float(text.replace(",", "")):
        return "0 %"
    return f"{'+' if hundredth > 0 else '−'}{text} %"


def interval(low: float, high: float) -> str:
    """A range of changes.

    >>> interval(0.84, 0.97), interval(-0.012, 0.1)
    ('+84 … +97 %', '−1.2 … +10 %')
    """
    return f"{percent(low).removesuffix(' %')} … {percent(high)}"


def best_trial(spec: Spec, trials: Sequence[Trial]) -> Trial | None:
    """The best explored trial that holds every SLO; a single look, not yet proof."""
    explored = [
        trial
        for trial in trials
        if trial.kind in (TrialKind.BASELINE, TrialKind.EXPLORE) and trial.holds_slos
    ]
    if not explored:
        return None
    is_maximized = spec.objectives[0].metric.direction is Direction.MAXIMIZE
    sign = 1 if is_maximized else -1
    return max(explored, key=lambda trial: (sign * trial.values[0], -trial.number))


def count_states(trials: Sequence[Trial]) -> dict[str, int]:
    """How many trials are in each state, states without any left out."""
    counts = {str(state): sum(t.state is state for t in trials) for state in TrialState}
    return {state: count for state, count in counts.items() if count}
