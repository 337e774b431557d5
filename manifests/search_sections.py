"""The sections of a report that tell what was done: search, trials, cost, machine, task."""

import json
from collections.abc import Mapping, Sequence

from inference_autotuner.manifests.headline import engine_version
from inference_autotuner.manifests.pictures import flags_picture, progress_picture
from inference_autotuner.manifests.report_view import Part, Section
from inference_autotuner.manifests.roles import Roles
from inference_autotuner.manifests.tables import (
    Cell,
    Column,
    Table,
    busy_and_wall_s,
    cost_table,
    trials_table,
)
from inference_autotuner.manifests.withhold import without_secrets
from inference_autotuner.manifests.wording import hours
from inference_autotuner.optimizer.canonical import study_name, to_yaml
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.trial import Trial
from inference_autotuner.optimizer.units import spoken_duration
from inference_autotuner.optimizer.verdict import Verdict


def search_section(roles: Roles, verdict: Verdict) -> Section:
    """How the search went, and why trials have no score."""
    parts = [_reasons_part(roles, verdict.reasons)] if verdict.reasons else []
    return Section(
        "The search", parts=parts, pictures=progress_picture(roles) + flags_picture(roles)
    )


def _reasons_part(roles: Roles, reasons: Mapping[str, int]) -> Part:
    columns = (Column("reason"), Column("trials", is_number=True), Column("such as", is_wide=True))
    messages = {str(t.reason): t.message for t in reversed(roles.trials) if t.reason}
    rows = [
        (Cell(reason), Cell(str(count), count), Cell(messages.get(reason, "")))
        for reason, count in reasons.items()
    ]
    return Part(Table(columns, tuple(rows)), "Why trials have no score")


def trials_section(roles: Roles) -> Section:
    """Every trial."""
    if not roles.trials:
        return Section("Every trial", texts=["No trial was started."])
    return Section("Every trial", parts=[Part(trials_table(roles), css="trials")])


def cost_section(trials: Sequence[Trial]) -> Section:
    """How long it took and what it cost."""
    if not trials:
        return Section("")
    busy_s, wall_s = busy_and_wall_s(trials)
    gpu_s = sum(trial.gpu_seconds for trial in trials)
    text = (
        f"From the first start to the last end {spoken_duration(wall_s)}; for "
        f"{spoken_duration(max(0.0, wall_s - busy_s))} of them no trial ran. "
        + (f"GPU-hours: {hours(gpu_s)}." if gpu_s else "No GPU was used.")
    )
    return Section("What it took", texts=[text], parts=[Part(cost_table(trials))])


def environment_section(task: TuningTask, roles: Roles, facts: Mapping[str, str]) -> Section:
    """Where it was measured, and what the engine said of its configuration."""
    rows = {roles.space.engine.title: engine_version(task, roles), **facts}
    parts = [Part(_pairs_table("what", "value", rows))]
    if told := _resolved(roles):
        table = _pairs_table("setting", "value", told)
        parts.append(Part(table, "What the engine said of its configuration"))
    return Section("Environment", parts=parts)


def _resolved(roles: Roles) -> Mapping[str, str]:
    """Of the answer's latest run, else of the baseline's."""
    told = [*roles.runs(roles.baseline)]
    told += roles.runs(roles.winner) if roles.winner is not None else []
    settings = [trial.resolved for trial in told if trial.resolved]
    return {name: _plain(value) for name, value in settings[-1].items()} if settings else {}


def task_section(task: TuningTask) -> Section:
    """The task, without its secrets."""
    return Section("The task", code=to_yaml(without_secrets(task)))


def reproduce_section(task: TuningTask) -> Section:
    """The commands that give the same again."""
    return Section(
        "How to reproduce",
        texts=[
            "Save the task above as task.yaml, with its model where it says, and run the first "
            "line. Where this study was made, the second line writes this report again."
        ],
        code=f"autotuner run task.yaml\nautotuner report {study_name(task)}",
    )


def _pairs_table(name: str, value: str, rows: Mapping[str, str]) -> Table:
    cells = tuple((Cell(left), Cell(right)) for left, right in rows.items())
    return Table((Column(name), Column(value, is_wide=True)), cells)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
