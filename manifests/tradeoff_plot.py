"""Two metrics against one another: every measured trial, the limits, and what nothing beats."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inference_autotuner.manifests import svg
from inference_autotuner.manifests.pencil import (
    Drawing,
    Pencil,
    axis_title,
    plain_log_scale,
    scaled,
)
from inference_autotuner.manifests.roles import Roles, overall, worst
from inference_autotuner.manifests.wording import heading
from inference_autotuner.optimizer.goals import Slo
from inference_autotuner.optimizer.listing import format_value
from inference_autotuner.optimizer.metrics import Direction, Metric, Statistic
from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.optimizer.trial import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOG_FROM = 15.0  # a latency axis that spans more than this factor is drawn in powers of ten
_FRONT = "Nothing measured is better both ways than the dashed line."


@dataclass(frozen=True)
class Axis:
    """What one axis shows.

    Attributes:
        metric: The metric.
        statistic: Of a latency, its statistic.
        is_worst: Whether it is the longest of all points, as an SLO sees it, instead of the
            mean over all points, as an objective sees it.
    """

    metric: Metric
    statistic: Statistic | None = None
    is_worst: bool = False

    def value(self, spec: Spec, trial: Trial) -> float:
        """Where a measured trial is on it, in the project's unit."""
        if self.is_worst and self.metric.is_latency:
            return worst(trial, self.metric, self.statistic or Statistic.MEAN)
        return overall(spec, trial, self.metric, self.statistic)

    @property
    def title(self) -> str:
        """What is written beside it."""
        title = axis_title(self.metric, self.statistic)
        return f"{title}, worst point" if self.is_worst else title

    def tells(self, slo: Slo) -> bool:
        """Whether a limit can be drawn on it."""
        return (slo.metric, slo.statistic) == (self.metric, self.statistic)


def draw_tradeoff(roles: Roles, across: Axis, up: Axis, *, name: str) -> Drawing | None:
    """Each measured trial as a point."""
    trials = roles.measured
    if not trials:
        return None
    places = [
        tuple(scaled(axis.metric, axis.value(roles.spec, trial)) for axis in (across, up))
        for trial in trials
    ]
    front = pareto_front(places, across.metric.direction, up.metric.direction)
    with svg.drawing():
        pencil = Pencil(roles, 280)
        axes = pencil.figure.add_subplot()
        axes.plot(
            [x for x, _ in front],
            [y for _, y in front],
            color=svg.MUTED,
            linewidth=1,
            linestyle=(0, (4, 2)),
            zorder=1,
        )
        for trial, (x, y) in zip(trials, places, strict=True):
            pencil.mark(axes, x, y, trial, _tip(roles.spec, trial, across, up))
        _scale(axes, up, [y for _, y in places])
        for slo in roles.spec.slos:
            _draw_limit(axes, slo, across, up)
        axes.set(xlabel=across.title, ylabel=up.title)
        svg.keep_grid(axes, "both")
        return pencil.finish(
            name=name,
            title=f"{heading(up.metric, up.statistic)} against "
            f"{heading(across.metric, across.statistic)}",
            description=f"{len(trials)} measured trials, {len(front)} of them on the Pareto "
            "front. Their values are in the table of trials.",
            note=_FRONT if len(front) > 1 else "",
        )


def _tip(spec: Spec, trial: Trial, *axes: Axis) -> str:
    return ", ".join(
        f"{heading(axis.metric, axis.statistic)} "
        f"{format_value(axis.metric, axis.value(spec, trial))}"
        for axis in axes
    )


def _scale(axes: "Axes", up: Axis, heights: Sequence[float]) -> None:
    lowest = min(heights)
    if up.metric.is_latency and lowest > 0 and max(heights) / lowest > _LOG_FROM:
        plain_log_scale(axes)


def _draw_limit(axes: "Axes", slo: Slo, across: Axis, up: Axis) -> None:
    limit = scaled(slo.metric, slo.limit)
    line: dict[str, Any] = {"color": svg.MISSES, "linewidth": 1.2}
    text: dict[str, Any] = {
        "color": svg.MISSES,
        "fontsize": 9,
        "va": "bottom",
        "xytext": (0, 2),
        "textcoords": "offset points",
    }
    words = f"SLO {format_value(slo.metric, slo.limit)}"
    if up.tells(slo):
        axes.axhline(limit, **line)
        place = axes.get_yaxis_transform()
        axes.annotate(words, (1, limit), xycoords=place, ha="right", **text)
    elif across.tells(slo):
        axes.axvline(limit, **line)
        place = axes.get_xaxis_transform()
        axes.annotate(words, (limit, 0.01), xycoords=place, ha="left", **text)


def pareto_front(
    places: Sequence[tuple[float, ...]], across: Direction, up: Direction
) -> list[tuple[float, ...]]:
    """Places that no other beats both ways, from left to right.

    >>> pareto_front([(1, 5), (2, 7), (2, 6), (0.5, 9)], Direction.MAXIMIZE, Direction.MINIMIZE)
    [(1, 5), (2, 6)]
    """
    x_sign = -1 if across is Direction.MAXIMIZE else 1
    y_sign = -1 if up is Direction.MAXIMIZE else 1
    front: list[tuple[float, ...]] = []
    for place in sorted(places, key=lambda p: (x_sign * p[0], y_sign * p[1])):
        if not front or y_sign * place[1] < y_sign * front[-1][1]:
            front.append(place)
    return sorted(front)
