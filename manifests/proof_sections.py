"""The sections of a report that prove the verdict."""

from collections.abc import Hashable, Sequence

from inference_autotuner.manifests.pictures import runs_picture, tradeoff_pictures, undo_picture
from inference_autotuner.manifests.report_view import Part, Section
from inference_autotuner.manifests.roles import Roles, mean
from inference_autotuner.manifests.tables import Cell, Column, Table, change_cell, points_table
from inference_autotuner.manifests.wording import bounds, cost, heading, spell_level
from inference_autotuner.optimizer.goals import Slo
from inference_autotuner.optimizer.listing import format_value, percent
from inference_autotuner.optimizer.metrics import Direction
from inference_autotuner.optimizer.objective import binding_point
from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.optimizer.trial import Params, Trial
from inference_autotuner.optimizer.verdict import Change, Finalist, FlagChange, Verdict

_NOTHING = Section("")


def comparison_section(roles: Roles, verdict: Verdict) -> Section:
    """The winner, or else the best finalist, against the baseline."""
    parts = comparison_parts(roles, verdict)
    if verdict.finalists:
        parts.append(_finalists_part(roles, verdict))
    _, name = _compared(verdict)
    is_compared = any(part.title == "Objectives" for part in parts)
    return Section(
        f"The {name} against the baseline" if is_compared else "What was measured",
        parts=parts,
        pictures=runs_picture(roles, _rows(roles, verdict)) + tradeoff_pictures(roles),
    )


def comparison_parts(roles: Roles, verdict: Verdict) -> list[Part]:
    """Objectives and SLOs of the baseline and of what is compared with it, as far as measured."""
    shown, name = _compared(verdict)
    before = roles.runs(roles.baseline)
    after = roles.runs(shown) if shown is not None else []
    parts = []
    if before and after:
        table = _objectives_table(roles.spec, name, before, after, _gain(verdict))
        note = (
            f"Geometric means of {_runs(before)} of the baseline and {_runs(after)} of the {name}, "
            "over all points of the workload. The interval is of how much better the first "
            "objective is."
        )
        parts.append(Part(table, "Objectives", note))
    if (before or after) and roles.spec.slos:
        parts.append(_slo_part(roles.spec, name, before, after, verdict))
    return parts


def _compared(verdict: Verdict) -> tuple[Params | None, str]:
    if verdict.has_winner:
        return verdict.params, "winner"
    best = next(iter(verdict.finalists), None)
    return (best.params if best else None), "best finalist"


def _gain(verdict: Verdict) -> Change | None:
    if verdict.has_winner:
        return verdict.gain
    return next((finalist.gain for finalist in verdict.finalists), None)


def _runs(trials: Sequence[Trial]) -> str:
    return "1 run" if len(trials) == 1 else f"{len(trials)} runs"


def _rows(roles: Roles, verdict: Verdict) -> list[Params]:
    """Baseline, winner and finalists, each configuration once."""
    wanted = [roles.baseline, *([verdict.params] if verdict.params is not None else [])]
    wanted += [finalist.params for finalist in verdict.finalists]
    rows: dict[Hashable, Params] = {}
    for params in wanted:
        rows.setdefault(roles.space.identity(params), params)
    return list(rows.values())


def _objectives_table(
    spec: Spec, name: str, before: Sequence[Trial], after: Sequence[Trial], gain: Change | None
) -> Table:
    rows = []
    for index, objective in enumerate(spec.objectives):
        old = mean([run.values[index] for run in before])
        new = mean([run.values[index] for run in after])
        rows.append(
            (
                Cell(heading(objective.metric, objective.statistic)),
                Cell(format_value(objective.metric, old), old),
                Cell(format_value(objective.metric, new), new),
                change_cell(objective.metric, old, new),
                Cell(bounds(gain if index == 0 else None)),
            )
        )
    columns = (
        Column("objective"),
        Column("baseline", is_number=True),
        Column(name, is_number=True),
        Column("change", is_number=True),
        Column("better by, 95 % interval", is_number=True),
    )
    return Table(columns, tuple(rows))


def _slo_part(
    spec: Spec, name: str, before: Sequence[Trial], after: Sequence[Trial], verdict: Verdict
) -> Part:
    """SLOs of both, and of the winner what is sure."""
    sure = {margin.slo: margin.margin_low for margin in verdict.margins}
    columns = [Column("SLO"), Column("limit", is_number=True)]
    columns += [Column("baseline", is_number=True), Column("baseline holds")]
    columns += [Column(name, is_number=True), Column(f"{name} holds")] if after else []
    columns += [Column("95 % sure to spare", is_number=True)] if sure else []
    rows = [
        (
            Cell(slo.title),
            Cell(_limit(slo), slo.limit),
            *_slo_cells(slo, before),
            *(_slo_cells(slo, after) if after else ()),
            *([_sure_cell(sure.get(slo.title))] if sure else []),
        )
        for slo in spec.slos
    ]
    note = "Geometric means of the runs, at the point of the workload that is closest to the limit."
    return Part(Table(tuple(columns), tuple(rows)), "SLOs", note)


def _limit(slo: Slo) -> str:
    sign = "≤" if slo.metric.direction is Direction.MINIMIZE else "≥"
    return f"{sign} {format_value(slo.metric, slo.limit)}"


