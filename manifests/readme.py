"""The answer for who browses the repository: a README.md that reads well on a Git host."""

from inference_autotuner.manifests.environment import render
from inference_autotuner.manifests.headline import headline, notes, serving_command
from inference_autotuner.manifests.proof_sections import comparison_parts, flags_part
from inference_autotuner.manifests.roles import Roles
from inference_autotuner.manifests.tables import Table
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.trial import Trial
from inference_autotuner.optimizer.verdict import Verdict


def render_readme(task: TuningTask, roles: Roles, verdict: Verdict, served: Trial | None) -> str:
    """A study's answer as Markdown.

    Args:
        task: The task.
        roles: Its trials.
        verdict: The answer.
        served: A trial with the params to serve with; None where there are none.
    """
    tables = [(part.title, part.table) for part in comparison_parts(roles, verdict)]
    if verdict.flags:
        tables.append(("Which flags matter", flags_part(verdict).table))
    return render(
        "README.md.j2",
        task=task.metadata.name,
        description=task.spec.description,
        kind=str(verdict.kind),
        sentence=verdict.summary,
        notes=notes(roles, verdict),
        tables=[(title, _rows(table)) for title, table in tables],
        command=serving_command(task, roles, served) if served else None,
        is_winner=verdict.has_winner,
        is_ome=task.spec.deployment.mode == "ome",
        headline=headline(task, roles),
    )


def _rows(table: Table) -> list[list[str]]:
    """Header and rows as text."""
    return [
        [column.title for column in table.columns],
        *([cell.text for cell in row] for row in table.rows),
    ]
