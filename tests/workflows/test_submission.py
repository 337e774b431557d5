"""Submitting: one Workflow at a time, whoever submits, however often."""

from typing import Any, cast

import pytest
from optuna.study import StudyDirection

from inference_autotuner.optimizer.errors import StudyBusyError, StudyError, TaskError
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.storage import open_storage
from inference_autotuner.optimizer.trial import TrialState
from inference_autotuner.workflows import pod_steps
from inference_autotuner.workflows.argo import Origin
from inference_autotuner.workflows.cluster import Cluster
from inference_autotuner.workflows.cluster_janitor import clean_cluster
from inference_autotuner.workflows.cluster_preflight import examine_task
from inference_autotuner.workflows.finding import State
from inference_autotuner.workflows.pod_steps import key_of
from inference_autotuner.workflows.submission import Submitted, stop, submit
from tests.workflows import doubles
from tests.workflows.fake_cluster import FakeCluster, Manifest

KUBERNETES = {"mode": "kubernetes", "namespace": "tuning"}


class Scene:
    """A storage and a cluster with an installation."""

    def __init__(self) -> None:
        self.storage = open_storage("memory://")
        self.fake = FakeCluster()
        self.fake.add("ConfigMap", "autotuner-config", data={"image": "registry/autotuner:1"})

    @property
    def cluster(self) -> Cluster:
        return cast(Cluster, self.fake)

    def task(self, **spec: Any) -> TuningTask:
        image = {"name": "vllm", "image": "vllm/vllm-openai:v0.32.0"}
        return doubles.task(**{"deployment": KUBERNETES, "engine": image, **spec})

    def submit(self, **spec: Any) -> Submitted:
        return submit(
            self.task(**spec), self.storage, self.cluster, origin=Origin(owner="ana"), now_s=1.0
        )

    def workflow(self, name: str | None) -> Manifest:
        found = self.fake.get("Workflow", name or "", "tuning")
        assert found
        return found

    def end(self, submitted: Submitted, phase: str = "Succeeded") -> None:
        self.workflow(submitted.workflow)["status"] = {"phase": phase}

    def clean(self, now_s: float = 100.0) -> list[str]:
        return clean_cluster(self.storage, self.cluster, "tuning", now_s)

    def server(self, kind: str, name: str, uid: str, lease: str = "2999-01-01T00:00:00Z") -> None:
        labels = {
            "app.kubernetes.io/managed-by": "inference-autotuner",
            "inference-autotuner/study": "s",
            "inference-autotuner/workflow-uid": uid,
        }
        annotations = {"inference-autotuner/lease-until": lease}
        self.fake.add(kind, name, metadata={"labels": labels, "annotations": annotations})


def test_a_task_gets_a_study_and_a_workflow_of_its_name() -> None:
    scene = Scene()
    submitted = scene.submit()
    assert submitted.is_new
    assert submitted.workflow == submitted.study.name
    assert submitted.study.attribute("phase") == "running"
    made = scene.workflow(submitted.workflow)
    assert made["metadata"]["annotations"]["inference-autotuner/owner"] == "ana"
    images = {t["container"]["image"] for t in made["spec"]["templates"] if "container" in t}
    assert "registry/autotuner:1" in images


def test_submitting_twice_is_one_workflow() -> None:
    scene = Scene()
    first, second = scene.submit(), scene.submit()
    assert (second.workflow, second.is_new) == (first.workflow, False)
    assert len(scene.fake.list("Workflow")) == 1


@pytest.mark.parametrize("is_now", [True, False])
def test_a_study_that_is_being_stopped_is_not_said_to_run(is_now: bool) -> None:
    scene = Scene()
    first = scene.submit()
    if is_now:
        stop(first.study, scene.cluster, is_now=True)
    else:
        first.study.set_attribute("stop_requested", True)
    with pytest.raises(StudyBusyError, match="when its Workflow .* has ended"):
        scene.submit()
    scene.end(first)
    assert scene.submit().is_new


def test_two_that_submit_at_once_share_the_workflow_that_came_first() -> None:
    scene = Scene()
    first = scene.submit()
    first.study.set_attribute("workflow", None)  # as the other saw it
    second = scene.submit()
    assert (second.workflow, second.is_new) == (first.workflow, False)


def test_a_submission_does_not_fail_the_trials_of_a_workflow_that_runs() -> None:
    scene = Scene()
    first = scene.submit()
    uid = scene.workflow(first.workflow)["metadata"]["uid"]
    pod_steps.ask(first.study, key_of(uid, "000"), wait_s=0.0)
    first.study.set_attribute("workflow", None)
    scene.submit()
    assert first.study.trial(0).state is TrialState.RUNNING


def test_a_study_that_was_stopped_goes_on_in_another_workflow() -> None:
    scene = Scene()
    first = scene.submit()
    pod_steps.ask(first.study, key_of("uid2", "000"), wait_s=0.0)
    scene.end(first)
    second = scene.submit()
    assert second.is_new
    assert second.workflow == f"{first.study.name}-r2"
    assert second.study.trial(0).state is TrialState.FAILED
    assert second.study.attribute("forgive_before") == 1


