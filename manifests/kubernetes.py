"""The winner as Kubernetes objects: a Deployment and a Service, ready to apply."""

import math
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inference_autotuner.manifests.command import (
    Variable,
    Word,
    closed_words,
    secret_variables,
    winning_launch,
)
from inference_autotuner.manifests.environment import render
from inference_autotuner.manifests.withhold import is_secret
from inference_autotuner.optimizer.engine import Engine, Launch
from inference_autotuner.optimizer.spec import Spec, TuningTask
from inference_autotuner.optimizer.trial import Trial

PORT = 8080
_PROBE_PERIOD_S = 10
_READY_PERIOD_S = 5
_HOME = "/cache"
_MODELS = "/models"


@dataclass(frozen=True)
class EnvironmentVariable:
    """A variable of the container: a value, or a key of a Secret."""

    name: str
    value: str | None = None
    secret_key: str | None = None
    is_optional: bool = False


def render_deployment(
    task: TuningTask, engine: Engine, trial: Trial, *, study: str, sentence: str, model: str
) -> str:
    """Deployment and Service that serve a trial's params, as YAML.

    Args:
        task: The task; its engine, namespace and ready timeout are used.
        engine: The engine's adapter.
        trial: Whose params and number of GPUs are served.
        study: Study name.
        sentence: The verdict for people.
        model: Hub id, or the path that the study served from.
    """
    # Where trials were pods, the path is one in the image.
    is_in_image = task.spec.deployment.mode == "kubernetes"
    path = model if is_in_image else container_path(model)
    variables = engine_variables(task.spec, engine, is_hub_model=container_path(model) is None)
    launch = winning_launch(task.spec, trial.params, model=path or model, host="0.0.0.0", port=PORT)
    return render(
        "deployment.yaml.j2",
        name=task.metadata.name,
        namespace=task.spec.deployment.namespace,
        study=study,
        trial=trial.name,
        sentence=sentence,
        engine=engine.name,
        image=task.spec.engine.image or default_image(task.spec, engine),
        is_default_image=task.spec.engine.image is None,
        command=[literal(word) for word in engine.container_command],
        args=container_words(engine, task.spec, launch),
        variables=variables,
        secrets=[v.secret_key for v in variables if v.secret_key and not v.is_optional],
        gpus=trial.gpus,
        port=PORT,
        health_path=engine.health_path,
        period_s=_PROBE_PERIOD_S,
        attempts=math.ceil(task.spec.deployment.readyTimeout / _PROBE_PERIOD_S),
        home=_HOME,
        models=_MODELS,
        model=model,
        model_file=posixpath.basename(path or ""),
        is_in_image=is_in_image,
        has_model_volume=path is not None and not is_in_image,
        secret_name=secret_name(task.metadata.name),
        ready_period_s=_READY_PERIOD_S,
        grace_s=None,
    )


def default_image(spec: Spec, engine: Engine) -> str:
    """The image of the engine's makers in the version that was tuned."""
    return engine.image_for(spec.engine.version or engine.version)


def container_path(model: str) -> str | None:
    """Where a local model lies in the container; None for a hub id.

    >>> container_path("/data/smol.gguf"), container_path("org/name"), container_path("./m/")
    ('/models/smol.gguf', None, '/models/m')
    """
    is_hub_id = model.count("/") <= 1 and not model.startswith((".", "/", "~"))
    if is_hub_id and not model.endswith(".gguf"):
        return None
    return posixpath.join(_MODELS, posixpath.basename(model.rstrip("/")) or "model")


def secret_name(task: str) -> str:
    """The Secret that a person makes for what a task may not say in its file."""
    return f"{task}-secrets"


def engine_variables(
    spec: Spec, engine: Engine, *, is_hub_model: bool
) -> Sequence[EnvironmentVariable]:
    """The environment of an engine's container; secrets by reference."""
    # Images have no account for the user below: its home must be said, and a name for it.
    values = {"HOME": _HOME, "USER": "engine", **engine.environment, **spec.engine.env}
    listed = named_variables(spec, values)
    if is_hub_model and "HF_TOKEN" not in values:
        # Gated models need it, others start without.
        listed.append(EnvironmentVariable("HF_TOKEN", secret_key="HF_TOKEN", is_optional=True))
    return listed


def named_variables(spec: Spec, values: Mapping[str, str]) -> list[EnvironmentVariable]:
    """Variables of these values, and those that bring secret flags."""
    listed = [
        EnvironmentVariable(name, secret_key=name)
        if is_secret(name, value)
        else EnvironmentVariable(name, value=literal(value))
        for name, value in values.items()
    ]
    for variable in secret_variables(spec).values():
        listed.append(EnvironmentVariable(variable.name, secret_key=variable.name))
    return listed


def container_words(engine: Engine, spec: Spec, launch: Launch) -> list[str]:
    """The engine's command line as a container's `args`; secrets come from the environment."""
    return [_word(word) for word in closed_words(engine, spec, launch)]


def _word(word: Word) -> str:
    return f"$({word.name})" if isinstance(word, Variable) else literal(word)


def literal(text: str) -> str:
    """Text in which Kubernetes finds no `$(VARIABLE)` to expand."""
    return text.replace("$", "$$")
