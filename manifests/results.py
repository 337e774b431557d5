"""Everything a person takes away from a study, as files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inference_autotuner.manifests.command import Word, closed_words, served_model, winning_launch
from inference_autotuner.manifests.headline import ended_title
from inference_autotuner.manifests.inference_service import (
    build_runner,
    render_inference_service,
    render_patch,
)
from inference_autotuner.manifests.kubernetes import render_deployment
from inference_autotuner.manifests.readme import render_readme
from inference_autotuner.manifests.report import render_report
from inference_autotuner.manifests.roles import Roles, build_roles, served_trial
from inference_autotuner.manifests.serve_script import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    render_serve_script,
)
from inference_autotuner.manifests.trials_csv import trials_csv
from inference_autotuner.manifests.verdict_yaml import verdict_yaml
from inference_autotuner.manifests.withhold import scrub, secrets_of
from inference_autotuner.optimizer.canonical import study_name
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.trial import Trial
from inference_autotuner.optimizer.verdict import Verdict

SERVING_FILES = ("serve.sh", "manifest.yaml", "patch.yaml")
"""Files that are there only where the verdict has params to serve with, and not in every mode."""


@dataclass(frozen=True)
class _Answer:
    """What all files are made from."""

    task: TuningTask
    roles: Roles
    verdict: Verdict
    study: str
    ended: str
    served: Trial | None


def result_files(
    task: TuningTask, trials: Sequence[Trial], verdict: Verdict, facts: Mapping[str, str]
) -> dict[str, str]:
    """Content by file name; the same input gives the same files.

    Args:
        task: The task.
        trials: Every trial so far, by number.
        verdict: The answer that they allow.
        facts: The machine and the versions of what ran, shown as they are.

    Returns:
        `report.html`, `verdict.yaml`, `trials.csv`, `README.md`, and where there are params to
        serve with, the winner's, else the baseline's: `manifest.yaml`, with `patch.yaml` in mode
        `ome` and `serve.sh` in the others.
    """
    roles = build_roles(task, trials, verdict)
    answer = _Answer(
        task=task,
        roles=roles,
        verdict=verdict,
        study=study_name(task),
        ended=ended_title(trials),
        served=served_trial(roles, verdict),
    )
    files = {
        "report.html": render_report(task, trials, verdict, facts),
        "verdict.yaml": _verdict_file(answer),
        "trials.csv": trials_csv(task.spec, trials),
        "README.md": render_readme(task, roles, verdict, answer.served),
        **(_serving_files(answer, answer.served) if answer.served else {}),
    }
    secrets = secrets_of(task)
    return {name: scrub(text, secrets) for name, text in files.items()}


def _verdict_file(answer: _Answer) -> str:
    return verdict_yaml(
        answer.task,
        answer.roles.space.engine,
        answer.verdict,
        study=answer.study,
        ended_s=max((t.ended_s for t in answer.roles.trials if t.ended_s), default=None),
        words=_words(answer, answer.served) if answer.served else (),
    )


def _words(answer: _Answer, served: Trial) -> Sequence[Word]:
    spec, engine = answer.task.spec, answer.roles.space.engine
    if spec.deployment.mode == "ome":
        return build_runner(spec, engine, served).args
    model = served_model(engine, spec, served)
    launch = winning_launch(spec, served.params, model=model, host=DEFAULT_HOST, port=DEFAULT_PORT)
    return closed_words(engine, spec, launch)


def _serving_files(answer: _Answer, served: Trial) -> dict[str, str]:
    sentence = f"{answer.verdict.kind}: {answer.verdict.summary}"
    if not answer.verdict.has_winner:
        sentence += " These are the baseline's flags."
    is_ome = answer.task.spec.deployment.mode == "ome"
    return (_ome_files if is_ome else _engine_files)(answer, served, sentence)


def _ome_files(answer: _Answer, served: Trial, sentence: str) -> dict[str, str]:
    """There is no program to start by hand: model and launch line are OME's."""
    task, engine, study = answer.task, answer.roles.space.engine, answer.study
    return {
        "manifest.yaml": render_inference_service(
            task, engine, served, study=study, sentence=sentence
        ),
        "patch.yaml": render_patch(task, engine, served, study=study, sentence=sentence),
    }


def _engine_files(answer: _Answer, served: Trial, sentence: str) -> dict[str, str]:
    task, engine, study = answer.task, answer.roles.space.engine, answer.study
    model = served_model(engine, task.spec, served)
    return {
        "serve.sh": render_serve_script(
            task,
            engine,
            served.params,
            study=study,
            sentence=sentence,
            date=answer.ended,
            model=model,
        ),
        "manifest.yaml": render_deployment(
            task, engine, served, study=study, sentence=sentence, model=model
        ),
    }
