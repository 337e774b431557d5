"""A server as a plain Deployment with its Service, on clusters without OME."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from inference_autotuner.manifests.labels import STUDY, TRIAL
from inference_autotuner.manifests.trial_objects import PORT, Place, build_trial_deployment
from inference_autotuner.optimizer.engine import Launch
from inference_autotuner.optimizer.errors import Blame, Failure, Reason
from inference_autotuner.optimizer.flags import Args
from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.workflows.cluster import Cluster
from inference_autotuner.workflows.deployer import Order
from inference_autotuner.workflows.pods import Pod, is_serving
from inference_autotuner.workflows.shape import Plan

# A quota is given back, and a webhook that does not answer comes back: the cluster tries again.
_PASSING = re.compile(r"exceeded quota|failed calling webhook|Internal error|timed out|etcdserver")


class KubernetesShape:
    """A Deployment of one replica."""

    kinds = ("Deployment", "Service")

    def plan(self, cluster: Cluster, order: Order, place: Place) -> Plan | Failure:
        """Nothing can be missing: the task names the image, and the model is in it or on a hub."""
        spec = order.spec
        launch = launch_in_container(spec, order.args)
        objects = build_trial_deployment(spec, order.engine, launch, gpus=order.gpus, place=place)
        args = order.engine.command_line(launch)
        return Plan(objects, args, order.engine.served_name(launch))

    def pods(self, cluster: Cluster, place: Place) -> Sequence[Pod]:
        """By study and trial."""
        return cluster.list("Pod", place.namespace, {STUDY: place.study, TRIAL: place.trial})

    def trouble(
        self, cluster: Cluster, order: Order, place: Place, waited_s: float
    ) -> Failure | None:
        """A Deployment that may create no pod says so in a condition."""
        deployment = cluster.get("Deployment", place.name, place.namespace)
        return removed(place) if deployment is None else refused_pods(deployment)

    def no_pod(self, cluster: Cluster, place: Place) -> str:
        """A quota is room that others may give back."""
        deployment = cluster.get("Deployment", place.name, place.namespace)
        return refusal(deployment or {})

    def is_ready(self, cluster: Cluster, place: Place) -> bool:
        """The Deployment is new for every trial: its one pod is the one that is meant."""
        return is_serving(self.pods(cluster, place))

    def service(self, cluster: Cluster, place: Place) -> Mapping[str, Any] | None:
        """Named like the Deployment."""
        return cluster.get("Service", place.name, place.namespace)


def launch_in_container(spec: Spec, args: Args) -> Launch:
    """What the engine is started with in a pod of its own."""
    return Launch(spec.model.name, spec.model.servedName, "0.0.0.0", PORT, args)


def removed(place: Place) -> Failure:
    """Somebody else took the server away while it started."""
    message = f"somebody else removed {place.name} while it was starting"
    return Failure(Blame.WORLD, Reason.SERVER_LOST, message)


def refused_pods(deployment: Mapping[str, Any]) -> Failure | None:
    """Pod security or a webhook may refuse the pods of a Deployment."""
    message = refusal(deployment)
    if not message or _PASSING.search(message):
        return None
    return Failure(Blame.TASK, Reason.INVALID_ARGUMENTS, f"its pod is refused: {message}")


def refusal(deployment: Mapping[str, Any]) -> str:
    """Why a Deployment may have no pod, in the cluster's words."""
    for condition in deployment.get("status", {}).get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return str(condition.get("message", ""))
    return ""
