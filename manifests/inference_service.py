"""The winner for OME: an InferenceService, and a patch for one that exists already."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inference_autotuner.manifests.command import secret_variable, secret_variables
from inference_autotuner.manifests.environment import render
from inference_autotuner.manifests.kubernetes import (
    EnvironmentVariable,
    literal,
    named_variables,
    secret_name,
)
from inference_autotuner.manifests.withhold import is_secret
from inference_autotuner.optimizer.engine import Engine
from inference_autotuner.optimizer.flags import Args
from inference_autotuner.optimizer.spec import Spec, TuningTask
from inference_autotuner.optimizer.trial import Trial

RUNNER = "ome_runner"
"""Under which a trial's `resolved` has the name of its container."""
_USUAL_RUNNER = "ome-container"
_GPU = "nvidia.com/gpu"
_FLAG = re.compile(r"--?([A-Za-z][\w.-]*)")
_JOINED = re.compile(r"(--?([A-Za-z][\w.-]*)=)(.*)", re.S)


@dataclass(frozen=True)
class Runner:
    """The engine's container in an InferenceService.

    Attributes:
        name: Its name.
        is_named: Whether the study says that name.
        args: Its `args` as a manifest has them: `$(NAME)` is a variable, `$$` a dollar sign.
        is_recorded: Whether these are what a trial was sent.
        variables: Its environment.
    """

    name: str
    is_named: bool
    args: tuple[str, ...]
    is_recorded: bool
    variables: tuple[EnvironmentVariable, ...]


def build_runner(spec: Spec, engine: Engine, trial: Trial) -> Runner:
    """The container of a trial: what OME was sent, else the flags alone."""
    flags = flag_words(engine, spec, {**spec.engine.args, **trial.params})
    args, withheld = _without_secrets(trial.engine_args or flags)
    name = trial.resolved.get(RUNNER)
    variables = named_variables(spec, {**engine.environment, **spec.engine.env})
    known = {variable.name for variable in variables}
    added = [EnvironmentVariable(n, secret_key=n) for n in withheld if n not in known]
    return Runner(
        name=name or _USUAL_RUNNER,
        is_named=name is not None,
        args=tuple(args),
        is_recorded=bool(trial.engine_args),
        variables=(*variables, *added),
    )


def flag_words(engine: Engine, spec: Spec, args: Args) -> list[str]:
    """Flags as a container's `args`; secrets of the task come from its environment."""
    variables = secret_variables(spec)
    references = {name: f"$({variable.name})" for name, variable in variables.items()}
    words = engine.render({**args, **references})
    kept = {literal(reference): reference for reference in references.values()}
    return [_restored(literal(word), kept) for word in words]


def render_inference_service(
    task: TuningTask, engine: Engine, trial: Trial, *, study: str, sentence: str
) -> str:
    """InferenceService that serves a trial's params, as YAML.

    It has neither replicas nor an autoscaler: in production they are somebody else's choice.

    Args:
        task: The task; its model, runtime, namespace and environment are used.
        engine: The engine's adapter.
        trial: Whose args and number of GPUs are served.
        study: Study name.
        sentence: The verdict for people.
    """
    runner = build_runner(task.spec, engine, trial)
    values = _values(task, trial, runner, study=study, sentence=sentence)
    return render(
        "winner_inference_service.yaml.j2",
        **values,
        engine=engine.name,
        variables=runner.variables,
    )


def render_patch(
    task: TuningTask, engine: Engine, trial: Trial, *, study: str, sentence: str
) -> str:
    """Patch for kustomize that puts a trial's args and GPUs on an InferenceService, as YAML.

    Args:
        task: The task.
        engine: The engine's adapter.
        trial: Whose args and number of GPUs are served.
        study: Study name.
        sentence: The verdict for people.
    """
    runner = build_runner(task.spec, engine, trial)
    values = _values(task, trial, runner, study=study, sentence=sentence)
    environment = render(
        "environment_variables.yaml.j2",
        variables=runner.variables,
        secret_name=values["secret_name"],
    )
    # A patch replaces the list of variables as a whole.
    return render("patch.yaml.j2", **values, variables=(), environment=environment)


def _values(
    task: TuningTask, trial: Trial, runner: Runner, *, study: str, sentence: str
) -> dict[str, Any]:
    """What both templates place."""
    gpus = {_GPU: str(trial.gpus)}
    return {
        "name": task.metadata.name,
        "namespace": task.spec.deployment.namespace,
        "study": study,
        "trial": trial.name,
        "sentence": sentence,
        "model": task.spec.model.name,
        "runtime": task.spec.engine.runtime,
        "runner": runner.name,
        "is_named": runner.is_named,
        "args": runner.args,
        "is_recorded": runner.is_recorded,
        "secrets": [v.secret_key for v in runner.variables if v.secret_key],
        "secret_name": secret_name(task.metadata.name),
        "resources": {"requests": gpus, "limits": gpus} if trial.gpus else {},
    }


def _without_secrets(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words with variables for secrets, and their names: a runtime's own args may hold some.

    >>> _without_secrets(["--port", "80", "--api-key", "sk-1", "--api-key=$(KEY)"])
    (['--port', '80', '--api-key', '$(SERVE_API_KEY)', '--api-key=$(KEY)'], ['SERVE_API_KEY'])
    """
    shown, names = [], []
    for before, word in zip(("", *words), words, strict=False):
        head, flag, value = _parts(before, word)
        if is_secret(flag, value) and not value.startswith(("$(", "-")):
            variable = secret_variable(flag).name
            names.append(variable)
            shown.append(f"{head}$({variable})")
        else:
            shown.append(word)
    return shown, sorted(set(names))


def _parts(before: str, word: str) -> tuple[str, str, str]:
    """What stands before a value in its word, the value's flag, and the value."""
    if joined := _JOINED.fullmatch(word):
        return joined[1], joined[2], joined[3]
    flag = _FLAG.fullmatch(before)
    return "", flag[1] if flag else "", word


def _restored(word: str, references: dict[str, str]) -> str:
    for escaped, reference in references.items():
        word = word.replace(escaped, reference)
    return word
