"""A trial as a Deployment: what is created, and what becomes of it."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from inference_autotuner.manifests.trial_objects import Owner
from inference_autotuner.optimizer import spec
from inference_autotuner.optimizer.engine import get_engine
from inference_autotuner.optimizer.errors import Blame, DeployError, Failure, Reason, StudyError
from inference_autotuner.workflows import cluster_wait
from inference_autotuner.workflows.cluster import InvalidObjectError
from inference_autotuner.workflows.cluster_deployer import ClusterDeployer
from inference_autotuner.workflows.deployer import Order, Server
from inference_autotuner.workflows.kubernetes_shape import KubernetesShape
from tests.workflows.fake_cluster import FakeCluster

Manifest = dict[str, Any]


class Cluster(FakeCluster):
    """Every Deployment gets one pod, which looks as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.status: Manifest = {}
        self.node: str | None = "node"
        self.conditions: list[Manifest] = []
        self.refusal: Exception | None = None
        self.log = ""

    def create(self, manifest: Manifest) -> Manifest:
        if self.refusal:
            raise self.refusal
        made = super().create(manifest)
        if manifest["kind"] == "Deployment":
            made["status"] = {"conditions": self.conditions}
            template, place = manifest["spec"]["template"], manifest["metadata"]
            metadata = {
                **template["metadata"],
                "name": f"{place['name']}-x",
                "namespace": place["namespace"],
                "creationTimestamp": "2026-01-01T00:00:00Z",
            }
            pod_spec = {**template["spec"], **({"nodeName": self.node} if self.node else {})}
            pod = {"kind": "Pod", "metadata": metadata, "spec": pod_spec, "status": self.status}
            super().create(pod)
        if manifest["kind"] == "Service":
            made["spec"] = {**made["spec"], "clusterIP": "10.0.0.1"}
        return made

    def delete(self, kind: str, name: str, namespace: str, uid: str | None = None) -> None:
        super().delete(kind, name, namespace, uid)
        if kind == "Deployment":
            super().delete("Pod", f"{name}-x", namespace)

    def pod_log(self, *place: str, **options: Any) -> str:
        return "" if options.get("since") else self.log


def container(**state: Any) -> Manifest:
    return {"containerStatuses": [{"name": "engine", "restartCount": 0, **state}]}


SERVING = container(ready=True, state={"running": {}})


def make_order(args: Mapping[str, Any], *, gpus: int = 0, ready_s: float = 600.0) -> Order:
    task = spec.Spec.model_validate(
        {
            "model": {"name": "org/model"},
            "engine": {"name": "vllm", "image": "engine:1"},
            "deployment": {"mode": "kubernetes", "readyTimeout": f"{ready_s:g}s"},
            "parameters": {"max-num-seqs": [1, 2]},
            "workload": {"scenarios": ["D(32,16)"]},
        }
    )
    return Order("s-h0", "t-0001", task, get_engine("vllm"), args, gpus, ".")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """On it, every server completes."""
    monkeypatch.setattr(cluster_wait, "health_problem", lambda *_: None)
    monkeypatch.setattr(cluster_wait, "completion_problem", lambda *_: None)
    monkeypatch.setattr(cluster_wait, "served_models", lambda _: ["org/model"])
    monkeypatch.setattr(cluster_wait, "read_json", lambda *_: None)
    return Cluster()


def deployer_on(
    cluster: Cluster,
    queue_s: float = 600.0,
    owner: Owner | None = None,
    sleep: Callable[[float], None] = lambda _: None,
) -> ClusterDeployer:
    return ClusterDeployer(
        cluster,  # type: ignore[arg-type]
        KubernetesShape(),
        namespace="tuning",
        owner=owner,
        queue_timeout_s=queue_s,
        lease_s=60.0,
        sleep=sleep,
    )


