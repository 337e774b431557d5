"""Does on a cluster what OME v0.1.5 was recorded doing: a stand-in for tests, not OME.

`python -m tests.on_cluster.ome_stand_in` runs until it is ended, for every namespace; a file
`tests/on_cluster/ome_setup.yaml` has a model and a runtime for it.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inference_autotuner.optimizer.errors import AutotunerError
from inference_autotuner.workflows.cluster import Cluster
from tests.on_cluster.site import kubectl

Manifest = dict[str, Any]
HERE = Path(__file__).parent
FINALIZER = "inferenceservice.finalizers"
SLOW = "stand-in/removed-after"  # annotation: seconds that a removal takes
_ENGINE_FIELDS = ("minReplicas", "maxReplicas", "runner", "labels", "annotations")
_CONFLICT = (
    "the object has been modified; please apply your changes to the latest version and try again"
)
_NO_INGRESS = {
    "reason": "IngressDisabled",
    "message": "Ingress creation is disabled, using external service for access",
}
_NOT_READY = {"reason": "Initializing", "message": "engine component initializing"}


def install() -> None:
    """The CRDs, a model, a runtime, and the label of a node that has the model."""
    kubectl("apply", "-f", str(HERE / "ome_crds.yaml"))
    names = ("inferenceservices", "servingruntimes", "clusterservingruntimes", "basemodels")
    for name in (*names, "clusterbasemodels"):
        kubectl("wait", "--for=condition=Established", f"crd/{name}.ome.io", "--timeout=30s")
    kubectl("apply", "-f", str(HERE / "ome_setup.yaml"))
    label = "models.ome.io/clusterbasemodel.smollm2-135m=Ready"
    kubectl("label", "node", "--all", "--overwrite", label)


class StandIn:
    """The reconciler of a namespace, or of all."""

    def __init__(self, cluster: Cluster, namespace: str | None = None) -> None:
        self._cluster, self._namespace = cluster, namespace
        self._begun: set[str] = set()
        self._deleted: dict[str, float] = {}
        self._events: dict[str, int] = {}

    def reconcile(self) -> None:
        """Looks at every InferenceService once."""
        for service in self._cluster.list("InferenceService", self._namespace):
            try:
                self._reconcile(service)
            except AutotunerError as error:  # gone meanwhile, or the cluster is away
                print(error, flush=True)

    def _reconcile(self, service: Manifest) -> None:
        if service["metadata"].get("deletionTimestamp"):
            return self._remove(service)
        self._begin(service)
        place, spec = service["metadata"], service["spec"]
        if self._find("BaseModel", spec["model"]["name"], place["namespace"]) is None:
            return None  # OME says nothing
        name = spec["runtime"]["name"]
        runtime = self._find("ServingRuntime", name, place["namespace"])
        if runtime is None:
            model = spec["model"]["name"]
            message = (
                f"Runtime {name} does not support model {model}: runtime {name} not found in "
                f"namespace {place['namespace']} or at cluster scope"
            )
            return self._say(service, "RuntimeValidationError", message)
        for child in build_children(service, runtime):
            self._create(child)
        self._note(service)

    def _find(self, kind: str, name: str, namespace: str) -> Manifest | None:
        return self._cluster.get(kind, name, namespace) or self._cluster.get(f"Cluster{kind}", name)

    def _begin(self, service: Manifest) -> None:
        place = service["metadata"]
        if place["uid"] in self._begun:
            return
        self._begun.add(place["uid"])
        self._patch(place, {"metadata": {"finalizers": [FINALIZER]}})
        subject = f'InferenceService "{place["name"]}": Operation cannot be fulfilled'
        self._say(service, "UpdateFailed", f"Failed to update status for {subject}: {_CONFLICT}")
        self._say(service, "InternalError", f"fails to update {subject}: {_CONFLICT}")

    def _remove(self, service: Manifest) -> None:
        place = service["metadata"]
        since = self._deleted.setdefault(place["uid"], time.monotonic())
        slow_s = float(place.get("annotations", {}).get(SLOW, 0))
        if place.get("finalizers") and time.monotonic() - since >= slow_s:
            self._patch(place, {"metadata": {"finalizers": None}})

    def _create(self, child: Manifest) -> None:
        place = child["metadata"]
        if child["kind"] == "PodDisruptionBudget":
            path = f"/apis/policy/v1/namespaces/{place['namespace']}/poddisruptionbudgets"
            self._cluster._send("POST", path, body=child, allowed=(409,))[0].release_conn()
        elif self._cluster.get(child["kind"], place["name"], place["namespace"]) is None:
            self._cluster.create(child)

    def _note(self, service: Manifest) -> None:
        place = service["metadata"]
        deployment = self._cluster.get("Deployment", f"{place['name']}-engine", place["namespace"])
        labels = {"ome.io/inferenceservice": place["name"]}
        pods = self._cluster.list("Pod", place["namespace"], labels)
        status = build_status(service, deployment or {}, pods)
        if without_times(service.get("status")) != without_times(status):
            self._patch(place, {"status": status})

    def _patch(self, place: Mapping[str, Any], patch: Manifest) -> None:
        self._cluster.merge_patch("InferenceService", place["name"], place["namespace"], patch)

    def _say(self, service: Manifest, reason: str, message: str) -> None:
        """A Warning event, once; OME counts on."""
        place = service["metadata"]
        name = f"{place['name']}.{reason.lower()}.{place['uid'][:8]}"
        if name in self._events:
            return
        self._events[name] = 1
        involved = {"kind": "InferenceService", "apiVersion": "ome.io/v1beta1"}
        self._cluster.create(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": place["namespace"]},
                "involvedObject": {
                    **involved,
                    **{key: place[key] for key in ("name", "namespace", "uid")},
                },
                "type": "Warning",
                "reason": reason,
                "message": message,
                "count": 1,
                "firstTimestamp": _now(),
                "lastTimestamp": _now(),
                "source": {"component": "stand-in"},
            }
        )


def build_children(service: Manifest, runtime: Manifest) -> list[Manifest]:
    """What OME makes of an InferenceService with one engine."""
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    labels = {**_labels(service), "app": f"{name}-engine"}
    pod = build_pod(service, runtime)
    port = (pod["containers"][0].get("ports") or [{"containerPort": 8080}])[0]["containerPort"]
    select = {"app": f"{name}-engine"}
    engine = service["spec"]["engine"]
    deployment = {
        "replicas": 1,
        "selector": {"matchLabels": select},
        "strategy": engine.get("deploymentStrategy") or {"type": "RollingUpdate"},
        "progressDeadlineSeconds": 600,
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    made = (
        ("apps/v1", "Deployment", f"{name}-engine", labels, deployment),
        ("v1", "Service", f"{name}-engine", labels, _service(select, "http1", port)),
        (
            "v1",
            "Service",
            name,
            {"component": "external-service", "ome.io/inferenceservice": name},
            _service({"component": "engine", "ome.io/inferenceservice": name}, "http", port),
        ),
        (
            "policy/v1",
            "PodDisruptionBudget",
            f"{name}-engine",
            labels,
            {"maxUnavailable": 1, "selector": {"matchLabels": select}},
        ),
    )
    owner = {
        "apiVersion": "ome.io/v1beta1",
        "kind": "InferenceService",
        "name": name,
        "uid": service["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return [
        {
            "apiVersion": version,
            "kind": kind,
            "metadata": {
                "name": child,
                "namespace": namespace,
                "labels": marks,
                "ownerReferences": [owner],
            },
            "spec": spec,
        }
        for version, kind, child, marks, spec in made
    ]


def build_pod(service: Manifest, runtime: Manifest) -> Manifest:
    """Runtime and InferenceService together: lists of words replace, variables go by name."""
    base = dict(runtime["spec"]["engineConfig"])
    ours = dict(service["spec"]["engine"])
    runner = _merged_runner(base.get("runner") or {}, ours.get("runner") or {})
    for part in (base, ours):
        for field in (*_ENGINE_FIELDS, "deploymentStrategy"):
            part.pop(field, None)
    model = service["spec"]["model"]["name"]
    selector = {f"models.ome.io/clusterbasemodel.{model}": "Ready"}
    nodes = {**base.pop("nodeSelector", {}), **ours.pop("nodeSelector", {}), **selector}
    return {**base, **ours, "containers": [runner], "nodeSelector": nodes}


def _merged_runner(base: Manifest, ours: Manifest) -> Manifest:
    env = {each["name"]: each for each in (*(base.get("env") or ()), *(ours.get("env") or ()))}
    resources = {
        part: {
            **(base.get("resources") or {}).get(part, {}),
            **(ours.get("resources") or {}).get(part, {}),
        }
        for part in ("requests", "limits")
    }
    return {**base, **ours, "env": list(env.values()), "resources": resources}


def build_status(service: Manifest, deployment: Manifest, pods: Sequence[Manifest]) -> Manifest:
    """What OME reports: it looks at little but the Deployment."""
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    url = f"http://{name}.{namespace}.svc.cluster.local:8080"
    found = deployment.get("status", {})
    available = next((c for c in found.get("conditions", ()) if c["type"] == "Available"), {})
    is_ready = available.get("status") == "True"
    engine = {"status": "False", **_NOT_READY}
    if is_ready:
        engine = {key: available[key] for key in ("status", "reason", "message")}
    conditions = [
        {"type": "EngineReady", **engine},
        {"type": "IngressReady", "status": "True", **_NO_INGRESS},
        {"type": "Ready", **({"status": "True"} if is_ready else engine)},
    ]
    components: Manifest = {"latestCreatedRevision": "1"}
    if is_ready:
        components["url"] = f"http://{name}-engine.{namespace}.svc.cluster.local"
    return {
        "url": url,
        "address": {"url": url},
        "conditions": [{**each, "lastTransitionTime": _now()} for each in conditions],
        "modelStatus": _model_status(is_ready, pods),
        "observedGeneration": found.get("observedGeneration", 0),
        "components": {"engine": components},
    }


def _model_status(is_ready: bool, pods: Sequence[Manifest]) -> Manifest:
    if is_ready:
        return {
            "modelCopies": {"failedCopies": 0, "totalCopies": 1},
            "modelRevisionStates": {"activeModelState": "Loaded", "targetModelState": "Loaded"},
            "transitionStatus": "UpToDate",
        }
    if not any(pod.get("status", {}).get("containerStatuses") for pod in pods):
        return {"transitionStatus": ""}
    states = {"activeModelState": "", "targetModelState": "Pending"}
    return {"modelRevisionStates": states, "transitionStatus": "InProgress"}


def _labels(service: Manifest) -> dict[str, str]:
    spec = service["spec"]
    return {
        **service["metadata"].get("labels", {}),
        **(spec["engine"].get("labels") or {}),
        "component": "engine",
        "ome.io/inferenceservice": service["metadata"]["name"],
        "base-model-name": spec["model"]["name"],
        "base-model-type": "Serving",
        "serving-runtime": spec["runtime"]["name"],
    }


def _service(selector: Mapping[str, str], port_name: str, port: int) -> Manifest:
    return {
        "selector": dict(selector),
        "ports": [{"name": port_name, "port": port, "targetPort": port}],
    }


def without_times(status: Manifest | None) -> Manifest:
    """A status that two moments may share."""
    found = dict(status or {})
    found["conditions"] = [
        {key: value for key, value in each.items() if key != "lastTransitionTime"}
        for each in found.get("conditions", ())
    ]
    return found


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> None:
    """Until somebody ends it, or the time is over."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--most-s", type=float, default=6 * 3600)
    end = time.monotonic() + parser.parse_args().most_s
    install()
    stand_in = StandIn(Cluster.connect())
    print("the stand-in for OME is there", flush=True)
    while time.monotonic() < end:
        try:
            stand_in.reconcile()
        except AutotunerError as error:
            print(error, flush=True)
        time.sleep(0.5)


if __name__ == "__main__":
    main()
