"""What the pods of a server say of it: where they are, and what became of an engine that is not up.

Pods are the only witnesses: OME's status says "Initializing" for ever, whatever happened.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inference_autotuner.optimizer.engine import Engine
from inference_autotuner.optimizer.errors import Blame, Failure, Reason
from inference_autotuner.workflows.cluster import Cluster

Pod = Mapping[str, Any]
_PULLING = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")
_CREATING = ("ContainerCreating", "PodInitializing")
_MISCONFIGURED = ("CreateContainerConfigError", "CreateContainerError")
# A registry that answers is right about what it does not have; one that does not may come back.
_NO_SUCH_IMAGE = re.compile(
    r"(?i)not found|manifest unknown|does not exist|invalid|denied|unauthorized|never ?pull"
)
_LOST_REASONS = ("Evicted", "NodeLost", "NodeShutdown", "Terminated", "Preempting", "Shutdown")
_NO_NODE_OF_ITS_KIND = re.compile(r"^0/(\d+) nodes are available: (.*)")
_SELECTOR = re.compile(r"(\d+) node\(s\) didn't match Pod's node affinity/selector")
_GPUS = re.compile(r"Insufficient nvidia\.com/gpu")


@dataclass(frozen=True)
class Looked:
    """What the pods of a server look like now.

    Attributes:
        is_placed: Whether one of them was given a node, and with it its GPUs.
        is_pulling: Whether an image could not be fetched, so far.
        is_creating: Whether the engine's container is not there yet.
        has_begun: Whether the engine runs, or ran.
        why_pending: What it waits for, in the cluster's own words.
        failure: What became of the engine, when it will not come up.
    """

    is_placed: bool = False
    is_pulling: bool = False
    is_creating: bool = False
    has_begun: bool = False
    why_pending: str = ""
    failure: Failure | None = None


def look(cluster: Cluster, engine: Engine, pods: Sequence[Pod]) -> Looked:
    """What can be said of a server by its pods."""
    pending = ""
    for pod in pods:
        if pod["metadata"].get("deletionTimestamp"):
            continue
        status = pod.get("status", {})
        if not pod["spec"].get("nodeName"):
            pending = _why_pending(status) or pending
            continue
        reason, message = _waiting(pod)
        return Looked(
            is_placed=True,
            is_pulling=reason in _PULLING,
            is_creating=reason in _CREATING,
            has_begun=_has_begun(pod),
            why_pending=message,
            failure=_of_pod(cluster, engine, pod),
        )
    return Looked(why_pending=pending)


def log_of(cluster: Cluster, pods: Sequence[Pod], *, limit: int = 1 << 20) -> str:
    """The engine's log: of the run that ended, where it was started again."""
    for pod in pods:
        container = _container(pod)
        if not pod["spec"].get("nodeName") or container is None:
            continue
        place = pod["metadata"]
        name, namespace = place["name"], place["namespace"]
        for is_previous in _runs(container):
            text = cluster.pod_log(
                name, namespace, container["name"], is_previous=is_previous, limit=limit
            )
            if text:
                return text
    return ""


def _runs(container: Mapping[str, Any]) -> tuple[bool, ...]:
    """Which logs are asked for, in order; True is the one of the run before the last start.

    Between two runs the present log is that of the one that ended; the one before may be gone.
    """
    if not container.get("restartCount"):
        return (False,)
    is_running = "running" in container.get("state", {})
    return (True, False) if is_running else (False, True)


def new_lines(cluster: Cluster, pods: Sequence[Pod], after: str) -> tuple[list[str], str]:
    """What the engine wrote since it was last asked.

    Args:
        cluster: The cluster.
        pods: The server's pods.
        after: What was returned before; empty at first.

    Returns:
        Its lines, and the time of the last one.
    """
    lines: list[str] = []
    for pod in pods:
        container = _container(pod)
        if container is None or pod["metadata"].get("deletionTimestamp"):
            continue
        place = pod["metadata"]
        since = after or place["creationTimestamp"]
        log = cluster.pod_log(place["name"], place["namespace"], container["name"], since=since)
        for line in log.splitlines():
            # Times of the node have nine digits: as text they are in order.
            moment, _, text = line.partition(" ")
            if moment > after:
                after = moment
                lines.append(text)
    return lines, after


def is_serving(pods: Sequence[Pod]) -> bool:
    """Whether the one pod is ready, and its engine runs for the first time."""
    container = _only(pods)
    return bool(container and container.get("ready") and not container.get("restartCount"))


def running_pod(pods: Sequence[Pod]) -> str | None:
    """The uid of the one pod, if its engine runs for the first time; it may look unready."""
    container = _only(pods)
    if (
        not container
        or "running" not in container.get("state", {})
        or container.get("restartCount")
    ):
        return None
    return str(next(p for p in pods if _is_staying(p))["metadata"]["uid"])


