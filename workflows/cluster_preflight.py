"""Looks whether a cluster can run a task, before trial 0 would find out; changes nothing."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from inference_autotuner.manifests.trial_objects import Place
from inference_autotuner.optimizer.canonical import study_name
from inference_autotuner.optimizer.errors import Failure
from inference_autotuner.optimizer.space import build_space
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.workflows.cluster import Cluster
from inference_autotuner.workflows.deployer import Order
from inference_autotuner.workflows.finding import Finding, State
from inference_autotuner.workflows.kubernetes_shape import KubernetesShape
from inference_autotuner.workflows.ome_shape import OmeShape
from inference_autotuner.workflows.pods import gpus_of

_GPU = "nvidia.com/gpu"
_PRODUCT = "nvidia.com/gpu.product"
_MODEL_LABELS = (
    "models.ome.io/clusterbasemodel.{model}",
    "models.ome.io/{namespace}.basemodel.{model}",
)
_READ = (("list", "Pod", ""), ("get", "Pod", "log"), ("list", "Event", ""))


def examine_task(cluster: Cluster, task: TuningTask) -> list[Finding]:
    """Everything that trial 0 of a task rests on, one finding each.

    Args:
        cluster: The cluster of `KUBECONFIG`.
        task: A task of mode `ome` or `kubernetes`.
    """
    order = _order(task)
    return [
        *([*_ome(cluster, task)] if task.spec.deployment.mode == "ome" else []),
        _plan(cluster, task, order),
        *_quota(cluster, task, order.gpus),
        *_nodes(cluster, order.gpus),
        _tokenizer(task),
        _rights(cluster, task.spec.deployment.namespace),
    ]


def _order(task: TuningTask) -> Order:
    """The server of the baseline."""
    space = build_space(task.spec)
    return Order(
        study=study_name(task),
        trial="t-0000",
        spec=task.spec,
        engine=space.engine,
        args=space.args(space.baseline),
        gpus=space.gpus(space.baseline),
        base="/",
    )


def _plan(cluster: Cluster, task: TuningTask, order: Order) -> Finding:
    """What the deployer itself would find missing: model, runtime, launch line."""
    namespace = task.spec.deployment.namespace
    place = Place(order.study, order.trial, namespace, None, "")
    shape = OmeShape() if task.spec.deployment.mode == "ome" else KubernetesShape()
    plan = shape.plan(cluster, order, place)
    if isinstance(plan, Failure):
        return Finding("server", State.BAD, f"{plan.reason}: {plan.message}", "mend the task")
    kinds = ", ".join(str(each["kind"]) for each in plan.objects)
    return Finding("server", State.OK, f"{kinds} with {order.gpus} GPUs")


def _ome(cluster: Cluster, task: TuningTask) -> Iterator[Finding]:
    yield _generation(cluster)
    yield _model_node(cluster, task)
    yield from _accelerators(cluster, task)


def _generation(cluster: Cluster) -> Finding:
    if not cluster.can("get", "CustomResourceDefinition", None):
        return Finding("OME", State.OK, "its version was not looked at: CRDs are not yours to read")
    crd = cluster.get("CustomResourceDefinition", "inferenceservices.ome.io")
    if crd is None:
        remedy = "install OME (third_party/README.md)"
        return Finding("OME", State.BAD, "not installed", remedy)
    fields = _spec_fields(crd)
    if "predictor" in fields:
        return Finding("OME", State.OK, "of the line of v0.1")
    if "deploymentMode" in fields:
        return Finding("OME", State.OK, "of the line of v1")
    return Finding("OME", State.OK, "minimal CRDs, which do not tell its version")


def _spec_fields(crd: Mapping[str, Any]) -> Mapping[str, Any]:
    schema = crd["spec"]["versions"][0].get("schema", {}).get("openAPIV3Schema", {})
    spec = schema.get("properties", {}).get("spec", {})
    fields: Mapping[str, Any] = spec.get("properties", {})
    return fields


def _model_node(cluster: Cluster, task: TuningTask) -> Finding:
    """Without a node that has the model, pods stay pending for ever."""
    if not cluster.can("list", "Node", None):
        return Finding("model's nodes", State.OK, "not looked at: nodes are not yours to list")
    named = {"model": task.spec.model.name, "namespace": task.spec.deployment.namespace}
    labels = [label.format(**named) for label in _MODEL_LABELS]
    ready = [
        node["metadata"]["name"]
        for node in cluster.list("Node", None)
        if any(node["metadata"].get("labels", {}).get(label) == "Ready" for label in labels)
    ]
    if ready:
        return Finding("model's nodes", State.OK, ", ".join(ready[:4]))
    remedy = f"wait for OME's model-agent, or: kubectl label node NODE {labels[0]}=Ready"
    return Finding("model's nodes", State.BAD, "no node has the model", remedy)


def _accelerators(cluster: Cluster, task: TuningTask) -> Iterator[Finding]:
    """An AcceleratorClass may overwrite a flag that is being tuned."""
    runtime = cluster.get("ClusterServingRuntime", str(task.spec.engine.runtime)) or {}
    formats = runtime.get("spec", {}).get("supportedModelFormats", ())
    classes = sorted({name for each in formats for name in each.get("acceleratorConfig", {})})
    if classes:
        found = f"the runtime overrides flags for {', '.join(classes)}"
        remedy = "use a runtime without acceleratorConfig, or leave those flags out of the search"
        yield Finding("accelerator classes", State.WARN, found, remedy)


def _quota(cluster: Cluster, task: TuningTask, gpus: int) -> Iterator[Finding]:
    namespace = task.spec.deployment.namespace
    if not cluster.can("list", "ResourceQuota", namespace):
        return
    for quota in cluster.list("ResourceQuota", namespace):
        hard = quota.get("spec", {}).get("hard", {})
        limit = hard.get(f"requests.{_GPU}")
        if limit is None:
            continue
        name = quota["metadata"]["name"]
        if int(limit) < gpus:
            found = f"{name} allows {limit} GPUs, and one trial wants {gpus}"
            yield Finding("quota", State.BAD, found, "raise it, or lower spec.deployment.gpus")
        else:
            yield Finding("quota", State.OK, f"{name}: {limit} GPUs")


def _nodes(cluster: Cluster, gpus: int) -> Iterator[Finding]:
    if not gpus or not cluster.can("list", "Node", None):
        return
    nodes = cluster.list("Node", None)
    most = max(map(gpus_of, nodes), default=0)
    if most < gpus:
        found = f"the largest node has {most} GPUs, and the baseline wants {gpus}"
        yield Finding("GPUs", State.BAD, found, "lower spec.deployment.gpus")
    else:
        yield Finding("GPUs", State.OK, f"the baseline wants {gpus}, the largest node has {most}")
    yield from _products([node for node in nodes if gpus_of(node)])


def _products(nodes: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """A trial goes to any node that has room: on a faster GPU any params look better."""
    labels = [node["metadata"].get("labels", {}).get(_PRODUCT) for node in nodes]
    products = sorted({label for label in labels if label})
    if len(products) > 1:
        found = f"nodes have different ones: {', '.join(products)}"
        remedy = "let the model or its runtime choose one kind of node: trials are compared"
        yield Finding("GPU products", State.WARN, found, remedy)


def _tokenizer(task: TuningTask) -> Finding:
    """It is read in the benchmark's pod, which has neither the model nor the engine."""
    chosen = task.spec.model.tokenizer
    if chosen is None and task.spec.deployment.mode == "ome":
        found = f"'{task.spec.model.name}' is OME's name, and no tokenizer is found by it"
        return Finding("tokenizer", State.BAD, found, "name one in spec.model.tokenizer")
    shown = chosen or task.spec.model.name
    if shown.startswith("/"):
        return Finding("tokenizer", State.OK, f"{shown}, in the image of the benchmark")
    return Finding("tokenizer", State.OK, f"{shown}, from the hub")


def _rights(cluster: Cluster, namespace: str) -> Finding:
    refused = [
        f"{verb} {kind}{f'/{part}' if part else ''}"
        for verb, kind, part in _READ
        if not cluster.can(verb, kind, namespace, part)
    ]
    if not refused:
        return Finding("pods and logs", State.OK, "yours to read")
    remedy = "the steps may read them; to look yourself, ask for the right"
    return Finding("pods and logs", State.WARN, f"refused: {', '.join(refused)}", remedy)