def test_a_finished_study_is_not_run_again() -> None:
    scene = Scene()
    first = scene.submit()
    scene.end(first)
    first.study.set_attribute("phase", "finished")
    again = scene.submit()
    assert (again.workflow, again.is_new) == (None, False)


def test_a_namespace_without_an_installation_is_named_with_the_remedy() -> None:
    scene = Scene()
    with pytest.raises(StudyError, match="namespace empty has no ConfigMap.*Install it"):
        scene.submit(deployment={"mode": "kubernetes", "namespace": "empty"})
    assert not scene.fake.list("Workflow")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"deployment": {"mode": "process"}, "engine": {"name": "vllm"}}, "autotuner run"),
        ({"budget": {"trials": 300}}, "one Workflow holds 300"),
    ],
)
def test_what_no_cluster_can_run_is_refused_before_anything_is_written(
    spec: dict[str, Any], why: str
) -> None:
    scene = Scene()
    with pytest.raises(TaskError, match=why):
        scene.submit(**spec)
    assert not scene.storage.get_all_studies()


def test_stopping_now_is_argos_stop_and_never_terminate() -> None:
    scene = Scene()
    submitted = scene.submit()
    assert stop(submitted.study, scene.cluster, is_now=True) == submitted.workflow
    assert scene.workflow(submitted.workflow)["spec"]["shutdown"] == "Stop"


def test_a_study_that_is_stopped_finishes_its_trials_and_begins_no_new_ones() -> None:
    scene = Scene()
    submitted = scene.submit()
    assert stop(submitted.study, scene.cluster, is_now=False) == submitted.workflow
    assert "shutdown" not in scene.workflow(submitted.workflow)["spec"]
    asked = pod_steps.ask(submitted.study, key_of("uid", "000"), wait_s=0.0)
    assert asked["proceed"] == "false"


def test_a_workflow_that_has_ended_is_not_stopped_again() -> None:
    scene = Scene()
    submitted = scene.submit()
    scene.end(submitted)
    assert stop(submitted.study, scene.cluster, is_now=True) is None


def test_the_janitor_removes_servers_whose_workflow_is_gone_or_whose_lease_is_over() -> None:
    scene = Scene()
    submitted = scene.submit()
    live = scene.workflow(submitted.workflow)["metadata"]["uid"]
    scene.server("InferenceService", "kept", live)
    scene.server("InferenceService", "orphan", "uid99")
    scene.server("Deployment", "late", live, lease="1970-01-01T00:00:50Z")
    scene.fake.add("Deployment", "somebody-elses")
    assert scene.clean() == ["removed InferenceService orphan", "removed Deployment late"]
    assert scene.clean() == []
    names = {name for kind, _, name in scene.fake.objects if kind != "Workflow"}
    assert {"kept", "somebody-elses"} <= names


def test_the_janitor_does_not_look_for_services_of_an_ome_that_is_not_there() -> None:
    scene = Scene()
    scene.fake.kinds_missing.add("InferenceService")
    scene.server("InferenceService", "x", "uid99")
    assert scene.clean() == []


def test_the_janitor_settles_a_study_whose_workflow_was_terminated() -> None:
    scene = Scene()
    submitted = scene.submit()
    uid = scene.workflow(submitted.workflow)["metadata"]["uid"]
    pod_steps.ask(submitted.study, key_of(uid, "000"), wait_s=0.0)
    scene.end(submitted)
    done = scene.clean()
    assert any("t-0000 as failed" in line for line in done)
    assert submitted.study.attribute("phase") == "stopped"
    assert "submit the task again" in submitted.study.attribute("end")["sentence"]
    assert scene.clean() == []


def test_the_janitor_leaves_a_study_alone_that_was_resubmitted_in_argos_own_way() -> None:
    scene = Scene()
    submitted = scene.submit()
    labels = scene.workflow(submitted.workflow)["metadata"]["labels"]
    scene.end(submitted)
    scene.fake.add("Workflow", "from-argos-ui", metadata={"labels": labels})
    assert scene.clean() == []
    assert submitted.study.attribute("phase") == "running"


def test_the_janitor_keeps_the_server_of_a_workflow_that_began_while_it_looked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene()

    def begun_meanwhile(kind: str) -> bool:
        if kind == "InferenceService":
            labels = {"app.kubernetes.io/managed-by": "inference-autotuner"}
            made = scene.fake.add("Workflow", "new", metadata={"labels": labels})
            scene.server("InferenceService", "fresh", made["metadata"]["uid"])
        return kind == "InferenceService"

    monkeypatch.setattr(scene.fake, "has", begun_meanwhile)
    assert scene.clean() == []