def deploy(cluster: Cluster, order: Order, queue_s: float = 600.0) -> Server | Failure:
    found = deployer_on(cluster, queue_s).deploy(
        order, on_line=lambda _: None, on_room=lambda: None, is_cancelled=lambda: False
    )
    if isinstance(found, Failure):
        assert cluster.list("Pod") == cluster.list("Deployment") == cluster.list("Service") == []
    return found


def test_a_server_is_reached_by_its_service(cluster: Cluster) -> None:
    cluster.status = SERVING
    found = deploy(cluster, make_order({"max-num-seqs": 2}))
    assert isinstance(found, Server)
    assert (found.url, found.served_name) == ("http://10.0.0.1:8080", "org/model")
    assert "--max-num-seqs" in " ".join(found.engine_args)
    args = cluster.list("Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert tuple(args) == found.engine_args


def test_a_server_that_is_there_already_makes_place_for_a_fresh_one(cluster: Cluster) -> None:
    cluster.status = SERVING
    deploy(cluster, make_order({}))
    before = cluster.list("Deployment")[0]["metadata"]["uid"]
    deploy(cluster, make_order({}))
    assert [each["metadata"]["uid"] for each in cluster.list("Deployment")] != [before]


def test_an_unready_server_still_lives(cluster: Cluster) -> None:
    cluster.status = SERVING
    order = make_order({})
    deploy(cluster, order)
    cluster.status["containerStatuses"][0]["ready"] = False
    alive = deployer_on(cluster).is_alive(order)
    cluster.status["containerStatuses"][0]["ready"] = True
    assert alive


@pytest.mark.parametrize(
    ("log", "code", "reason"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory", 1, Reason.OUT_OF_MEMORY),
        ("api_server.py: error: unrecognized arguments: --x", 2, Reason.INVALID_ARGUMENTS),
        ("", 1, Reason.CRASHED),
    ],
)
def test_an_engine_that_ended_once_is_judged_by_its_log(
    cluster: Cluster, log: str, code: int, reason: Reason
) -> None:
    ended = {"terminated": {"exitCode": code, "reason": "Error"}}
    cluster.status, cluster.log = container(state=ended), log
    found = deploy(cluster, make_order({}))
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.PARAMS, reason)


def test_a_container_killed_for_memory_needs_less(cluster: Cluster) -> None:
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    cluster.status = container(lastState=ended, state={"waiting": {"reason": "CrashLoopBackOff"}})
    found = deploy(cluster, make_order({}))
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.PARAMS, Reason.OUT_OF_MEMORY)


@pytest.mark.parametrize(
    "message",
    [
        "exceeded quota: gpus",
        "Internal error occurred: failed calling webhook: connect: connection refused",
    ],
)
def test_a_pod_that_may_come_later_is_waited_for(cluster: Cluster, message: str) -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": message}
    cluster.conditions, cluster.node = [refused], None
    found = deploy(cluster, make_order({}), queue_s=0.0)
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.WORLD, Reason.NO_ROOM)
    assert message in found.message


def test_a_pod_that_the_cluster_refuses_stops_the_study(cluster: Cluster) -> None:
    message = "pods is forbidden: violates PodSecurity"
    cluster.conditions = [{"type": "ReplicaFailure", "status": "True", "message": message}]
    found = deploy(cluster, make_order({}))
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.TASK, Reason.INVALID_ARGUMENTS)
    assert message in found.message


def test_an_object_that_the_cluster_refuses_stops_the_study(cluster: Cluster) -> None:
    cluster.refusal = InvalidObjectError("the cluster refuses POST: spec.x: Invalid value")
    found = deploy(cluster, make_order({}))
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.TASK, Reason.INVALID_ARGUMENTS)


def test_a_pod_that_lacks_its_secret_stops_the_study(cluster: Cluster) -> None:
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "a-secrets" not found'}
    cluster.status = container(state={"waiting": waiting})
    found = deploy(cluster, make_order({}))
    assert isinstance(found, Failure)
    assert found.blame is Blame.TASK
    assert "a-secrets" in found.message


