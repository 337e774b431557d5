"""A server as an InferenceService of OME: v0.1.5, and of later ones what is common to both."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from inference_autotuner.manifests.inference_service import RUNNER, flag_words
from inference_autotuner.manifests.trial_objects import Place, build_inference_service
from inference_autotuner.optimizer.engine import Engine
from inference_autotuner.optimizer.errors import Blame, Failure, Reason
from inference_autotuner.workflows.cluster import Cluster
from inference_autotuner.workflows.deployer import Order
from inference_autotuner.workflows.kubernetes_shape import refusal, refused_pods, removed
from inference_autotuner.workflows.pods import Pod, is_serving
from inference_autotuner.workflows.shape import Plan

Manifest = Mapping[str, Any]
# Events that every trial of the task would meet alike. Others, `UpdateFailed` and `InternalError`
# among them, come and go in the first second of every InferenceService.
_TASK_EVENTS = {
    "RuntimeValidationError": Reason.RUNTIME_NOT_FOUND,
    "RuntimeFetchError": Reason.RUNTIME_NOT_FOUND,
    "RuntimeSelectionError": Reason.RUNTIME_NOT_FOUND,
    "ModelReconcileError": Reason.MODEL_NOT_FOUND,
    "MergeSpecsError": Reason.INVALID_ARGUMENTS,
    "DeploymentModeError": Reason.INVALID_ARGUMENTS,
    "AcceleratorClassError": Reason.INVALID_ARGUMENTS,
    "ServerlessModeRejected": Reason.INVALID_ARGUMENTS,
    "PredictorMigrationError": Reason.INVALID_ARGUMENTS,
}
# OME makes a Deployment within a second; what it does not act upon it never says.
_SILENT_S = 180.0
_SHELLS = ("sh", "bash", "ash", "dash")
_GPU = "nvidia.com/gpu"
_FLAG = re.compile(r"^--?([A-Za-z][\w.-]*)(?:=(.*))?$", re.S)


class OmeShape:
    """An InferenceService with one engine."""

    kinds = ("InferenceService",)

    def plan(self, cluster: Cluster, order: Order, place: Place) -> Plan | Failure:
        """Reads the runtime first: where it keeps its launch line decides what is sent."""
        if not cluster.has("InferenceService"):
            message = "the cluster does not know InferenceService: OME is not installed there"
            return Failure(Blame.TASK, Reason.RUNTIME_NOT_FOUND, message)
        if missing := _missing_model(cluster, order, place):
            return missing
        runtime = _find(cluster, "ServingRuntime", str(order.spec.engine.runtime), place)
        if runtime is None:
            message = (
                f"there is no ServingRuntime {order.spec.engine.runtime} in {place.namespace} and "
                "no ClusterServingRuntime; see kubectl get clusterservingruntimes"
            )
            return Failure(Blame.TASK, Reason.RUNTIME_NOT_FOUND, message)
        runner = _runner(runtime)
        if isinstance(runner, Failure):
            return runner
        args = merged_args(order.engine, runner.get("args") or [], _words(order))
        name = str(runner["name"])
        service = build_inference_service(
            order.spec,
            order.engine,
            runner=name,
            args=args,
            resources=_with_gpus(runner.get("resources") or {}, order.gpus),
            place=place,
        )
        # The runtime is not at hand where the winner is written down.
        return Plan([service], tuple(args), order.spec.model.servedName, {RUNNER: name})

    def pods(self, cluster: Cluster, place: Place) -> Sequence[Pod]:
        """By OME's own label."""
        labels = {"ome.io/inferenceservice": place.name, "component": "engine"}
        return cluster.list("Pod", place.namespace, labels)

    def trouble(
        self, cluster: Cluster, order: Order, place: Place, waited_s: float
    ) -> Failure | None:
        """OME has no failed state: what it cannot do it tells in events."""
        service = cluster.get("InferenceService", place.name, place.namespace)
        if service is None:
            return removed(place)
        for event in cluster.events(place.namespace, "InferenceService", place.name):
            # An earlier one of this name has left its events.
            is_of_this = event["involvedObject"].get("uid") == service["metadata"]["uid"]
            if (
                is_of_this
                and event.get("type") == "Warning"
                and (reason := _TASK_EVENTS.get(event["reason"]))
            ):
                message = f"OME says {event['reason']}: {event['message']}"
                return Failure(Blame.TASK, reason, message)
        deployment = cluster.get("Deployment", f"{place.name}-engine", place.namespace)
        if deployment is None:
            return _ignored(place) if waited_s > _SILENT_S else None
        return refused_pods(deployment) or _changed(deployment, order)

    def no_pod(self, cluster: Cluster, place: Place) -> str:
        """OME makes a Deployment, which may have no pod."""
        deployment = cluster.get("Deployment", f"{place.name}-engine", place.namespace)
        return "OME has not made a Deployment" if deployment is None else refusal(deployment)

    def is_ready(self, cluster: Cluster, place: Place) -> bool:
        """Ready says nothing of which configuration: the Deployment's generation does."""
        service = cluster.get("InferenceService", place.name, place.namespace) or {}
        conditions = {
            each["type"]: each["status"] for each in service.get("status", {}).get("conditions", ())
        }
        deployment = cluster.get("Deployment", f"{place.name}-engine", place.namespace)
        if conditions.get("Ready") != "True" or deployment is None:
            return False
        status = deployment.get("status", {})
        counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas")]
        is_seen = status.get("observedGeneration") == deployment["metadata"]["generation"]
        return is_seen and counts == [1, 1, 1] and is_serving(self.pods(cluster, place))

    def service(self, cluster: Cluster, place: Place) -> Manifest | None:
        """The one for clients; where OME makes an Ingress instead, the engine's own."""
        return cluster.get("Service", place.name, place.namespace) or cluster.get(
            "Service", f"{place.name}-engine", place.namespace
        )