def _slo_cells(slo: Slo, runs: Sequence[Trial]) -> tuple[Cell, Cell]:
    if not runs:
        return Cell("–"), Cell("–")
    value = mean([slo_value(slo, run) for run in runs])
    return Cell(format_value(slo.metric, value), value), margin_cell(-slo.violation(value))


def slo_value(slo: Slo, trial: Trial) -> float:
    """A measured trial's value where it is closest to the limit, or furthest beyond."""
    assert trial.measurement is not None
    return binding_point(slo, trial.measurement).value(slo.metric, slo.statistic)


def margin_cell(margin: float) -> Cell:
    """How far from its limit an SLO is: above zero it holds.

    >>> margin_cell(0.25).text, margin_cell(-0.1).text
    ('yes, 25 % to spare', 'missed by 10 %')
    """
    if margin < 0:
        size = "all of it" if margin == float("-inf") else percent(-margin).removeprefix("+")
        return Cell(f"missed by {size}", max(margin, -1e9), "bad")
    return Cell(f"yes, {percent(margin).removeprefix('+')} to spare", margin, "good")


def _sure_cell(margin: float | None) -> Cell:
    return Cell("–") if margin is None else Cell(percent(margin).removeprefix("+"), margin)


def _finalists_part(roles: Roles, verdict: Verdict) -> Part:
    columns = (
        Column("finalist", is_wide=True, is_params=True),
        Column("fresh runs", is_number=True),
        Column("better by", is_number=True),
        Column("95 % interval", is_number=True),
        Column("ran and held every SLO"),
    )
    rows = [_finalist_row(roles, finalist) for finalist in verdict.finalists]
    note = "Before any flag was put back; the best of the search first."
    return Part(Table(columns, tuple(rows)), "Finalists", note)


def _finalist_row(roles: Roles, finalist: Finalist) -> tuple[Cell, ...]:
    point = percent(finalist.gain.point) if finalist.gain else "–"
    crashed = f"no, {finalist.crashes} crashed" if finalist.crashes else "not for sure"
    return (
        Cell(roles.describe(finalist.params)),
        Cell(str(finalist.runs), finalist.runs),
        Cell(point),
        Cell(bounds(finalist.gain)),
        Cell("yes", tone="good") if finalist.is_sound else Cell(crashed, tone="bad"),
    )


def flags_section(roles: Roles, verdict: Verdict) -> Section:
    """Which flags the winner keeps, which were dropped, and what tells so."""
    if not verdict.flags:
        return _NOTHING
    return Section(
        "Which flags matter",
        parts=[flags_part(verdict)],
        pictures=undo_picture(roles.spec, _kept_first(verdict)),
    )


def flags_part(verdict: Verdict) -> Part:
    """The flags of the search's winner, kept ones first."""
    columns = (
        Column("flag"),
        Column("baseline"),
        Column("winner of the search"),
        Column("in the answer"),
        Column("undoing it costs", is_number=True),
        Column("95 % interval", is_number=True),
    )
    note = "A flag that made no difference is dropped: the answer is the smallest change."
    if any(flag.cost is None for flag in verdict.flags):
        note += " A dash: it was not measured alone."
    return Part(Table(columns, tuple(map(_flag_row, _kept_first(verdict)))), note=note)


def _kept_first(verdict: Verdict) -> list[FlagChange]:
    return sorted(verdict.flags, key=lambda flag: not flag.is_kept)


def _flag_row(flag: FlagChange) -> tuple[Cell, ...]:
    return (
        Cell(flag.flag),
        Cell(spell_level(flag.baseline)),
        Cell(spell_level(flag.value)),
        Cell("kept") if flag.is_kept else Cell("dropped", tone="quiet"),
        Cell(cost(flag.cost)),
        Cell(bounds(flag.cost).replace("+", "")),
    )


def points_section(roles: Roles, verdict: Verdict) -> Section:
    """The winner against the baseline at each point of the workload."""
    if not verdict.has_winner or verdict.params is None:
        return _NOTHING
    table = points_table(roles.spec, roles.runs(roles.baseline), roles.runs(verdict.params))
    if not table.rows:
        return _NOTHING
    return Section("At each point of the workload", parts=[Part(table)])


def nearest_section(roles: Roles, verdict: Verdict) -> Section:
    """Where nothing holds every SLO: the trial that is nearest to it, SLO by SLO."""
    trials = [trial for trial in roles.measured if _is_nearest(verdict, trial)]
    if not trials:
        return _NOTHING
    columns = (
        Column("SLO"),
        Column("limit", is_number=True),
        Column("reached", is_number=True),
        Column("holds"),
    )
    rows = [
        (Cell(slo.title), Cell(_limit(slo), slo.limit), *_slo_cells(slo, trials))
        for slo in roles.spec.slos
    ]
    text = (
        f"Trial {trials[0].number}, {roles.describe(trials[0].params)}, misses its worst SLO by "
        "less than any other. Limits at what it reached would have been met."
    )
    return Section("What comes nearest", texts=[text], parts=[Part(Table(columns, tuple(rows)))])


def _is_nearest(verdict: Verdict, trial: Trial) -> bool:
    return verdict.nearest is not None and verdict.nearest.trial == trial.number
