"""The pictures of the search: its progress, and which value of which flag helped."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from inference_autotuner.manifests import svg
from inference_autotuner.manifests.pencil import (
    Drawing,
    Pencil,
    objective_axis,
    scaled,
    whole_ticks,
)
from inference_autotuner.manifests.roles import Roles, has_numbers
from inference_autotuner.manifests.wording import spell_level
from inference_autotuner.optimizer.goals import Objective
from inference_autotuner.optimizer.listing import format_value
from inference_autotuner.optimizer.metrics import Direction
from inference_autotuner.optimizer.trial import Trial, TrialState

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FLAGS_SHOWN = 6


def draw_progress(roles: Roles) -> Drawing | None:
    """The deciding objective by trial number, with the best so far."""
    trials = [t for t in roles.explored if t.state is not TrialState.RUNNING]
    measured = [t for t in trials if has_numbers(t)]
    if not measured:
        return None
    objective = roles.spec.objectives[0]
    with svg.drawing():
        pencil = Pencil(roles, 250)
        axes = pencil.figure.add_subplot()
        for trial in trials:
            pencil.mark_objective(axes, trial.number, trial)
        best = running_best(measured, objective.metric.direction)
        if best:
            last = trials[-1].number
            steps = [*best, (last, best[-1][1])]
            xs, ys = zip(*((n, scaled(objective.metric, v)) for n, v in steps), strict=True)
            axes.plot(xs, ys, drawstyle="steps-post", color=svg.WINNER, linewidth=1.4, zorder=2)
        for run in [t for t in measured if roles.is_of(t, roles.baseline)][:1]:
            axes.axhline(
                scaled(objective.metric, run.values[0]),
                color=svg.BASELINE,
                linestyle=(0, (4, 2)),
                linewidth=1,
            )
        axes.set(xlabel="trial", ylabel=objective_axis(objective))
        whole_ticks(axes)
        svg.keep_grid(axes, "y")
        return pencil.finish(
            name="progress",
            title="Progress of the search",
            description=_progress_description(objective, trials, best),
        )


def running_best(measured: Sequence[Trial], direction: Direction) -> list[tuple[int, float]]:
    """Trial numbers at which the best value that holds every SLO improved, with that value."""
    best: list[tuple[int, float]] = []
    for trial in (t for t in measured if t.holds_slos):
        value = trial.values[0]
        is_maximized = direction is Direction.MAXIMIZE
        if not best or (value > best[-1][1] if is_maximized else value < best[-1][1]):
            best.append((trial.number, value))
    return best


def _progress_description(
    objective: Objective, trials: Sequence[Trial], best: Sequence[tuple[int, float]]
) -> str:
    if not best:
        return f"{len(trials)} trials; none that was measured holds every SLO."
    number, value = best[-1]
    return (
        f"{len(trials)} trials. The best single measurement that holds every SLO is "
        f"{format_value(objective.metric, value)} at trial {number}."
    )


def draw_flags(roles: Roles) -> Drawing | None:
    """The deciding objective by the value of each flag, a small picture for each."""
    trials = [t for t in roles.explored if t.state is not TrialState.RUNNING]
    measured = [t for t in trials if has_numbers(t)]
    flags = influential_flags(measured)
    if not flags:
        return None
    with svg.drawing():
        rows = (len(flags) + 1) // 2
        pencil = Pencil(roles, 40 + 150 * rows)
        grid = pencil.figure.subplots(rows, min(len(flags), 2), sharey=True, squeeze=False)
        for index, axes in enumerate(grid.flat):
            if index >= len(flags):
                axes.remove()
                continue
            _draw_flag(pencil, axes, flags[index], trials)
        pencil.figure.supylabel(
            objective_axis(roles.spec.objectives[0]), color=svg.MUTED, fontsize=10
        )
        return pencil.finish(
            name="flags",
            title="The objective by the value of each flag",
            description=f"Flags {', '.join(flags)}, in the order of how far the middle trial "
            "of each value lies apart.",
        )


def _draw_flag(pencil: Pencil, axes: "Axes", flag: str, trials: Sequence[Trial]) -> None:
    values = ordered_values([trial.params.get(flag) for trial in trials])
    for trial in trials:
        position = values.index(spell_level(trial.params.get(flag)))
        # Trials with the same value stand beside one another, not on top.
        nudge = (trial.number * 7 % 11 - 5) / 45
        pencil.mark_objective(axes, position + nudge, trial)
    shown = range(0, len(values), -(-len(values) // 6))
    axes.set_xticks(list(shown), [svg.label(_short(values[i]), 9) for i in shown], fontsize=9)
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.set_title(svg.label(flag, 28), fontsize=10, loc="left", color=svg.INK)
    svg.keep_grid(axes, "y")


def influential_flags(measured: Sequence[Trial]) -> list[str]:
    """Flags that were tried with several values, by how much their values differ.

    A picture's order, not a proof: the verdict rests on the undo trials.
    """
    names = dict.fromkeys(name for trial in measured for name in trial.params)
    spread = {name: _spread(measured, name) for name in names}
    ordered = sorted(names, key=lambda name: -spread[name])
    return [name for name in ordered if spread[name] > 0][:FLAGS_SHOWN]


def _spread(measured: Sequence[Trial], flag: str) -> float:
    groups: dict[str, list[float]] = {}
    for trial in measured:
        groups.setdefault(spell_level(trial.params.get(flag)), []).append(trial.values[0])
    middles = [sorted(group)[len(group) // 2] for group in groups.values()]
    return max(middles, default=0) - min(middles, default=0)


def ordered_values(values: Sequence[object]) -> list[str]:
    """Distinct values as text: the default first, numbers by size, then words.

    >>> ordered_values([16, 4, None, 16, "auto"])
    ['default', '4', '16', 'auto']
    """

    def rank(value: object) -> tuple[int, float, str]:
        if value is None:
            return 0, 0.0, ""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return (1, float(str(value)), "") if is_number else (2, 0.0, spell_level(value))

    return list(dict.fromkeys(spell_level(value) for value in sorted(values, key=rank)))


def _short(value: str) -> str:
    """A value that fits under an axis.

    >>> _short("16000000"), _short("4096"), _short("auto")
    ('16M', '4096', 'auto')
    """
    is_large = value.isdecimal() and len(value) > 6
    return f"{int(value) / 1e6:.4g}M" if is_large else value
