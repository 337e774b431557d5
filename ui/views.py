"""Studies as rows and lines: what the commands print, and nothing decided here."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from inference_autotuner.manifests.roles import build_roles, proven_value
from inference_autotuner.optimizer.canonical import study_name
from inference_autotuner.optimizer.errors import StudyError
from inference_autotuner.optimizer.forecast import forecast
from inference_autotuner.optimizer.listing import (
    TrialRow,
    best_trial,
    count_states,
    format_value,
    objective_heading,
    trial_row,
)
from inference_autotuner.optimizer.space import build_space
from inference_autotuner.optimizer.study import Study, load_study, study_names
from inference_autotuner.optimizer.trial import Params, Trial, describe_params, spell
from inference_autotuner.optimizer.units import spoken_duration
from inference_autotuner.optimizer.verdict import Verdict
from inference_autotuner.workflows.results import stored_verdict
from inference_autotuner.workflows.run_lock import runner_of

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from inference_autotuner.optimizer.spec import TuningTask


def study_rows(storage: "BaseStorage") -> list[dict[str, Any]]:
    """Every study as a row, oldest first."""
    return [_row_of(storage, name) for name in study_names(storage)]


def _row_of(storage: "BaseStorage", name: str) -> dict[str, Any]:
    """A study's row; one of another program or version hides no other study."""
    try:
        return study_row(load_study(storage, name))
    except StudyError as error:
        nothing = dict.fromkeys(("engine", "trials", "states", "objective", "best", "verdict"))
        return {
            "study": name,
            "phase": "unreadable",
            **nothing,
            "summary": str(error),
            "gpu_hours": None,
        }


def study_row(study: Study) -> dict[str, Any]:
    """One study as a row: phase, counts, best so far, verdict."""
    trials = study.trials()
    verdict = stored_verdict(study)
    phase = phase_of(study)
    return {
        "study": study.name,
        "phase": phase,
        "engine": study.space.engine.title,
        "trials": len(trials),
        "states": count_states(trials),
        "objective": objective_heading(study.task.spec),
        "best": _proven(study, trials, verdict)
        if phase == "finished" and verdict
        else _best_so_far(study, trials),
        "verdict": verdict.kind if verdict else None,
        "summary": verdict.summary if verdict else None,
        "gpu_hours": round(sum(trial.gpu_seconds for trial in trials) / 3600, 3),
    }


def phase_of(study: Study) -> str:
    """`running`, `finished`, `stopped`, or `interrupted` when its process is gone.

    A study on a cluster is settled by its sweep or the janitor: what is stored is so.
    """
    phase = str(study.attribute("phase") or "running")
    if study.attribute("workflow"):
        return phase
    if phase == "running" and runner_of(study.name) is None:
        return "interrupted"
    return phase


def _proven(study: Study, trials: Sequence[Trial], verdict: Verdict) -> str | None:
    """What the verdict rests on, for one lucky run may have looked better."""
    value = proven_value(build_roles(study.task, trials, verdict), verdict)
    if value is None or verdict.params is None:
        return None
    return _value_with(study, value, verdict.params)


def _best_so_far(study: Study, trials: Sequence[Trial]) -> str | None:
    best = best_trial(study.task.spec, trials)
    return None if best is None else _value_with(study, best.values[0], best.params)


def _value_with(study: Study, value: float, params: Params) -> str:
    metric = study.task.spec.objectives[0].metric
    return f"{format_value(metric, value)} with {describe_params(params, study.space.baseline)}"


def trial_rows(study: Study) -> list[TrialRow]:
    """Every trial as a row."""
    return [trial_row(study.task.spec, t, study.space.baseline) for t in study.trials()]


def print_study(study: Study) -> None:
    """A study as `autotuner run` showed it."""
    from inference_autotuner.ui.progress import header_lines, trial_line

    row = study_row(study)
    for line in header_lines(study):
        click.secho(line, bold=True)
    for trial in study.trials():
        click.echo(trial_line(study, trial))
    counts = ", ".join(f"{count} {state}" for state, count in row["states"].items())
    click.echo(f"{row['phase']}: {counts or 'no trial yet'}; {row['gpu_hours']} GPU-hours")
    if row["verdict"]:
        click.secho(f"{row['verdict']}: {row['summary']}", bold=True)
    elif row["best"]:
        click.echo(f"Best so far: {row['objective']} {row['best']} (one run, not confirmed)")


def plan_value(task: "TuningTask", storage: "BaseStorage") -> dict[str, Any]:
    """What a task would try and cost."""
    space = build_space(task.spec)
    name = study_name(task)
    known = load_study(storage, name).trials() if name in study_names(storage) else []
    baseline = space.engine.render(space.args(space.baseline))
    return {
        "study": name,
        "trials_so_far": len(known),
        "engine": space.engine.title,
        "baseline_args": " ".join(baseline),
        "parameters": {p.name: list(p.values) for p in space.parameters},
        "conditions": {p.name: p.when for p in space.parameters if p.when},
        "size": space.size,
        **asdict(forecast(space, known)),
    }


def print_plan(value: dict[str, Any]) -> None:
    """A plan for a person."""
    click.secho(f"Study {value['study']} · {value['engine']}", bold=True)
    click.echo(f"Baseline: {value['baseline_args'] or 'the defaults of the engine'}")
    for name, values in value["parameters"].items():
        when = value["conditions"].get(name)
        click.echo(f"  {name:<28} {_spelled(values)}{f'   when {when}' if when else ''}")
    many = "at least " if value["combinations"] == value["explored"] else ""
    click.echo(
        f"{value['size']} combinations before constraints; {many}{value['combinations']} can run "
        "beside the baseline."
    )
    click.echo(
        f"Trials: {value['explored']} explore, then about {value['proof']} prove the answer."
    )
    click.echo(
        f"Cost at the most: {spoken_duration(value['trial_most_s'])} a trial, "
        f"{spoken_duration(value['most_s'])} in all, {value['most_gpu_hours']:.1f} GPU-hours "
        f"({value['gpus']} GPUs a trial)."
    )
    if value["usual_s"]:
        trials = value["explored"] + value["proof"] - value["trials_so_far"]
        click.echo(f"Measured so far: {spoken_duration(value['usual_s'])} a trial; {trials} to go.")


def _spelled(values: list[Any], limit: int = 8) -> str:
    shown = ", ".join(str(spell(value)) for value in values[:limit])
    return shown if len(values) <= limit else f"{shown}, … {spell(values[-1])}"


def comparison(
    storage: "BaseStorage", names: tuple[str, ...]
) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Studies side by side: a row a fact, a column a study."""
    from inference_autotuner.manifests.compare import ComparedStudy, compare
    from inference_autotuner.optimizer.judgment import decide

    found = [load_study(storage, name) for name in names]
    studies = [
        ComparedStudy(study.name, study.task, study.trials(), decide(study.space, study.trials()))
        for study in found
    ]
    return compare(studies), {"what": "WHAT"} | {study.name: study.name for study in studies}