def merged_args(engine: Engine, theirs: Sequence[str], ours: Sequence[str]) -> list[str]:
    """What is sent as `args`: it replaces the runtime's own, so they come first, less ours.

    >>> from inference_autotuner.optimizer.engine import get_engine
    >>> merged_args(get_engine("vllm"), ["--port", "80", "--max-num-seqs=8"], ["--max-num-seqs=4"])
    ['--port', '80', '--max-num-seqs=4']
    """
    named = {name for word in ours if (name := _flag(engine, word))}
    kept: list[str] = []
    is_kept = True
    for word in theirs:
        if name := _flag(engine, word):
            is_kept = name not in named
        if is_kept:
            kept.append(word)
    return [*kept, *ours]


def _flag(engine: Engine, word: str) -> str | None:
    found = _FLAG.match(word)
    if found is None:
        return None
    name = engine.canonical(found[1])
    return name.removeprefix("no-") if not engine.knows(name) else name


def _missing_model(cluster: Cluster, order: Order, place: Place) -> Failure | None:
    """OME says nothing at all of a model that is not there."""
    if _find(cluster, "BaseModel", order.spec.model.name, place) is not None:
        return None
    message = (
        f"there is no BaseModel {order.spec.model.name} in {place.namespace} and no "
        "ClusterBaseModel; see kubectl get clusterbasemodels"
    )
    return Failure(Blame.TASK, Reason.MODEL_NOT_FOUND, message)


def _find(cluster: Cluster, kind: str, name: str, place: Place) -> Manifest | None:
    """One of the namespace wins over one of the cluster."""
    return cluster.get(kind, name, place.namespace) or cluster.get(f"Cluster{kind}", name)


def _runner(runtime: Manifest) -> Manifest | Failure:
    spec, name = runtime.get("spec", {}), runtime["metadata"]["name"]
    engine = spec.get("engineConfig") or {}
    runner: Manifest = engine.get("runner") or {}
    problem = None
    if engine.get("leader") or engine.get("worker"):
        problem = "serves with several pods, which the tuner cannot measure yet"
    elif not runner:
        problem = "has no engineConfig.runner"
    elif _is_shell(runner.get("command") or []):
        problem = "starts its engine through a shell, where flags that are added have no effect"
    if problem is None:
        return runner
    message = f"runtime {name} {problem}; name another one in spec.engine.runtime"
    return Failure(Blame.TASK, Reason.INVALID_ARGUMENTS, message)


def _is_shell(command: Sequence[str]) -> bool:
    return bool(command) and command[0].rpartition("/")[2] in _SHELLS and "-c" in command


def _with_gpus(resources: Manifest, gpus: int) -> dict[str, dict[str, str]]:
    """The runtime's own requests and limits, with the trial's GPUs; empty: nothing is to change."""
    parts = {part: dict(resources.get(part) or {}) for part in ("requests", "limits")}
    if not gpus and not any(_GPU in amounts for amounts in parts.values()):
        return {}
    for amounts in parts.values():
        amounts[_GPU] = str(gpus)
    return {part: {k: str(v) for k, v in amounts.items()} for part, amounts in parts.items()}


def _ignored(place: Place) -> Failure:
    message = (
        f"OME made nothing of {place.name} within {_SILENT_S:.0f} s and says nothing: look at the "
        "log of its manager (kubectl logs -n ome deployment/ome-controller-manager)"
    )
    return Failure(Blame.WORLD, Reason.RUNTIME_NOT_FOUND, message)


def _words(order: Order) -> list[str]:
    return flag_words(order.engine, order.spec, order.args)


def _changed(deployment: Manifest, order: Order) -> Failure | None:
    """What runs is read back: an accelerator class or a webhook may have rewritten it."""
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    found = _by_flag(order.engine, words)
    wanted = _by_flag(order.engine, _words(order))
    wrong = [flag for flag, value in wanted.items() if found.get(flag) != value]
    if not wrong:
        return None
    message = (
        f"OME starts the engine with other values than the trial's: {', '.join(wrong)}. Does an "
        "AcceleratorClass that the runtime knows, or a webhook, override them?"
    )
    return Failure(Blame.TASK, Reason.SERVER_CHANGED, message)


def _by_flag(engine: Engine, words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What each flag of a command line says; engines take the last of several."""
    found: dict[str, tuple[str, ...]] = {}
    flag: str | None = None
    for word in words:
        if match := _FLAG.match(word):
            flag = engine.canonical(match[1])
            found[flag] = () if match[2] is None else (match[2],)
        elif flag is not None:
            found[flag] = (*found[flag], word)
    return found
