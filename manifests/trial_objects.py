"""The objects that serve a trial on a cluster: a Deployment and a Service, or what OME wants."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from inference_autotuner.manifests.environment import render
from inference_autotuner.manifests.kubernetes import (
    EnvironmentVariable,
    container_path,
    container_words,
    default_image,
    engine_variables,
    literal,
    named_variables,
    secret_name,
)
from inference_autotuner.manifests.labels import MANAGED_BY, STUDY, TRIAL, WORKFLOW_UID
from inference_autotuner.optimizer.engine import Engine, Launch
from inference_autotuner.optimizer.spec import Spec

Manifest = dict[str, Any]
PORT = 8080
_PERIOD_S = 2  # a trial is paid for while it waits for the next probe
GRACE_S = 5
_AUTOSCALER = "ome.io/autoscalerClass"
_HOME = "/cache"


@dataclass(frozen=True)
class Owner:
    """The Workflow that a server belongs to."""

    name: str
    uid: str


@dataclass(frozen=True)
class Place:
    """Where a trial's objects are, and whose they are.

    Attributes:
        study: Study name.
        trial: Trial name, such as `t-0003`.
        namespace: Namespace of all of them.
        owner: Their Workflow; None where nobody else cares for them.
        lease_until: RFC 3339 in UTC, after which they are nobody's.
    """

    study: str
    trial: str
    namespace: str
    owner: Owner | None
    lease_until: str

    @property
    def name(self) -> str:
        """The name of every one of them."""
        return f"{self.study}-{self.trial}"

    @property
    def secret_name(self) -> str:
        """The Secret of the task."""
        return secret_name(self.study.rpartition("-h")[0])

    @property
    def labels(self) -> dict[str, str]:
        """What tells them from everything else."""
        uid = {WORKFLOW_UID: self.owner.uid} if self.owner else {}
        return {**MANAGED_BY, STUDY: self.study, TRIAL: self.trial, **uid}


def build_trial_deployment(
    spec: Spec, engine: Engine, launch: Launch, *, gpus: int, place: Place
) -> list[Manifest]:
    """Deployment and Service of a trial.

    Args:
        spec: The task's spec.
        engine: The engine's adapter.
        launch: Model, name, host, port and args.
        gpus: GPUs of the server.
        place: Where it goes.
    """
    text = render(
        "trial_deployment.yaml.j2",
        place=place,
        annotations={},
        image=spec.engine.image or default_image(spec, engine),
        command=[literal(word) for word in engine.container_command],
        args=container_words(engine, spec, launch),
        variables=[
            *engine_variables(spec, engine, is_hub_model=container_path(launch.model) is None),
            *(EnvironmentVariable(n, literal(v)) for n, v in engine.trial_environment.items()),
        ],
        secret_name=place.secret_name,
        gpus=gpus,
        port=launch.port,
        health_path=engine.health_path,
        period_s=_PERIOD_S,
        ready_period_s=_PERIOD_S,
        # Who waits for the server ends it; a probe that did so first would hide why.
        attempts=2 * math.ceil(spec.deployment.readyTimeout / _PERIOD_S),
        grace_s=GRACE_S,
        home=_HOME,
        models="",
        model_file="",
        has_model_volume=False,
    )
    return list(yaml.safe_load_all(text))


def build_inference_service(
    spec: Spec,
    engine: Engine,
    *,
    runner: str,
    args: Sequence[str],
    resources: Mapping[str, Mapping[str, str]],
    place: Place,
) -> Manifest:
    """The InferenceService of a trial.

    Args:
        spec: The task's spec; model, runtime and environment are used.
        engine: The engine's adapter.
        runner: Name of the runtime's container.
        args: What its `args` are to be; `$(NAME)` in them is a variable of the container.
        resources: Requests and limits of the container; empty: the runtime's own.
        place: Where it goes.
    """
    text = render(
        "inference_service.yaml.j2",
        place=place,
        annotations={_AUTOSCALER: "external"},
        model=spec.model.name,
        runtime=spec.engine.runtime,
        runner=runner,
        args=args,
        variables=named_variables(
            spec, {**engine.environment, **engine.trial_environment, **spec.engine.env}
        ),
        secret_name=place.secret_name,
        resources=resources,
        grace_s=GRACE_S,
    )
    manifest: Manifest = yaml.safe_load(text)
    return manifest