@pytest.mark.parametrize("stored", [None, {"spec": {"of": "a later version"}}])
def test_a_study_that_cannot_be_read_keeps_no_other_from_being_settled(stored: object) -> None:
    scene = Scene()
    unreadable = scene.storage.create_new_study([StudyDirection.MINIMIZE], "a-h0123456789")
    if stored:
        scene.storage.set_study_user_attr(unreadable, "task", stored)
    submitted = scene.submit()
    scene.end(submitted)
    done = scene.clean()
    assert "left a-h0123456789 alone" in done[0]
    assert submitted.study.attribute("phase") == "stopped"


def test_the_janitor_leaves_a_study_alone_whose_workflow_runs() -> None:
    scene = Scene()
    submitted = scene.submit()
    assert scene.clean() == []
    assert submitted.study.attribute("phase") == "running"


class Preflight(Scene):
    """A cluster with OME, a model, a runtime and a node that has the model."""

    def __init__(self) -> None:
        super().__init__()
        name = "inferenceservices.ome.io"
        self.fake.add("CustomResourceDefinition", name, namespace="", spec=_crd("predictor"))
        self.fake.add("ClusterBaseModel", "llama", namespace="")
        self.runner: Manifest = {"name": "ome-container", "command": ["vllm", "serve"]}
        self.runtime = self.fake.add(
            "ClusterServingRuntime",
            "rt",
            namespace="",
            spec={"engineConfig": {"runner": self.runner}},
        )
        labels = {"models.ome.io/clusterbasemodel.llama": "Ready"}
        status = {"allocatable": {"nvidia.com/gpu": "4"}}
        self.node = self.fake.add(
            "Node", "a", namespace="", metadata={"labels": labels}, status=status
        )

    def look(self, **spec: Any) -> dict[str, Any]:
        fields = {
            "model": {"name": "llama", "tokenizer": "org/llama"},
            "engine": {"name": "vllm", "runtime": "rt"},
            "deployment": {"mode": "ome", "namespace": "tuning", "gpus": 2},
            **spec,
        }
        return {each.name: each for each in examine_task(self.cluster, self.task(**fields))}


def _crd(field: str) -> Manifest:
    schema = {"properties": {"spec": {"properties": {field: {}}}}}
    return {"versions": [{"schema": {"openAPIV3Schema": schema}}]}


def test_a_task_that_the_cluster_can_run_has_nothing_bad() -> None:
    found = Preflight().look()
    assert {each.state for each in found.values()} == {State.OK}
    assert found["OME"].found == "of the line of v0.1"
    assert found["server"].found == "InferenceService with 2 GPUs"


def test_a_missing_model_or_runtime_is_told_with_the_remedy() -> None:
    assert (
        "ModelNotFound"
        in Preflight().look(model={"name": "other", "tokenizer": "t"})["server"].found
    )
    engine = {"name": "vllm", "runtime": "other"}
    assert "RuntimeNotFound" in Preflight().look(engine=engine)["server"].found


def test_a_runtime_that_starts_a_shell_is_told() -> None:
    scene = Preflight()
    scene.runner["command"] = ["bash", "-c", "vllm serve"]
    assert "through a shell" in scene.look()["server"].found


def test_a_model_that_no_node_has_is_told_with_the_label() -> None:
    scene = Preflight()
    scene.node["metadata"]["labels"] = {}
    assert "clusterbasemodel.llama=Ready" in scene.look()["model's nodes"].remedy


def test_an_accelerator_class_that_overrides_flags_is_a_warning() -> None:
    scene = Preflight()
    scene.runtime["spec"]["supportedModelFormats"] = [{"acceleratorConfig": {"h200": {}}}]
    assert scene.look()["accelerator classes"].state is State.WARN


def test_a_quota_and_a_node_that_are_too_small_are_told() -> None:
    scene = Preflight()
    scene.fake.add("ResourceQuota", "q", spec={"hard": {"requests.nvidia.com/gpu": "1"}})
    scene.node["status"]["allocatable"]["nvidia.com/gpu"] = "1"
    found = scene.look()
    assert found["quota"].state is State.BAD
    assert found["GPUs"].state is State.BAD


def test_trials_that_may_go_to_different_gpus_are_a_warning() -> None:
    scene = Preflight()
    scene.node["metadata"]["labels"]["nvidia.com/gpu.product"] = "NVIDIA-A100"
    other = {"labels": {"nvidia.com/gpu.product": "NVIDIA-H200"}}
    status = {"allocatable": {"nvidia.com/gpu": "8"}}
    scene.fake.add("Node", "b", namespace="", metadata=other, status=status)
    found = scene.look()["GPU products"]
    assert found.state is State.WARN
    assert "NVIDIA-A100, NVIDIA-H200" in found.found


def test_a_tokenizer_that_nothing_names_is_told() -> None:
    assert Preflight().look(model={"name": "llama"})["tokenizer"].state is State.BAD


def test_rights_that_are_missing_are_named() -> None:
    scene = Preflight()
    scene.fake.refused.add(("list", "Event"))
    assert scene.look()["pods and logs"].found == "refused: list Event"