def _only(pods: Sequence[Pod]) -> Mapping[str, Any] | None:
    alive = [pod for pod in pods if _is_staying(pod)]
    return _container(alive[0]) if len(alive) == 1 else None


def _is_staying(pod: Pod) -> bool:
    return not pod["metadata"].get("deletionTimestamp")


def never_fits(
    looked: Looked, nodes: Sequence[Mapping[str, Any]] | None, gpus: int
) -> Failure | None:
    """Whether waiting for room is in vain: no node has so many GPUs, or is of the model's kind.

    Args:
        looked: The pods; nothing is said of them when one has a node.
        nodes: The cluster's nodes; None where they may not be listed.
        gpus: GPUs of the server.
    """
    found = _NO_NODE_OF_ITS_KIND.match(looked.why_pending)
    if found is None:
        return None
    selected = _SELECTOR.search(found[2])
    if selected and selected[1] == found[1]:
        message = (
            f"no node may take the server: {looked.why_pending}; is the model on any node, and is "
            "that node labelled for it (kubectl get nodes --show-labels)?"
        )
        return Failure(Blame.TASK, Reason.NO_ROOM, message)
    if nodes is None or not _GPUS.search(found[2]):
        return None
    most = max((_gpus(node, "capacity", "allocatable") for node in nodes), default=0)
    # None at all: a device plugin that is restarted takes them away for a while.
    if gpus <= most or most == 0:
        return None
    message = (
        f"the trial wants {gpus} GPUs and the largest node has {most}; lower "
        "spec.deployment.gpus, or exclude such params with a constraint"
    )
    return Failure(Blame.PARAMS, Reason.UNSUPPORTED, message)


def gpus_of(node: Mapping[str, Any]) -> int:
    """GPUs of a node, taken or free; broken ones do not count."""
    return _gpus(node, "allocatable")


def _gpus(node: Mapping[str, Any], *fields: str) -> int:
    status = node.get("status", {})
    return max(int(status.get(field, {}).get("nvidia.com/gpu", 0)) for field in fields)


def _why_pending(status: Mapping[str, Any]) -> str:
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message") or "")
    return ""


def _of_pod(cluster: Cluster, engine: Engine, pod: Pod) -> Failure | None:
    status = pod.get("status", {})
    if status.get("phase") == "Failed" and status.get("reason") in _LOST_REASONS:
        message = f"the pod was taken away: {status['reason']}: {status.get('message', '')}"
        return Failure(Blame.WORLD, Reason.SERVER_LOST, message.rstrip(": "))
    reason, message = _waiting(pod)
    if reason in _PULLING and _NO_SUCH_IMAGE.search(f"{reason} {message}"):
        return Failure(Blame.TASK, Reason.IMAGE_NOT_PULLED, f"{reason}: {message}")
    if reason in _MISCONFIGURED:
        return Failure(Blame.TASK, Reason.INVALID_ARGUMENTS, f"the pod cannot start: {message}")
    return _of_container(cluster, engine, pod)


def _of_container(cluster: Cluster, engine: Engine, pod: Pod) -> Failure | None:
    """An engine that ended once is looked at then: the next start would tell nothing new."""
    container = _container(pod)
    if container is None:
        return None
    states = (container.get("lastState", {}), container.get("state", {}))
    ended = next((state["terminated"] for state in states if "terminated" in state), None)
    if ended is None:
        return None
    code = int(ended.get("exitCode", 0))
    found = engine.classify(log_of(cluster, [pod]), code - 256 if code > 255 else code)
    if ended.get("reason") == "OOMKilled" and found.reason is not Reason.OUT_OF_MEMORY:
        message = f"the container needed more memory than its limit (exit code {code})"
        return Failure(Blame.PARAMS, Reason.OUT_OF_MEMORY, message)
    return found


def _has_begun(pod: Pod) -> bool:
    container = _container(pod) or {}
    return bool(container.get("restartCount")) or not {"running", "terminated"}.isdisjoint(
        container.get("state", {})
    )


def _waiting(pod: Pod) -> tuple[str, str]:
    waiting = (_container(pod) or {}).get("state", {}).get("waiting", {})
    return str(waiting.get("reason") or ""), str(waiting.get("message") or "")


def _container(pod: Pod) -> Mapping[str, Any] | None:
    """The engine's container, which is the first one."""
    names = [each["name"] for each in pod["spec"].get("containers", ())]
    statuses = pod.get("status", {}).get("containerStatuses", ())
    return next((each for each in statuses if names and each["name"] == names[0]), None)
