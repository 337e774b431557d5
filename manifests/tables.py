"""The report's tables as values: columns, rows and cells of text."""

from collections.abc import Sequence
from dataclasses import dataclass

from inference_autotuner.manifests.roles import Role, Roles, has_numbers, mean
from inference_autotuner.manifests.wording import heading, hours
from inference_autotuner.optimizer.listing import (
    format_value,
    latency_heading,
    latency_shown,
    percent,
    trial_row,
)
from inference_autotuner.optimizer.metrics import Direction, Metric, Point, Statistic
from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.optimizer.trial import Trial, TrialState
from inference_autotuner.optimizer.units import spoken_duration

LOG_LINES_SHOWN = 25
_METRICS_BY_POINT = 4
_LARGEST_EXCESS = 1e9  # a sort key must be a number


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What stands in it.
        sort: What the row is sorted by where text would not do.
        tone: `good`, `bad`, `quiet` or nothing; never the only sign of it.
        more: A longer text that is folded away, such as the end of a log.
    """

    text: str
    sort: float | None = None
    tone: str = ""
    more: str = ""


@dataclass(frozen=True)
class Column:
    """A column: whether it holds numbers, sentences, or params."""

    title: str
    is_number: bool = False
    is_wide: bool = False
    is_params: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first cell of each row names it."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


def trials_table(roles: Roles) -> Table:
    """Every trial in order, with its reason where it has no score."""
    spec = roles.spec
    columns = (
        Column("#", is_number=True),
        Column("for"),
        Column("params vs baseline", is_wide=True, is_params=True),
        *(Column(heading(o.metric, o.statistic), is_number=True) for o in spec.objectives),
        Column(f"worst {latency_heading(spec)}", is_number=True),
        Column("SLO"),
        Column("state"),
        Column("reason", is_wide=True),
        Column("time", is_number=True),
    )
    return Table(columns, tuple(_trial_cells(roles, trial) for trial in roles.trials))


def _trial_cells(roles: Roles, trial: Trial) -> tuple[Cell, ...]:
    row = trial_row(roles.spec, trial, roles.baseline)
    seconds = sum(trial.spans.values())
    is_winner = roles.role(trial) is Role.WINNER
    return (
        Cell(str(trial.number), trial.number),
        Cell(f"{row.kind}, winner" if is_winner else row.kind),
        Cell(row.params),
        *_objective_cells(roles.spec, trial),
        Cell(row.latency, _latency_sort(roles.spec, trial)),
        _slo_cell(roles.spec, trial),
        Cell(row.state, tone="" if trial.state is TrialState.MEASURED else "bad"),
        Cell(row.why or "–", more=log_end(trial.log_tail)),
        Cell(spoken_duration(seconds) if seconds else "–", seconds),
    )


def _objective_cells(spec: Spec, trial: Trial) -> list[Cell]:
    if not has_numbers(trial):
        return [Cell("–") for _ in spec.objectives]
    return [
        Cell(format_value(objective.metric, value), value)
        for objective, value in zip(spec.objectives, trial.values, strict=True)
    ]


def _latency_sort(spec: Spec, trial: Trial) -> float | None:
    if trial.measurement is None:
        return None
    metric, statistic = latency_shown(spec)
    return max(point.value(metric, statistic) for point in trial.measurement.points)


def _slo_cell(spec: Spec, trial: Trial) -> Cell:
    """`ok`, or by how much which SLO is missed most."""
    if not spec.slos or not has_numbers(trial):
        return Cell("–")
    missed = {title: excess for title, excess in trial.violations.items() if excess > 0}
    if not missed:
        return Cell("ok", max(trial.violations.values(), default=0.0), "good")
    text = ", ".join(f"missed {title} by {_excess(excess)}" for title, excess in missed.items())
    return Cell(text, min(max(missed.values()), _LARGEST_EXCESS), "bad")


def _excess(excess: float) -> str:
    """A violation for people; a rate of zero misses by more than any number.

    >>> _excess(0.123), _excess(float("inf"))
    ('12 %', 'all of it')
    """
    return "all of it" if excess == float("inf") else percent(excess).removeprefix("+")


def log_end(log: str) -> str:
    """The last lines of a log."""
    return "\n".join(log.rstrip().splitlines()[-LOG_LINES_SHOWN:])


def points_table(spec: Spec, baseline: Sequence[Trial], winner: Sequence[Trial]) -> Table:
    """The baseline's and the winner's runs at each point of the workload, means of the runs."""
    metrics = shown_metrics(spec)
    columns = [Column("scenario"), Column("concurrency", is_number=True)]
    for metric, statistic in metrics:
        columns.append(Column(heading(metric, statistic), is_number=True))
        columns.append(Column("change", is_number=True))
    rows = [
        (
            Cell(point.scenario),
            Cell(str(point.concurrency), point.concurrency),
            *(
                cell
                for metric in metrics
                for cell in _change_cells(*metric, _same(point, baseline), _same(point, winner))
            ),
        )
        for point in _points(winner)
        if _same(point, baseline)
    ]
    return Table(tuple(columns), tuple(rows))


def shown_metrics(spec: Spec) -> list[tuple[Metric, Statistic | None]]:
    """What is worth comparing at each point: objectives, then SLOs, then what people ask for."""
    wanted: list[tuple[Metric, Statistic | None]] = [
        *((o.metric, _statistic(o.metric, o.statistic)) for o in spec.objectives),
        *((s.metric, s.statistic) for s in spec.slos),
        (Metric.OUTPUT_THROUGHPUT, None),
        (Metric.TTFT, Statistic.P99),
        (Metric.TPOT, Statistic.P99),
    ]
    return list(dict.fromkeys(wanted))[:_METRICS_BY_POINT]


def _statistic(metric: Metric, statistic: Statistic | None) -> Statistic | None:
    return (statistic or Statistic.MEAN) if metric.is_latency else None


def _points(runs: Sequence[Trial]) -> Sequence[Point]:
    return runs[0].measurement.points if runs and runs[0].measurement else ()


def _same(point: Point, runs: Sequence[Trial]) -> list[Point]:
    place = (point.scenario, point.concurrency)
    return [p for run in runs for p in _points([run]) if (p.scenario, p.concurrency) == place]


def _change_cells(
    metric: Metric, statistic: Statistic | None, before: Sequence[Point], after: Sequence[Point]
) -> tuple[Cell, Cell]:
    old = mean([point.value(metric, statistic) for point in before])
    new = mean([point.value(metric, statistic) for point in after])
    text = f"{format_value(metric, old)} → {format_value(metric, new)}"
    return Cell(text, new), change_cell(metric, old, new)


def change_cell(metric: Metric, old: float, new: float) -> Cell:
    """A relative change and whether it is for the better."""
    if old <= 0:
        return Cell("–")
    change = new / old - 1
    is_better = change < 0 if metric.direction is Direction.MINIMIZE else change > 0
    tone = "good" if is_better else "bad"
    return Cell(percent(change), change, tone if abs(change) >= 0.0005 else "")


def cost_table(trials: Sequence[Trial]) -> Table:
    """What the study cost: by how its trials ended, in trials, hours and GPU-hours."""
    columns = (
        Column("trials that were"),
        Column("trials", is_number=True),
        Column("starting", is_number=True),
        Column("benchmark", is_number=True),
        Column("everything", is_number=True),
        Column("GPU-hours", is_number=True),
    )
    groups = [(str(state), [t for t in trials if t.state is state]) for state in TrialState]
    rows = [_cost_row(name, group) for name, group in groups if group]
    return Table(columns, (*rows, _cost_row("all", trials)))


def _cost_row(name: str, trials: Sequence[Trial]) -> tuple[Cell, ...]:
    spent = [
        sum(trial.spans.get("deploy", 0.0) for trial in trials),
        sum(trial.spans.get("benchmark", 0.0) for trial in trials),
        sum(sum(trial.spans.values()) for trial in trials),
    ]
    gpu_s = sum(trial.gpu_seconds for trial in trials)
    return (
        Cell(name),
        Cell(str(len(trials)), len(trials)),
        *(Cell(spoken_duration(seconds), seconds) for seconds in spent),
        Cell(hours(gpu_s) if gpu_s else "–", gpu_s),
    )


def busy_and_wall_s(trials: Sequence[Trial]) -> tuple[float, float]:
    """Seconds in which at least one trial ran, and from the first start to the last end.

    >>> busy_and_wall_s([])
    (0.0, 0.0)
    """
    spans = sorted((t.started_s, t.ended_s) for t in trials if t.ended_s is not None)
    if not spans:
        return 0.0, 0.0
    busy, until = 0.0, spans[0][0]
    for start, end in spans:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy, until - spans[0][0]