def test_nodes_that_may_not_be_listed_are_waited_for(cluster: Cluster) -> None:
    cluster.node, cluster.refused = None, {("list", "Node")}
    cluster.add("Node", "n", "", status={"allocatable": {"nvidia.com/gpu": "1"}})
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
    }
    cluster.status = {"conditions": [condition]}
    found = deploy(cluster, make_order({}, gpus=8), queue_s=0.0)
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.WORLD, Reason.NO_ROOM)


@pytest.mark.parametrize(
    "status",
    [
        {"allocatable": {"nvidia.com/gpu": "0"}},  # a device plugin that is restarted
        {"allocatable": {"nvidia.com/gpu": "7"}, "capacity": {"nvidia.com/gpu": "8"}},
    ],
)
def test_gpus_that_are_missing_for_a_while_are_not_the_fault_of_params(
    cluster: Cluster, status: Manifest
) -> None:
    cluster.node = None
    cluster.add("Node", "n", "", status=status)
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    waits = {"type": "PodScheduled", "status": "False", "message": message}
    cluster.status = {"conditions": [waits]}
    found = deploy(cluster, make_order({}, gpus=8), queue_s=0.0)
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.WORLD, Reason.NO_ROOM)


def test_the_time_in_which_an_image_is_fetched_is_not_the_engines(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        is_fetched = clock[0] > 500.0
        pod = cluster.list("Pod")[0]
        state = {"running": {}} if is_fetched else {"waiting": {"reason": "ContainerCreating"}}
        pod["status"] = container(ready=clock[0] > 1000.0, state=state)

    monkeypatch.setattr(cluster_wait.time, "monotonic", lambda: clock[0])
    deployer = deployer_on(cluster, sleep=sleep)
    found = deployer.deploy(
        make_order({}, ready_s=600.0),
        on_line=lambda _: None,
        on_room=lambda: None,
        is_cancelled=lambda: False,
    )
    assert isinstance(found, Server)
    assert clock[0] > 1000.0


def test_a_cancelled_wait_leaves_nothing(cluster: Cluster) -> None:
    with pytest.raises(DeployError) as caught:
        deployer_on(cluster).deploy(
            make_order({}), on_line=print, on_room=lambda: None, is_cancelled=lambda: True
        )
    assert caught.value.reason is Reason.INTERRUPTED
    assert cluster.list("Deployment") == []


def test_a_log_that_cannot_be_read_keeps_no_server(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.status, order = SERVING, make_order({})
    assert isinstance(deploy(cluster, order), Server)

    def refused(*_: str, **__: object) -> str:
        raise StudyError("the cluster refuses GET log")

    monkeypatch.setattr(cluster, "pod_log", refused)
    deployer = deployer_on(cluster)
    assert deployer.log_tail(order) == ""
    deployer.release(order.study, order.trial)
    assert cluster.list("Deployment") == []


def test_a_server_whose_pod_was_replaced_is_another_one(cluster: Cluster) -> None:
    cluster.status, order = SERVING, make_order({})
    assert isinstance(deploy(cluster, order), Server)
    deployer = deployer_on(cluster)
    assert deployer.is_alive(order)
    cluster.list("Pod")[0]["metadata"]["uid"] = "that of the next one"
    assert not deployer.is_alive(order)


def test_a_sweep_leaves_the_servers_of_another_workflow_alone(cluster: Cluster) -> None:
    cluster.status, order = SERVING, make_order({})
    mine = deployer_on(cluster, owner=Owner("w", "uid-w"))
    mine.deploy(order, on_line=print, on_room=lambda: None, is_cancelled=lambda: False)
    another = deployer_on(cluster, owner=Owner("w2", "uid-w2"))
    assert another.sweep(order.study) == []
    assert mine.sweep(order.study) == [f"{order.study}-{order.trial}"]
