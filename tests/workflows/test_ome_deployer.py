"""A trial as an InferenceService: what is sent, and what becomes of it."""

from pathlib import Path
from typing import Any

import pytest

from inference_autotuner.manifests.inference_service import RUNNER
from inference_autotuner.manifests.trial_objects import Owner
from inference_autotuner.optimizer.engine import get_engine
from inference_autotuner.optimizer.errors import (
    Blame,
    DeployError,
    Failure,
    Reason,
    StudyError,
)
from inference_autotuner.workflows import cluster_deployer, cluster_wait, completion, ome_shape
from inference_autotuner.workflows.cluster import ClusterUnavailableError
from inference_autotuner.workflows.cluster_deployer import ClusterDeployer
from inference_autotuner.workflows.deployer import Order, Server
from inference_autotuner.workflows.ome_shape import OmeShape, merged_args
from tests.workflows.ome_doubles import (
    NAMESPACE,
    OmeCluster,
    add_setup,
    make_order,
    read_recording,
)

RECORDED = Path(__file__).with_name("ome_recorded")


class Case:
    """A cluster with OME, and a deployer on it."""

    def __init__(self) -> None:
        self.cluster = OmeCluster()
        self.heard: list[str] = []
        self.rooms = 0
        self.naps = 0
        self.cancelled_after = 10**6
        add_setup(self.cluster, RECORDED / "setup.yaml")
        self.deployer = ClusterDeployer(
            self.cluster,  # type: ignore[arg-type]
            OmeShape(),
            namespace=NAMESPACE,
            owner=Owner("s-h0", "u1"),
            queue_timeout_s=600.0,
            lease_s=60.0,
            sleep=self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        self.naps += 1
        assert self.naps < 1000

    def becomes(self, recorded: str) -> None:
        self.cluster.becomes = read_recording(RECORDED / recorded)

    def pod(self) -> dict[str, Any]:
        assert self.cluster.becomes
        return next(each for each in self.cluster.becomes.children if each["kind"] == "Pod")

    def runner(self) -> dict[str, Any]:
        runtime = self.cluster.objects["ClusterServingRuntime", "", "llamacpp-cpu"]
        found: dict[str, Any] = runtime["spec"]["engineConfig"]["runner"]
        return found

    def deploy(self, order: Order) -> Server | Failure:
        def on_room() -> None:
            self.rooms += 1

        return self.deployer.deploy(
            order,
            on_line=self.heard.append,
            on_room=on_room,
            is_cancelled=lambda: self.naps >= self.cancelled_after,
        )

    def sent(self, order: Order) -> dict[str, Any]:
        """The InferenceService of an order that is given up at once."""
        self.cancelled_after = self.naps
        with pytest.raises(DeployError):
            self.deploy(order)
        return self.cluster.created[-1]

    def left(self) -> list[tuple[str, str, str]]:
        return [key for key in self.cluster.objects if key[1] == NAMESPACE]


@pytest.fixture
def case() -> Case:
    return Case()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every server completes, under these names."""
    names = ["smollm2"]
    monkeypatch.setattr(cluster_wait, "health_problem", lambda *_: None)
    monkeypatch.setattr(cluster_wait, "completion_problem", lambda *_: None)
    monkeypatch.setattr(cluster_wait, "served_models", lambda _: names)
    monkeypatch.setattr(cluster_wait, "read_json", lambda *_: None)
    return names


def test_flags_follow_a_launch_line_in_command(case: Case) -> None:
    sent = case.sent(make_order("t-0002", {"parallel": 4}))
    runner = sent["spec"]["engine"]["runner"]
    assert runner["args"] == ["--parallel", "4"]
    assert "command" not in runner
    assert runner["name"] == "ome-container"
    assert sent["metadata"]["ownerReferences"][0]["uid"] == "u1"


def test_flags_replace_their_like_in_a_launch_line_in_args(case: Case) -> None:
    words = ["--port", "8080", "-np", "1", "--no-warmup", "--metrics"]
    case.runner().update(command=["llama-server"], args=words)
    sent = case.sent(make_order("t-0002", {"parallel": 4}))
    expected = ["--port", "8080", "--no-warmup", "--metrics", "--parallel", "4"]
    assert sent["spec"]["engine"]["runner"]["args"] == expected


def test_a_server_says_what_its_container_was_sent(case: Case, served: list[str]) -> None:
    case.becomes("ready")
    case.runner().update(name="engine", command=["llama-server"], args=["--metrics"])
    server = case.deploy(make_order("t-0002", {"parallel": 4}))
    assert isinstance(server, Server)
    runner = case.cluster.created[-1]["spec"]["engine"]["runner"]
    assert list(server.engine_args) == runner["args"] == ["--metrics", "--parallel", "4"]
    assert server.resolved[RUNNER] == runner["name"] == "engine"


def test_a_list_of_values_goes_with_its_flag() -> None:
    words = ["--cuda-graph-sizes", "1", "2", "--port", "80"]
    sent = merged_args(get_engine("vllm"), words, ["--cuda-graph-sizes", "4"])
    assert sent == ["--port", "80", "--cuda-graph-sizes", "4"]


def test_nothing_is_sent_where_nothing_is_to_change(case: Case) -> None:
    assert "args" not in case.sent(make_order("t-0002", {}))["spec"]["engine"]["runner"]


def test_gpus_are_those_of_the_trial(case: Case) -> None:
    sent = case.sent(make_order("t-0002", {}, gpus=2))
    resources = sent["spec"]["engine"]["runner"]["resources"]
    assert resources["requests"] == {"cpu": "200m", "memory": "300Mi", "nvidia.com/gpu": "2"}
    assert resources["limits"] == {"memory": "2Gi", "nvidia.com/gpu": "2"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"runner": {"name": "c", "command": ["/bin/bash", "-c", "serve"]}}, "through a shell"),
        ({"leader": {}, "worker": {"size": 1}, "runner": {"name": "c"}}, "no engineConfig.runner"),
        ({"runner": None}, "no engineConfig.runner"),
    ],
)
def test_a_runtime_that_cannot_be_tuned_stops_the_study(
    case: Case, changes: dict[str, Any], words: str
) -> None:
    runtime = case.cluster.objects["ClusterServingRuntime", "", "llamacpp-cpu"]
    runtime["spec"]["engineConfig"] = changes
    found = case.deploy(make_order("t-0002", {}))
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.TASK, Reason.INVALID_ARGUMENTS)
    if "worker" not in changes:
        assert words in found.message
    else:
        assert "several pods" in found.message


def test_a_runtime_of_the_namespace_wins(case: Case) -> None:
    runner = {"name": "mine", "command": ["llama-server"]}
    case.cluster.add(
        "ServingRuntime", "llamacpp-cpu", NAMESPACE, spec={"engineConfig": {"runner": runner}}
    )
    sent = case.sent(make_order("t-0002", {}))
    assert sent["spec"]["engine"]["runner"]["name"] == "mine"


def test_a_cluster_without_ome_stops_the_study(case: Case) -> None:
    case.cluster.kinds_missing.add("InferenceService")
    found = case.deploy(make_order("t-0002", {}))
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.TASK, Reason.RUNTIME_NOT_FOUND)
    assert "OME is not installed" in found.message


def test_events_of_an_earlier_one_of_the_name_do_not_count(
    case: Case, served: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case.becomes("ready")
    old = {
        "type": "Warning",
        "reason": "RuntimeValidationError",
        "message": "old",
        "involvedObject": {"kind": "InferenceService", "name": "t-0002", "uid": "before"},
    }
    monkeypatch.setattr(case.cluster, "events", lambda *_: [old])
    assert isinstance(case.deploy(make_order("t-0002", {"parallel": 4})), Server)


def test_a_server_gets_room_once_and_lives_until_its_release(case: Case, served: list[str]) -> None:
    case.becomes("ready")
    order = make_order("t-0002", {"parallel": 4})
    server = case.deploy(order)
    assert isinstance(server, Server)
    assert case.rooms == 1
    assert case.deployer.is_alive(order)
    case.deployer.release("t", "0002")
    assert not case.deployer.is_alive(order)
    assert case.left() == []


def test_a_server_of_another_name_than_the_tasks_stops_the_study(
    case: Case, served: list[str]
) -> None:
    case.becomes("ready")
    served[:] = ["vllm-model"]
    order = make_order("t-0002", {"parallel": 4}, served="mine")
    found = case.deploy(order)
    assert isinstance(found, Failure)
    assert found.blame is Blame.TASK
    assert "serves vllm-model and not mine" in found.message


def test_a_server_that_completes_nothing_is_never_ready(
    case: Case, served: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case.becomes("ready")
    case.cluster.log = "loading layer 7\n"
    monkeypatch.setattr(cluster_wait, "completion_problem", lambda *_: "POST /v1: 503 busy")
    found = case.deploy(make_order("t-0002", {"parallel": 4}, ready_s=0.001))
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.PARAMS, Reason.NEVER_READY)
    assert "its log ends: loading layer 7" in found.message
    assert case.left() == []


def test_a_container_that_is_not_created_in_time_is_no_fault_of_params(case: Case) -> None:
    case.becomes("image_pull")
    status = case.pod()["status"]["containerStatuses"][0]
    status["state"] = {"waiting": {"reason": "ContainerCreating"}}
    found = case.deploy(make_order("t-0006", {"parallel": 4}, ready_s=0.001))
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.WORLD, Reason.IMAGE_NOT_PULLED)


@pytest.mark.parametrize("message", ["manifest unknown", "pull access denied", "not found"])
def test_an_image_that_the_registry_does_not_have_stops_the_study(case: Case, message: str) -> None:
    case.becomes("image_pull")
    status = case.pod()["status"]["containerStatuses"][0]
    status["state"]["waiting"]["message"] = message
    found = case.deploy(make_order("t-0006", {"parallel": 4}))
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.TASK, Reason.IMAGE_NOT_PULLED)


def test_a_pod_that_was_evicted_is_lost(case: Case) -> None:
    case.becomes("crash_loop")
    case.pod()["status"] = {"phase": "Failed", "reason": "Evicted", "message": "low on disk"}
    found = case.deploy(make_order("t-0001", {"parallel": 4}))
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.WORLD, Reason.SERVER_LOST)
    assert "low on disk" in found.message


def test_a_model_that_is_on_no_node_stops_the_study(case: Case) -> None:
    case.becomes("unschedulable")
    condition = case.pod()["status"]["conditions"][0]
    condition["message"] = (
        "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
    )
    found = case.deploy(make_order("t-0004", {"parallel": 4}))
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.TASK, Reason.NO_ROOM)
    assert "labelled" in found.message
    assert case.rooms == 0


def test_an_ome_that_does_not_act_is_not_waited_for(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ome_shape, "_SILENT_S", -1.0)
    found = case.deploy(make_order("t-0001", {"parallel": 4}))
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.WORLD, Reason.RUNTIME_NOT_FOUND)
    assert "its manager" in found.message


def test_a_failure_keeps_the_log_and_leaves_nothing(case: Case) -> None:
    case.becomes("crash_loop")
    case.cluster.log = "x" * 9000 + "ValueError: the end"
    order = make_order("t-0001", {"parallel": 4})
    case.deploy(order)
    assert case.left() == []
    assert len(case.deployer.log_tail(order).encode()) == 4096
    assert case.deployer.log_tail(order).endswith("the end")


def test_a_cluster_that_is_away_for_a_moment_is_waited_for(
    case: Case, served: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case.becomes("ready")
    real, failures = case.cluster.events, iter([True, True, False])

    def events(*about: str) -> list[dict[str, Any]]:
        if next(failures, False):
            raise ClusterUnavailableError("away")
        return real(*about)

    monkeypatch.setattr(case.cluster, "events", events)
    assert isinstance(case.deploy(make_order("t-0002", {"parallel": 4})), Server)


def test_a_cluster_that_stays_away_is_tried_again_later(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.becomes("ready")
    monkeypatch.setattr(cluster_wait, "_SILENT_S", -1.0)

    def events(*about: str) -> list[dict[str, Any]]:
        raise ClusterUnavailableError("away")

    monkeypatch.setattr(case.cluster, "events", events)
    with pytest.raises(ClusterUnavailableError):
        case.deploy(make_order("t-0002", {"parallel": 4}))
    assert case.left() == []


def test_a_release_waits_for_pods_and_names_what_stays(
    case: Case, served: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case.becomes("ready")
    case.deploy(make_order("t-0002", {"parallel": 4}))
    case.cluster.deletions = 1
    monkeypatch.setattr(cluster_deployer, "_GONE_S", -1.0)
    with pytest.raises(StudyError, match="Pod t-0002-engine"):
        case.deployer.release("t", "0002")


def test_a_server_that_somebody_removed_is_lost(case: Case, served: list[str]) -> None:
    case.becomes("ready")
    order = make_order("t-0002", {"parallel": 4})
    case.deploy(order)
    case.cluster.delete("InferenceService", "t-0002", NAMESPACE)
    assert not case.deployer.is_alive(order)
    found = case.deployer.failure(order)
    assert (found.blame, found.reason) == (Blame.WORLD, Reason.SERVER_LOST)


def test_an_engine_that_was_started_again_died_under_load(case: Case, served: list[str]) -> None:
    case.becomes("ready")
    order = make_order("t-0002", {"parallel": 4})
    case.deploy(order)
    status = case.pod()["status"]["containerStatuses"][0]
    status["restartCount"] = 1
    status["lastState"] = {"terminated": {"exitCode": 7, "reason": "Error"}}
    case.cluster.log = "I have had enough"
    assert not case.deployer.is_alive(order)
    found = case.deployer.failure(order)
    assert (found.blame, found.reason) == (Blame.PARAMS, Reason.CRASHED_UNDER_LOAD)
    assert "I have had enough" in found.message
    case.deployer.release("t", "0002")
    assert case.deployer.failure(order) == found


def test_a_sweep_touches_its_own_study_and_what_is_ours(case: Case) -> None:
    ours = {
        "app.kubernetes.io/managed-by": "inference-autotuner",
        "inference-autotuner/workflow-uid": "u1",
    }
    for name, study, labels in (("a-t-1", "a", ours), ("b-t-1", "b", ours), ("c-t-1", "a", {})):
        marks = {**labels, "inference-autotuner/study": study, "inference-autotuner/trial": "t-1"}
        case.cluster.add("InferenceService", name, NAMESPACE, metadata={"labels": marks})
    assert case.deployer.sweep("a") == ["a-t-1"]
    assert sorted(key[2] for key in case.left()) == ["b-t-1", "c-t-1"]


def test_a_sweep_of_all_studies_takes_those_whose_lease_is_over(case: Case) -> None:
    for name, lease in (("a", "2020-01-01T00:00:00Z"), ("b", "2999-01-01T00:00:00Z")):
        metadata = {
            "labels": {
                "app.kubernetes.io/managed-by": "inference-autotuner",
                "inference-autotuner/study": name,
                "inference-autotuner/trial": "t-1",
            },
            "annotations": {"inference-autotuner/lease-until": lease},
        }
        case.cluster.add("InferenceService", f"{name}-t-1", NAMESPACE, metadata=metadata)
    assert case.deployer.sweep(None) == ["a-t-1"]
    assert [key[2] for key in case.left()] == ["b-t-1"]


def test_a_secret_flag_is_named_and_not_sent(case: Case) -> None:
    order = make_order(
        "t-0002", {"api-key": "sk-1234567", "parallel": 4}, fixed={"api-key": "sk-1234567"}
    )
    sent = case.sent(order)
    runner = sent["spec"]["engine"]["runner"]
    assert runner["args"] == ["--api-key", "$(SERVE_API_KEY)", "--parallel", "4"]
    assert "sk-1234567" not in str(sent)


def test_a_dollar_in_a_flag_stays_a_dollar(case: Case) -> None:
    order = make_order("t-0002", {"grammar": "$(HOME)"})
    assert case.sent(order)["spec"]["engine"]["runner"]["args"] == ["--grammar", "$$(HOME)"]


def test_lines_of_the_log_are_heard_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.becomes("crash_loop")
    container = case.pod()["status"]["containerStatuses"][0]
    container.update(restartCount=0, lastState={}, state={"running": {}})
    lines = ["2026-01-01T00:00:00.000000001Z one", "2026-01-01T00:00:00.000000002Z two"]

    def pod_log(*place: str, since: str | None = None, **options: Any) -> str:
        return "\n".join(lines) if since else ""

    monkeypatch.setattr(case.cluster, "pod_log", pod_log)
    case.cancelled_after = case.naps + 3
    with pytest.raises(DeployError):
        case.deploy(make_order("t-0001", {"parallel": 4}))
    assert case.heard == ["one", "two"]


def test_a_completion_is_asked_for_where_nobody_listens() -> None:
    address = completion.Address("127.0.0.1", 1)
    assert completion.health_problem(address, "/health") is not None
    assert completion.served_models(address) == []
    assert completion.completion_problem(address, "a", 10.0, lambda: False) is not None
