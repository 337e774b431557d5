"""The report: one HTML file that opens offline, with the verdict first."""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence

from inference_autotuner.manifests.environment import html, render
from inference_autotuner.manifests.headline import headline, notes, use_section
from inference_autotuner.manifests.proof_sections import (
    comparison_section,
    flags_section,
    nearest_section,
    points_section,
)
from inference_autotuner.manifests.report_view import ReportView, Section
from inference_autotuner.manifests.roles import Roles, build_roles
from inference_autotuner.manifests.search_sections import (
    cost_section,
    environment_section,
    reproduce_section,
    search_section,
    task_section,
    trials_section,
)
from inference_autotuner.manifests.withhold import scrub, secrets_of
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.trial import Trial
from inference_autotuner.optimizer.verdict import Verdict, VerdictKind

_TONES = {
    VerdictKind.BETTER: "better",
    VerdictKind.INCONCLUSIVE: "inconclusive",
    VerdictKind.KEEP_CURRENT: "keep",
    VerdictKind.NOTHING_FEASIBLE: "nothing",
}


def render_report(
    task: TuningTask, trials: Sequence[Trial], verdict: Verdict, facts: Mapping[str, str]
) -> str:
    """A study's report as HTML, the same bytes for the same input.

    Args:
        task: The task.
        trials: Every trial so far, by number.
        verdict: The answer that they allow.
        facts: The machine and the versions of what ran, shown as they are.
    """
    roles = build_roles(task, trials, verdict)
    view = ReportView(
        task=task.metadata.name,
        description=task.spec.description,
        kind=str(verdict.kind),
        tone=_TONES[verdict.kind],
        sentence=verdict.summary,
        notes=notes(roles, verdict),
        headline=headline(task, roles),
        sections=[s for s in _sections(task, roles, verdict, facts) if not s.is_empty],
    )
    script = render("report.js.j2")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = render(
        "report.html.j2",
        view=view,
        style=render("report.css.j2"),
        script=script,
        script_hash=digest,
    )
    secrets = secrets_of(task)
    return scrub(page, [*secrets, *map(html, secrets)]).encode(errors="replace").decode()


def _sections(
    task: TuningTask, roles: Roles, verdict: Verdict, facts: Mapping[str, str]
) -> Iterator[Section]:
    yield use_section(task, roles, verdict)
    yield nearest_section(roles, verdict)
    yield comparison_section(roles, verdict)
    yield flags_section(roles, verdict)
    yield points_section(roles, verdict)
    yield search_section(roles, verdict)
    yield trials_section(roles)
    yield cost_section(roles.trials)
    yield environment_section(task, roles, facts)
    yield task_section(task)
    yield reproduce_section(task)
