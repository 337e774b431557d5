"""What every picture of trials shares: marks, tips, legend, axes in units for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inference_autotuner.manifests import svg
from inference_autotuner.manifests.roles import Role, Roles, has_numbers
from inference_autotuner.manifests.wording import better_word, heading
from inference_autotuner.optimizer.goals import Objective
from inference_autotuner.optimizer.listing import format_value
from inference_autotuner.optimizer.metrics import Metric, Statistic
from inference_autotuner.optimizer.trial import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS: Mapping[Role, Mapping[str, Any]] = {
    Role.WINNER: {"marker": "*", "color": svg.WINNER, "markersize": 11, "zorder": 5},
    Role.BASELINE: {"marker": "D", "color": svg.BASELINE, "markersize": 6, "zorder": 4},
    Role.HOLDS: {
        "marker": "o",
        "color": svg.HOLDS,
        "markeredgecolor": svg.PAGE,
        "markersize": 7,
        "zorder": 3,
    },
    Role.MISSES: {
        "marker": "o",
        "color": svg.MISSES,
        "markerfacecolor": "none",
        "markeredgewidth": 1.1,
        "zorder": 3,
    },
    Role.INFEASIBLE: {"marker": "x", "color": svg.MISSES, "markeredgewidth": 1.1, "clip_on": False},
    Role.FAILED: {"marker": "+", "color": svg.MUTED, "markersize": 8, "clip_on": False},
}


@dataclass(frozen=True)
class Drawing:
    """An `<svg>` element, the roles whose marks are in it, and what else a reader must know."""

    svg: str
    roles: tuple[Role, ...] = ()
    note: str = ""


class Pencil:
    """Draws trials into one figure and remembers their tips and which roles were drawn."""

    def __init__(self, roles: Roles, height_pt: float) -> None:
        self.roles = roles
        self.figure: Figure = svg.new_figure(height_pt)
        self.tips: list[str] = []
        self._drawn: set[Role] = set()

    def mark(self, axes: "Axes", x: float, y: float, trial: Trial, text: str, **style: Any) -> None:
        """One trial as a point, with its number, params and `text` under the pointer."""
        role = self.roles.role(trial)
        self._drawn.add(role)
        tip = f"#{trial.number} {self.roles.describe(trial.params)}: {text}"
        axes.plot(
            [x],
            [y],
            linestyle="none",
            gid=svg.tip_id(len(self.tips)),
            **{**_MARKERS[role], **style},
        )
        self.tips.append(tip)

    def mark_objective(self, axes: "Axes", x: float, trial: Trial) -> None:
        """A measured trial at its deciding objective, any other as a mark on the axis."""
        metric = self.roles.spec.objectives[0].metric
        if has_numbers(trial):
            value = trial.values[0]
            self.mark(axes, x, scaled(metric, value), trial, format_value(metric, value))
        else:
            text = f"{trial.state} {trial.reason or ''}"
            self.mark(axes, x, 0.0, trial, text, transform=axes.get_xaxis_transform())

    @property
    def roles_drawn(self) -> tuple[Role, ...]:
        """Which marks there are, in the order of a legend."""
        return tuple(role for role in Role if role in self._drawn)

    def finish(self, *, name: str, title: str, description: str, note: str = "") -> Drawing:
        """The figure as an element."""
        element = svg.to_svg(
            self.figure, name=name, title=title, description=description, tips=self.tips
        )
        return Drawing(element, self.roles_drawn, note)


def scaled(metric: Metric, value: float) -> float:
    """A value in the unit of its axis: milliseconds for latencies."""
    return value * 1000 if metric.is_latency else value


def axis_title(metric: Metric, statistic: Statistic | None) -> str:
    """A metric with the unit of its axis.

    >>> axis_title(Metric.TTFT, Statistic.P99)
    'ttft p99, ms'
    """
    return heading(metric, statistic) + (", ms" if metric.is_latency else "")


def objective_axis(objective: Objective) -> str:
    """The axis of an objective, with the direction that is good."""
    title = axis_title(objective.metric, objective.statistic)
    return f"{title} ({better_word(objective.metric.direction)})"


def plain_log_scale(axes: "Axes") -> None:
    """Powers of ten upwards, labelled with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def whole_ticks(axes: "Axes") -> None:
    """Trial numbers have no halves."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
