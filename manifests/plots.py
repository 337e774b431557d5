"""The pictures of the proof: the fresh runs side by side, and what undoing each flag costs.

A picture is an `<svg>` element, or None where there is nothing to show.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from inference_autotuner.manifests import svg
from inference_autotuner.manifests.pencil import Drawing, Pencil, objective_axis, scaled
from inference_autotuner.manifests.roles import Roles, mean
from inference_autotuner.manifests.wording import heading, spell_level
from inference_autotuner.optimizer.goals import Objective
from inference_autotuner.optimizer.listing import format_value, percent
from inference_autotuner.optimizer.trial import Params, Trial
from inference_autotuner.optimizer.verdict import Change, FlagChange

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_finalists(roles: Roles, finalists: Sequence[Params]) -> Drawing | None:
    """Every fresh run of the baseline and the finalists on one line each.

    Args:
        roles: The study's trials.
        finalists: Params in the order in which they are drawn.
    """
    rows = [(params, runs) for params in finalists if (runs := roles.runs(params))]
    if len(rows) < 2:
        return None
    objective = roles.spec.objectives[0]
    with svg.drawing():
        pencil = Pencil(roles, 54 + 46 * len(rows))
        axes = pencil.figure.add_subplot()
        for row, (params, runs) in enumerate(rows):
            _draw_runs(pencil, axes, row, params, runs)
        axes.set(ylim=(len(rows) - 0.6, -0.9), yticks=[], xlabel=objective_axis(objective))
        axes.spines["left"].set_visible(False)
        svg.keep_grid(axes, "x")
        means = [f"{roles.describe(p)} {_mean_text(objective, runs)}" for p, runs in rows]
        return pencil.finish(
            name="finalists",
            title="The winner against the baseline, run by run",
            description=f"Mean {heading(objective.metric, objective.statistic)} of the fresh "
            f"runs: {'; '.join(means)}.",
        )


def _draw_runs(
    pencil: Pencil, axes: "Axes", row: int, params: Params, runs: Sequence[Trial]
) -> None:
    metric = pencil.roles.spec.objectives[0].metric
    values = [scaled(metric, run.values[0]) for run in runs]
    for run, value in zip(runs, values, strict=True):
        pencil.mark(axes, value, row, run, format_value(metric, run.values[0]))
    axes.plot([mean(values)] * 2, [row - 0.16, row + 0.16], color=svg.INK, linewidth=1.6)
    axes.annotate(
        svg.lines_of(pencil.roles.describe(params), 62),
        (0, row - 0.2),
        xycoords=("axes fraction", "data"),
        va="bottom",
        fontsize=9,
    )


def _mean_text(objective: Objective, runs: Sequence[Trial]) -> str:
    return format_value(objective.metric, mean([run.values[0] for run in runs]))


def draw_undo(flags: Sequence[FlagChange]) -> Drawing | None:
    """What undoing each flag costs, as bars with their intervals.

    Args:
        flags: Kept flags first.
    """
    shown = [(flag, flag.cost) for flag in flags if flag.cost is not None]
    if not shown:
        return None
    with svg.drawing():
        figure = svg.new_figure(48 + 36 * len(shown))
        axes = figure.add_subplot()
        for row, (flag, cost) in enumerate(shown):
            _draw_cost(axes, row, flag, cost)
        axes.axvline(0, color=svg.INK, linewidth=1)
        axes.set(
            ylim=(len(shown) - 0.4, -0.75),
            yticks=[],
            xlabel="what undoing it costs, % of the winner's objective",
        )
        axes.spines["left"].set_visible(False)
        svg.keep_grid(axes, "x")
        costs = [f"{flag.flag} {percent(cost.point)}" for flag, cost in shown]
        element = svg.to_svg(
            figure,
            name="undo",
            title="What undoing each flag costs",
            description=f"{'; '.join(costs)}.",
        )
        return Drawing(element)


def _draw_cost(axes: "Axes", row: int, flag: FlagChange, cost: Change) -> None:
    color = svg.WINNER if flag.is_kept else svg.HOLDS
    axes.barh(row, cost.point * 100, height=0.34, color=color)
    if cost.low is not None and cost.high is not None:
        axes.plot([cost.low * 100, cost.high * 100], [row, row], color=svg.INK, linewidth=1.4)
    axes.annotate(
        svg.label(flag_title(flag), 60),
        (0, row - 0.3),
        (4, 0),
        textcoords="offset points",
        fontsize=9,
    )


def flag_title(flag: FlagChange) -> str:
    """A flag's change in one line.

    >>> flag_title(FlagChange("threads", 1, None, True, None))
    'threads: default → 1'
    """
    return f"{flag.flag}: {spell_level(flag.baseline)} → {spell_level(flag.value)}"
