"""Studies side by side: in what they differ, and what came out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from inference_autotuner.manifests.roles import Roles, build_roles, mean
from inference_autotuner.manifests.withhold import without_secrets
from inference_autotuner.manifests.wording import bounds, heading, spell_level
from inference_autotuner.optimizer.listing import format_value, percent
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.trial import Trial
from inference_autotuner.optimizer.verdict import Verdict

_SETTINGS = ("model", "engine", "deployment", "workload", "objectives", "slos", "search", "budget")


@dataclass(frozen=True)
class ComparedStudy:
    """A study that has an answer.

    Attributes:
        name: Study name.
        task: Its task.
        trials: Its trials, by number.
        verdict: The answer that they allow.
    """

    name: str
    task: TuningTask
    trials: Sequence[Trial]
    verdict: Verdict


def compare(studies: Sequence[ComparedStudy]) -> list[dict[str, str]]:
    """A row for each fact: `what`, and the fact by study name, a dash where there is none.

    First the settings of the tasks in which they differ, then verdicts, params, the objective in
    the fresh runs, and SLO margins.
    """
    settings = {study.name: dict(_settings(study)) for study in studies}
    results = {study.name: dict(_results(study)) for study in studies}
    differing = [row for row in _rows(settings) if len({*_facts(row)}) > 1]
    return differing + _rows(results)


def _rows(facts: dict[str, dict[str, str]]) -> list[dict[str, str]]:
    names = dict.fromkeys(what for found in facts.values() for what in found)
    return [
        {"what": what, **{name: found.get(what, "–") for name, found in facts.items()}}
        for what in names
    ]


def _facts(row: dict[str, str]) -> list[str]:
    return [fact for name, fact in row.items() if name != "what"]


def _settings(study: ComparedStudy) -> Iterator[tuple[str, str]]:
    spec = without_secrets(study.task).spec.model_dump(mode="json")
    for part in _SETTINGS:
        yield from _flat(part, spec[part])
    for flag, parameter in study.task.spec.parameters.items():
        values = ", ".join(map(spell_level, parameter.expanded()))
        yield f"parameters.{flag}", f"{values} when {parameter.when}" if parameter.when else values


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(f"{path}.{name}", inner)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, inner in enumerate(value):
            yield from _flat(f"{path}[{number}]", inner)
    elif isinstance(value, list):
        yield path, ", ".join(map(spell_level, value))
    elif value is not None:
        yield path, spell_level(value)


def _results(study: ComparedStudy) -> Iterator[tuple[str, str]]:
    roles = build_roles(study.task, study.trials, study.verdict)
    yield "verdict", str(study.verdict.kind)
    yield "trials", str(len(study.trials))
    if study.verdict.params is not None:
        yield "params", roles.describe(study.verdict.params)
        yield from _objectives(roles, study.verdict)
    yield "better than the baseline", _gain(study.verdict)
    for margin in study.verdict.margins:
        yield f"left of {margin.slo}", percent(margin.margin).removeprefix("+")


def _objectives(roles: Roles, verdict: Verdict) -> Iterator[tuple[str, str]]:
    runs = roles.runs(verdict.params) if verdict.params is not None else []
    for index, objective in enumerate(roles.spec.objectives):
        if runs:
            value = mean([run.values[index] for run in runs])
            yield (
                heading(objective.metric, objective.statistic),
                format_value(objective.metric, value),
            )


def _gain(verdict: Verdict) -> str:
    if verdict.gain is None:
        return "–"
    return f"{percent(verdict.gain.point)} ({bounds(verdict.gain)})"
