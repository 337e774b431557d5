"""The deployer before what a real OME v0.1.5 did: each recording becomes what it must become."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference_autotuner.optimizer.errors import Blame, Failure, Reason
from inference_autotuner.workflows.cluster_deployer import ClusterDeployer
from inference_autotuner.workflows.deployer import Server
from inference_autotuner.workflows.ome_shape import OmeShape
from tests.on_cluster import ome_stand_in
from tests.workflows.ome_doubles import (
    NAMESPACE,
    OmeCluster,
    Recording,
    add_setup,
    make_order,
    read_recording,
)

RECORDED = Path(__file__).with_name("ome_recorded")
CASES = ("crash_loop", "image_pull", "missing_runtime", "oom_killed", "ready", "unschedulable")
CHANGED = {"parallel": 4}


def deploy(cluster: OmeCluster, recording: Recording, **fields: Any) -> Server | Failure:
    deployer = ClusterDeployer(
        cluster,  # type: ignore[arg-type]
        OmeShape(),
        namespace=NAMESPACE,
        owner=None,
        queue_timeout_s=fields.pop("queue_s", 600.0),
        lease_s=60.0,
        sleep=lambda _: None,
    )
    order = make_order(recording.name, CHANGED, **fields)
    return deployer.deploy(
        order, on_line=lambda _: None, on_room=lambda: None, is_cancelled=lambda: False
    )


@pytest.fixture
def cluster() -> OmeCluster:
    cluster = OmeCluster(log="loading\nTraceback\nValueError: no such layer\n")
    add_setup(cluster, RECORDED / "setup.yaml")
    return cluster


def recorded(cluster: OmeCluster, case: str) -> Recording:
    cluster.becomes = read_recording(RECORDED / case)
    return cluster.becomes


def assert_nothing_is_left(cluster: OmeCluster, recording: Recording) -> None:
    assert not [key for key in cluster.objects if key[2].startswith(recording.name)]


@pytest.mark.parametrize(
    ("case", "blame", "reason", "words"),
    [
        ("crash_loop", Blame.PARAMS, Reason.CRASHED, "exit code 1"),
        ("oom_killed", Blame.PARAMS, Reason.OUT_OF_MEMORY, "memory"),
        ("missing_runtime", Blame.TASK, Reason.RUNTIME_NOT_FOUND, "no-such-runtime"),
    ],
)
def test_a_recorded_failure_becomes_its_reason(
    cluster: OmeCluster, case: str, blame: Blame, reason: Reason, words: str
) -> None:
    recording = recorded(cluster, case)
    found = deploy(cluster, recording)
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (blame, reason)
    assert words in found.message
    assert_nothing_is_left(cluster, recording)


def test_a_recorded_image_that_is_not_fetched_is_the_worlds_fault(cluster: OmeCluster) -> None:
    recording = recorded(cluster, "image_pull")
    found = deploy(cluster, recording, ready_s=0.001)
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.WORLD, Reason.IMAGE_NOT_PULLED)
    assert "connection refused" in found.message
    assert_nothing_is_left(cluster, recording)


def test_a_recorded_wait_for_gpus_is_no_failure_of_params(cluster: OmeCluster) -> None:
    cluster.add("Node", "node", "", status={"allocatable": {"nvidia.com/gpu": "8"}})
    recording = recorded(cluster, "unschedulable")
    found = deploy(cluster, recording, gpus=8, queue_s=0.0)
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.WORLD, Reason.NO_ROOM)
    assert "Insufficient nvidia.com/gpu" in found.message
    assert_nothing_is_left(cluster, recording)


def test_a_recorded_wait_for_more_gpus_than_any_node_has_is_in_vain(cluster: OmeCluster) -> None:
    cluster.add("Node", "node", "", status={"allocatable": {"nvidia.com/gpu": "4"}})
    found = deploy(cluster, recorded(cluster, "unschedulable"), gpus=8)
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.PARAMS, Reason.UNSUPPORTED)


def test_a_missing_model_is_found_before_anything_is_created(cluster: OmeCluster) -> None:
    recording = recorded(cluster, "missing_model")
    found = deploy(cluster, recording, model="no-such-model")
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.TASK, Reason.MODEL_NOT_FOUND)
    assert cluster.created == []


class _Engine(http.server.BaseHTTPRequestHandler):
    """Healthy, and completes everything."""

    def do_GET(self) -> None:
        self._answer(b'{"data": [{"id": "smollm2"}]}')

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b'{"choices": [{"text": " time"}], "usage": {"completion_tokens": 2}}')

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Engine) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_recorded_server_serves_once_it_completes(cluster: OmeCluster, port: int) -> None:
    recording = recorded(cluster, "ready")
    for child in recording.children:
        if child["kind"] == "Service":
            child["spec"]["clusterIP"] = "127.0.0.1"
            child["spec"]["ports"][0]["port"] = port
    found = deploy(cluster, recording)
    assert isinstance(found, Server)
    assert (found.url, found.served_name) == (f"http://127.0.0.1:{port}", "smollm2")
    assert found.engine_args == ("--parallel", "4")


def test_a_recorded_server_with_other_flags_is_not_the_one_that_was_ordered(
    cluster: OmeCluster,
) -> None:
    recording = recorded(cluster, "ready")
    deployment = next(each for each in recording.children if each["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["args"] = ["--parallel", "8"]
    found = deploy(cluster, recording)
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.TASK, Reason.SERVER_CHANGED)
    assert "parallel" in found.message


@pytest.mark.parametrize("case", [*CASES, "missing_model"])
def test_the_stand_in_reports_what_ome_reported(case: str) -> None:
    recording = read_recording(RECORDED / case)
    if not recording.children:
        assert "status" not in recording.service or not recording.service["status"]
        return
    deployment = next(each for each in recording.children if each["kind"] == "Deployment")
    pods = [each for each in recording.children if each["kind"] == "Pod"]
    reported = ome_stand_in.build_status(recording.service, deployment, pods)
    expected = ome_stand_in.without_times(recording.service["status"])
    assert ome_stand_in.without_times(reported) == expected


@pytest.mark.parametrize("case", ["crash_loop", "image_pull", "oom_killed", "ready"])
def test_the_stand_in_makes_the_pods_that_ome_made(cluster: OmeCluster, case: str) -> None:
    recording = read_recording(RECORDED / case)
    runtime = cluster.objects["ClusterServingRuntime", "", "llamacpp-cpu"]
    pod = ome_stand_in.build_pod(recording.service, runtime)
    deployment = next(each for each in recording.children if each["kind"] == "Deployment")
    expected = deployment["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == expected["nodeSelector"]
    ours, theirs = pod["containers"][0], expected["containers"][0]
    for field in ("name", "image", "command", "args"):
        assert ours[field] == theirs[field]
