"""Looks whether a cluster has what a study there needs; changes nothing."""

from collections.abc import Iterator, Sequence

from inference_autotuner.optimizer.errors import AutotunerError
from inference_autotuner.workflows.cluster import Cluster
from inference_autotuner.workflows.finding import Finding, State
from inference_autotuner.workflows.installation import (
    CONFIG_MAP,
    POOLS_CONFIG_MAP,
    STORAGE_SECRET,
    parse_installation,
)

_INSTALL = (
    "install it: kubectl apply -k . (docs/kubernetes.md), or name the namespace where it is: "
    "deployment.namespace of the task, --namespace here"
)
_ACCOUNTS = tuple(f"autotuner-{who}" for who in ("ask", "deploy", "benchmark", "release"))
_OPTIONAL_KINDS = {
    "Workflow": ("Argo Workflows", State.BAD, "install Argo Workflows (third_party/README.md)"),
    "InferenceService": (
        "OME",
        State.WARN,
        "only tasks of mode kubernetes run; third_party/README.md",
    ),
}
_RIGHTS = (
    ("create", "Workflow"),
    ("get", "Workflow"),
    ("list", "Workflow"),
    ("patch", "Workflow"),
    ("list", "Pod"),
)
_GPU = "nvidia.com/gpu"


def examine_cluster(cluster: Cluster, namespace: str) -> list[Finding]:
    """Everything a study in a namespace rests on, one finding each.

    Args:
        cluster: The cluster of `KUBECONFIG`.
        namespace: Where the tasks' servers and Workflows are to be.
    """
    try:
        version = cluster.version()
    except AutotunerError as error:
        return [Finding("cluster", State.BAD, str(error), "is KUBECONFIG the right one?")]
    return [
        Finding("cluster", State.OK, f"Kubernetes {version}"),
        *_kinds(cluster),
        *_installed(cluster, namespace),
        _storage_pod(cluster, namespace),
        *_accounts(cluster, namespace),
        _rights(cluster, namespace),
        _gpus(cluster),
    ]


def _kinds(cluster: Cluster) -> Iterator[Finding]:
    for kind, (title, state, remedy) in _OPTIONAL_KINDS.items():
        if cluster.has(kind):
            yield Finding(title, State.OK, f"the cluster knows {kind}")
        else:
            yield Finding(title, state, f"the cluster does not know {kind}", remedy)


def _installed(cluster: Cluster, namespace: str) -> Iterator[Finding]:
    config = cluster.get("ConfigMap", CONFIG_MAP, namespace)
    if config is None:
        yield Finding("installation", State.BAD, f"no {CONFIG_MAP} in {namespace}", _INSTALL)
    else:
        installed = parse_installation(config.get("data") or {})
        yield Finding("installation", State.OK, f"{installed.image}, {installed.bench_image}")
    pools = (cluster.get("ConfigMap", POOLS_CONFIG_MAP, namespace) or {}).get("data") or {}
    if pools:
        shown = ", ".join(f"{name}: {size}" for name, size in sorted(pools.items()))
        yield Finding("GPU pools", State.OK, f"trials at once: {shown}")
    else:
        yield Finding("GPU pools", State.BAD, f"no {POOLS_CONFIG_MAP} in {namespace}", _INSTALL)
    yield _secret(cluster, namespace)


def _secret(cluster: Cluster, namespace: str) -> Finding:
    """Most people may not read Secrets, and need not."""
    if not cluster.can("get", "Secret", namespace):
        return Finding("storage token", State.OK, "not looked at: Secrets are not yours to read")
    secret = cluster.get("Secret", STORAGE_SECRET, namespace) or {}
    if secret.get("data", {}).get("token"):
        return Finding("storage token", State.OK, f"in Secret {STORAGE_SECRET}")
    return Finding("storage token", State.BAD, f"no Secret {STORAGE_SECRET}", _INSTALL)


def _storage_pod(cluster: Cluster, namespace: str) -> Finding:
    found = cluster.get("Deployment", "autotuner-storage", namespace)
    if found is None:
        return Finding("storage service", State.BAD, f"none in {namespace}", _INSTALL)
    if found.get("status", {}).get("readyReplicas"):
        return Finding("storage service", State.OK, "ready")
    remedy = f"kubectl -n {namespace} describe pod -l app.kubernetes.io/name=autotuner-storage"
    return Finding("storage service", State.BAD, "its pod is not ready", remedy)


def _accounts(cluster: Cluster, namespace: str) -> Iterator[Finding]:
    if not cluster.can("get", "ServiceAccount", namespace):
        return
    missing = [a for a in _ACCOUNTS if cluster.get("ServiceAccount", a, namespace) is None]
    if missing:
        yield Finding("service accounts", State.BAD, f"missing: {', '.join(missing)}", _INSTALL)
    else:
        yield Finding("service accounts", State.OK, ", ".join(_ACCOUNTS))


def _rights(cluster: Cluster, namespace: str) -> Finding:
    refused = [f"{verb} {kind}" for verb, kind in _RIGHTS if not cluster.can(verb, kind, namespace)]
    if not refused:
        return Finding("your rights", State.OK, "submit, follow and stop")
    remedy = f"bind Role autotuner-submitter in {namespace} to this user"
    return Finding("your rights", State.BAD, f"refused: {', '.join(refused)}", remedy)


def _gpus(cluster: Cluster) -> Finding:
    if not cluster.can("list", "Node", None):
        return Finding("GPUs", State.OK, "not looked at: nodes are not yours to list")
    counts = [
        (node["metadata"]["name"], int(node["status"].get("allocatable", {}).get(_GPU, 0)))
        for node in cluster.list("Node", None)
    ]
    with_gpus = [(name, count) for name, count in counts if count]
    if with_gpus:
        return Finding("GPUs", State.OK, _shown(with_gpus))
    return Finding(
        "GPUs", State.WARN, f"none on {len(counts)} nodes", "is the device plugin there?"
    )


def _shown(nodes: Sequence[tuple[str, int]], most: int = 4) -> str:
    shown = ", ".join(f"{name}: {count}" for name, count in nodes[:most])
    rest = len(nodes) - most
    return f"{shown}, and {rest} more nodes" if rest > 0 else shown
