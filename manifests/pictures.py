"""The report's figures with their captions; each list is empty where there is nothing to draw."""

from collections.abc import Sequence

from inference_autotuner.manifests.pencil import Drawing
from inference_autotuner.manifests.plots import draw_finalists, draw_undo
from inference_autotuner.manifests.report_view import Picture
from inference_autotuner.manifests.roles import Role, Roles
from inference_autotuner.manifests.search_plots import draw_flags, draw_progress
from inference_autotuner.manifests.tradeoff_plot import Axis, draw_tradeoff
from inference_autotuner.manifests.wording import better_word, heading
from inference_autotuner.optimizer.listing import latency_shown
from inference_autotuner.optimizer.metrics import Metric
from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.optimizer.trial import Params, TrialState
from inference_autotuner.optimizer.verdict import FlagChange

_TRADEOFFS_SHOWN = 3
_GLYPHS = {
    Role.WINNER: "★",
    Role.BASELINE: "◆",
    Role.HOLDS: "●",
    Role.MISSES: "○",
    Role.INFEASIBLE: "×",
    Role.FAILED: "+",
}
_POINT_AT = "Point at a mark for its params."


def runs_picture(roles: Roles, finalists: Sequence[Params]) -> list[Picture]:
    """The fresh runs of the baseline and the finalists."""
    drawn = draw_finalists(roles, finalists)
    objective = roles.spec.objectives[0]
    caption = (
        f"Each mark is one run on a fresh server, each line the mean of its row; "
        f"{better_word(objective.metric.direction)}. {_POINT_AT}"
    )
    return _picture(roles.spec, "Run by run", caption, drawn)


def undo_picture(spec: Spec, flags: Sequence[FlagChange]) -> list[Picture]:
    """The undo tests."""
    caption = (
        "Each bar is how much worse the objective gets when this flag alone goes back to the "
        "baseline, the line through it the 95 % interval."
    )
    return _picture(spec, "What undoing each flag costs", caption, draw_undo(flags))


def tradeoff_pictures(roles: Roles) -> list[Picture]:
    """Latency against throughput, and every further objective against the first."""
    pictures = []
    for number, (across, up) in enumerate(_pairs(roles)[:_TRADEOFFS_SHOWN]):
        title = (
            f"{heading(up.metric, up.statistic)} against {heading(across.metric, across.statistic)}"
        )
        drawn = draw_tradeoff(roles, across, up, name=f"tradeoff{number or ''}")
        pictures += _picture(roles.spec, title, f"{_tradeoff_caption(roles)} {_POINT_AT}", drawn)
    return pictures


def _pairs(roles: Roles) -> list[tuple[Axis, Axis]]:
    objectives = [Axis(o.metric, o.statistic) for o in roles.spec.objectives]
    rates = [axis for axis in objectives if not axis.metric.is_latency]
    throughput = rates[0] if rates else Axis(Metric.OUTPUT_THROUGHPUT)
    pairs = [(throughput, Axis(*latency_shown(roles.spec), is_worst=True))]
    pairs += [(objectives[0], other) for other in objectives[1:]]
    return list(dict.fromkeys(pairs))


def _tradeoff_caption(roles: Roles) -> str:
    states = [trial.state for trial in roles.trials]
    absent = [
        f"{states.count(state)} {state}"
        for state in (TrialState.INFEASIBLE, TrialState.FAILED, TrialState.RUNNING)
        if state in states
    ]
    missing = f" Without a place here: {', '.join(absent)}." if absent else ""
    limits = " Beyond the red line an SLO is missed." if roles.spec.slos else ""
    return f"Every measured trial.{limits}{missing}"


def progress_picture(roles: Roles) -> list[Picture]:
    """The search, trial by trial."""
    caption = (
        "Explored trials in order, and the best so far that holds every SLO; the dashed line is "
        "the baseline. A cross on the axis is a trial without a measurement. " + _POINT_AT
    )
    return _picture(roles.spec, "Progress of the search", caption, draw_progress(roles))


def flags_picture(roles: Roles) -> list[Picture]:
    """Which value of which flag helped."""
    caption = (
        "Each explored trial at the value that it had; other flags differ too. "
        "What the verdict rests on are the undo tests, not this picture."
    )
    return _picture(roles.spec, "Which value helped", caption, draw_flags(roles))


def _picture(spec: Spec, title: str, caption: str, drawn: Drawing | None) -> list[Picture]:
    if drawn is None:
        return []
    legend = [(_GLYPHS[role], role.name.lower(), _meaning(spec, role)) for role in drawn.roles]
    return [Picture(title, f"{caption} {drawn.note}".strip(), drawn.svg, legend)]


def _meaning(spec: Spec, role: Role) -> str:
    """Without SLOs there is none to hold."""
    return "measured" if role is Role.HOLDS and not spec.slos else str(role)
