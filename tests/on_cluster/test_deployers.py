"""Both deployers on a real cluster; what OME does there a stand-in does, as OME was recorded.

Each case prints what the trial became: `pytest -s` shows the table.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from inference_autotuner.manifests.labels import STUDY, TRIAL
from inference_autotuner.optimizer import spec
from inference_autotuner.optimizer.engine import get_engine
from inference_autotuner.optimizer.errors import Blame, Failure, Reason
from inference_autotuner.workflows.cluster import Cluster
from inference_autotuner.workflows.cluster_deployer import ClusterDeployer
from inference_autotuner.workflows.deployer import Order, Server
from inference_autotuner.workflows.kubernetes_shape import KubernetesShape
from inference_autotuner.workflows.ome_shape import OmeShape
from tests.on_cluster import ome_stand_in
from tests.on_cluster.site import kubectl

pytestmark = [
    pytest.mark.on_cluster,
    pytest.mark.skipif("KUBECONFIG" not in os.environ, reason="KUBECONFIG names no cluster"),
    # pytest undoes what connecting to a cluster without a certificate says of it.
    pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning"),
]

NAMESPACE = "deployer-cases"
_MODEL = "/models/smollm2-135m.gguf"
_RUNNER: Mapping[str, Any] = {
    "name": "ome-container",
    "image": "localhost/llamacpp:dev",
    "command": ["/app/llama-server", "--host", "0.0.0.0", "--port", "8080", "--model", _MODEL],
    "ports": [{"containerPort": 8080}],
    "readinessProbe": {"httpGet": {"path": "/health", "port": 8080}, "periodSeconds": 1},
}
RUNTIMES: Mapping[str, Mapping[str, Any]] = {
    "good": {},
    "in-args": {"command": _RUNNER["command"][:1], "args": _RUNNER["command"][1:]},
    "crashing": {"command": ["python3", "-c", "raise SystemExit('no room in my head')"]},
    "small": {
        "command": ["python3", "-c", "held = bytearray(1 << 30); print(len(held))"],
        "resources": {"limits": {"memory": "100Mi"}, "requests": {"memory": "64Mi"}},
    },
    "absent": {"image": "localhost/none:1"},
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    kubectl("create", "namespace", NAMESPACE, is_checked=False)
    cluster = Cluster.connect()
    ome_stand_in.install()
    for name, changes in RUNTIMES.items():
        cluster.create(
            {
                "apiVersion": "ome.io/v1beta1",
                "kind": "ServingRuntime",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"engineConfig": {"runner": {**_RUNNER, **changes}}},
            }
        )
    is_over = threading.Event()
    thread = threading.Thread(target=_reconcile, args=(cluster, is_over))
    thread.start()
    yield cluster
    is_over.set()
    thread.join()
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def _reconcile(cluster: Cluster, is_over: threading.Event) -> None:
    stand_in = ome_stand_in.StandIn(cluster, NAMESPACE)
    while not is_over.wait(0.5):
        stand_in.reconcile()


def make_order(mode: str, *, gpus: int = 0, ready_s: float = 60.0, **engine: Any) -> Order:
    in_ome = mode == "ome"
    model = engine.pop("model", "smollm2-135m" if in_ome else _MODEL)
    args = engine.pop("args", {"parallel": 2, "threads": 1})
    place = {"runtime": "good"} if in_ome else {"image": "localhost/llamacpp:dev"}
    task = spec.Spec.model_validate(
        {
            "model": {"name": model},
            "engine": {"name": "llamacpp", **place, **engine},
            "deployment": {"mode": mode, "namespace": NAMESPACE, "readyTimeout": f"{ready_s:g}s"},
            "parameters": {"parallel": [1, 2]},
            "workload": {"scenarios": ["D(32,16)"]},
        }
    )
    return Order("cases-h0", "t-0001", task, get_engine("llamacpp"), args, gpus, ".")


def deployer_of(cluster: Cluster, mode: str, queue_s: float = 600.0) -> ClusterDeployer:
    return ClusterDeployer(
        cluster,
        OmeShape() if mode == "ome" else KubernetesShape(),
        namespace=NAMESPACE,
        owner=None,
        queue_timeout_s=queue_s,
        lease_s=600.0,
    )


class Case:
    """One trial on the cluster: what it became, and what it left."""

    def __init__(self, cluster: Cluster, mode: str, name: str, queue_s: float = 600.0) -> None:
        self.cluster, self.name = cluster, f"{mode}: {name}"
        self.deployer = deployer_of(cluster, mode, queue_s)
        self.heard: list[str] = []
        self.rooms: list[float] = []

    def deploy(self, order: Order) -> Server | Failure:
        began = time.monotonic()
        found = self.deployer.deploy(
            order,
            on_line=self.heard.append,
            on_room=lambda: self.rooms.append(time.monotonic()),
            is_cancelled=lambda: False,
        )
        said = f"{time.monotonic() - began:.0f} s"
        if isinstance(found, Server):
            print(f"\n{self.name} | Server | {found.url} {found.served_name} | {said}")
        else:
            words = f"{found.blame.value} {found.reason.value} | {found.message}"
            print(f"\n{self.name} | {words} | {said}")
            assert self.leftovers(order.study) == []
        return found

    def leftovers(self, study: str = "cases-h0") -> list[str]:
        labels = {STUDY: study, TRIAL: "t-0001"}
        return [
            f"{kind} {found['metadata']['name']}"
            for kind in ("InferenceService", "Deployment", "Service", "Pod")
            for found in self.cluster.list(kind, NAMESPACE, labels)
        ]


@pytest.mark.parametrize(
    ("mode", "runtime"), [("ome", "good"), ("ome", "in-args"), ("kubernetes", "")]
)
def test_a_server_serves_what_was_ordered_and_leaves_nothing(
    cluster: Cluster, mode: str, runtime: str
) -> None:
    case = Case(cluster, mode, f"ready {runtime}")
    order = make_order(mode, **({"runtime": runtime} if runtime else {}))
    server = case.deploy(order)
    assert isinstance(server, Server)
    assert len(case.rooms) == 1
    assert case.deployer.is_alive(order)
    assert case.heard
    case.deployer.release("cases-h0", "t-0001")
    assert case.leftovers() == []
    assert case.deployer.log_tail(order)
    assert not case.deployer.is_alive(order)


def test_an_engine_that_ends_cannot_run(cluster: Cluster) -> None:
    case = Case(cluster, "ome", "crash loop")
    order = make_order("ome", runtime="crashing")
    found = case.deploy(order)
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.PARAMS, Reason.CRASHED)
    assert "no room in my head" in case.deployer.log_tail(order)


def test_a_flag_that_the_engine_refuses_is_found_in_its_log(cluster: Cluster) -> None:
    found = Case(cluster, "kubernetes", "bad flag").deploy(
        make_order("kubernetes", args={"no-such-flag": 1})
    )
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.PARAMS, Reason.INVALID_ARGUMENTS)


def test_an_engine_that_is_killed_for_memory_needs_less(cluster: Cluster) -> None:
    found = Case(cluster, "ome", "OOM killed").deploy(make_order("ome", runtime="small"))
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.PARAMS, Reason.OUT_OF_MEMORY)


@pytest.mark.parametrize("mode", ["ome", "kubernetes"])
def test_more_gpus_than_a_node_has_can_never_run(cluster: Cluster, mode: str) -> None:
    case = Case(cluster, mode, "unschedulable")
    found = case.deploy(make_order(mode, gpus=8))
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.PARAMS, Reason.UNSUPPORTED)
    assert case.rooms == []


def test_a_server_that_finds_no_room_in_time_is_nobodys_fault(cluster: Cluster) -> None:
    taken = make_order("kubernetes", gpus=3)
    first = Case(cluster, "kubernetes", "takes 3 of 4 GPUs")
    assert isinstance(first.deploy(taken), Server)
    second = Case(cluster, "ome", "no room", queue_s=5.0)
    order = make_order("ome", gpus=2)
    other = Order("cases-h1", *(getattr(order, f) for f in ("trial", "spec", "engine")), {}, 2, ".")
    found = second.deploy(other)
    first.deployer.release("cases-h0", "t-0001")
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.WORLD, Reason.NO_ROOM)


@pytest.mark.parametrize("mode", ["ome", "kubernetes"])
def test_an_image_that_cannot_be_fetched_is_no_fault_of_params(cluster: Cluster, mode: str) -> None:
    place = {"runtime": "absent"} if mode == "ome" else {"image": "localhost/none:1"}
    found = Case(cluster, mode, "image pull").deploy(make_order(mode, ready_s=15, **place))
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.WORLD, Reason.IMAGE_NOT_PULLED)


def test_a_missing_runtime_stops_the_study(cluster: Cluster) -> None:
    found = Case(cluster, "ome", "missing runtime").deploy(make_order("ome", runtime="none"))
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.TASK, Reason.RUNTIME_NOT_FOUND)


def test_a_missing_model_stops_the_study(cluster: Cluster) -> None:
    found = Case(cluster, "ome", "missing model").deploy(make_order("ome", model="none"))
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.TASK, Reason.MODEL_NOT_FOUND)


def test_a_slow_removal_is_waited_for(cluster: Cluster) -> None:
    case = Case(cluster, "ome", "slow deletion")
    order = make_order("ome")
    assert isinstance(case.deploy(order), Server)
    slow = {"metadata": {"annotations": {ome_stand_in.SLOW: "15"}}}
    cluster.merge_patch("InferenceService", "cases-h0-t-0001", NAMESPACE, slow)
    began = time.monotonic()
    case.deployer.release("cases-h0", "t-0001")
    print(f"\n{case.name} | released | nothing is left | {time.monotonic() - began:.0f} s")
    assert case.leftovers() == []


@pytest.mark.parametrize("mode", ["ome", "kubernetes"])
def test_a_server_that_somebody_removes_is_lost(cluster: Cluster, mode: str) -> None:
    case = Case(cluster, mode, "removed by somebody")
    order = make_order(mode)
    assert isinstance(case.deploy(order), Server)
    kind = "InferenceService" if mode == "ome" else "Deployment"
    cluster.delete(kind, "cases-h0-t-0001", NAMESPACE)
    for _ in range(60):
        if not case.deployer.is_alive(order):
            break
        time.sleep(0.5)
    found = case.deployer.failure(order)
    print(f"\n{case.name} | {found.blame.value} {found.reason.value} | {found.message}")
    case.deployer.release("cases-h0", "t-0001")
    assert (found.blame, found.reason) == (Blame.WORLD, Reason.SERVER_LOST)
    assert case.leftovers() == []


def test_an_engine_that_is_killed_under_load_says_so(cluster: Cluster) -> None:
    case = Case(cluster, "kubernetes", "killed under load")
    order = make_order("kubernetes")
    assert isinstance(case.deploy(order), Server)
    pod = cluster.list("Pod", NAMESPACE, {STUDY: "cases-h0"})[0]["metadata"]["name"]
    stop = "import os, signal; os.kill(1, signal.SIGTERM)"
    kubectl("-n", NAMESPACE, "exec", pod, "--", "python3", "-c", stop, is_checked=False)
    for _ in range(60):
        if not case.deployer.is_alive(order):
            break
        time.sleep(0.5)
    found = case.deployer.failure(order)
    print(f"\n{case.name} | {found.blame.value} {found.reason.value} | {found.message}")
    case.deployer.release("cases-h0", "t-0001")
    assert found.reason in (Reason.CRASHED_UNDER_LOAD, Reason.SERVER_LOST)
    assert case.leftovers() == []
