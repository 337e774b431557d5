"""Studies as rows and lines: what the commands print, and nothing decided here."""

from typing import TYPE_CHECKING, Any

import click

from inference_autotuner.optimizer.listing import (
    TrialRow,
    best_trial,
    count_states,
    format_value,
    objective_heading,
    trial_row,
)
from inference_autotuner.optimizer.study import Study, load_study, study_names
from inference_autotuner.optimizer.trial import describe_params
from inference_autotuner.workflows.results import stored_verdict
from inference_autotuner.workflows.run_lock import runner_of

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def study_rows(storage: "BaseStorage") -> list[dict[str, Any]]:
    """Every study as a row, oldest first."""
    return [study_row(load_study(storage, name)) for name in study_names(storage)]


def study_row(study: Study) -> dict[str, Any]:
    """One study as a row: phase, counts, best so far, verdict."""
    trials = study.trials()
    best = best_trial(study.task.spec, trials)
    verdict = stored_verdict(study)
    return {
        "study": study.name,
        "phase": phase_of(study),
        "engine": study.space.engine.title,
        "trials": len(trials),
        "states": count_states(trials),
        "objective": objective_heading(study.task.spec),
        "best": None if best is None else _best(study, best.number),
        "verdict": verdict.kind if verdict else None,
        "summary": verdict.summary if verdict else None,
        "gpu_hours": round(sum(trial.gpu_seconds for trial in trials) / 3600, 3),
    }


def phase_of(study: Study) -> str:
    """`running`, `finished`, `stopped`, or `interrupted` when its process is gone."""
    phase = str(study.attribute("phase") or "running")
    if phase == "running" and runner_of(study.name) is None:
        return "interrupted"
    return phase


def _best(study: Study, number: int) -> str:
    trial = study.trial(number)
    metric = study.task.spec.objectives[0].metric
    params = describe_params(trial.params, study.space.baseline)
    return f"{format_value(metric, trial.values[0])} with {params}"


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
