"""A study on a cluster: its Workflow is created, found, and stopped here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inference_autotuner.manifests.labels import STUDY
from inference_autotuner.optimizer.benchmarks.genai_bench import workload_mistakes
from inference_autotuner.optimizer.errors import Mistake, StudyBusyError, StudyError, TaskError
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.study import Study, open_study
from inference_autotuner.workflows.argo import (
    Origin,
    build_study_workflow,
    check_slots,
    to_manifest,
    workflow_name,
)
from inference_autotuner.workflows.cluster import AlreadyExistsError, Cluster
from inference_autotuner.workflows.facts import cluster_facts
from inference_autotuner.workflows.installation import (
    CONFIG_MAP,
    Installation,
    parse_installation,
)
from inference_autotuner.workflows.pod_steps import fail_running
from inference_autotuner.workflows.steps import note_begin

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

CLUSTER_MODES = ("ome", "kubernetes")
_ENDED = ("Succeeded", "Failed", "Error")
_MOST_ATTEMPTS = 100


@dataclass(frozen=True)
class Submitted:
    """What became of a task that was submitted.

    Attributes:
        study: The study.
        workflow: Name of its Workflow; None where the study was finished before.
        is_new: Whether the Workflow was created just now.
    """

    study: Study
    workflow: str | None
    is_new: bool


def check_submittable(task: TuningTask) -> None:
    """Refuses what no cluster can run, before anything is written.

    Raises:
        TaskError: With every mistake.
    """
    mode = task.spec.deployment.mode
    if mode not in CLUSTER_MODES:
        message = f"a cluster runs {' and '.join(CLUSTER_MODES)}; run '{mode}' with 'autotuner run'"
        raise TaskError([Mistake("spec.deployment.mode", message)])
    if mistakes := workload_mistakes(task.spec.workload):
        raise TaskError(mistakes)
    check_slots(task.spec)


def submit(
    task: TuningTask, storage: "BaseStorage", cluster: Cluster, *, origin: Origin, now_s: float
) -> Submitted:
    """The study of a task gets a Workflow, unless one runs already or the study is finished.

    May be called any number of times, by any number of people: the Workflow's name is made from
    the study's, and the cluster lets it exist once.

    Raises:
        TaskError: No cluster can run the task.
        StudyError: The namespace has no installation.
        StudyBusyError: The study is being stopped.
    """
    check_submittable(task)
    namespace = task.spec.deployment.namespace
    installation = read_installation(cluster, namespace)
    study = open_study(storage, task, base="/", now_s=now_s)
    if study.attribute("phase") == "finished":
        return Submitted(study, None, is_new=False)
    if (current := current_workflow(study, cluster)) and not has_ended(current):
        _check_goes_on(study, current)
        return Submitted(study, current["metadata"]["name"], is_new=False)
    _begin_again(study, cluster, now_s)
    return _create(task, study, installation, cluster, origin)


def read_installation(cluster: Cluster, namespace: str) -> Installation:
    """What is installed in a namespace.

    Raises:
        StudyError: Nothing is.
    """
    config = cluster.get("ConfigMap", CONFIG_MAP, namespace)
    if config is None:
        raise StudyError(
            f"namespace {namespace} has no ConfigMap {CONFIG_MAP}: inference-autotuner is not "
            "installed there. Install it (docs/kubernetes.md), or give the task another "
            "deployment.namespace"
        )
    return parse_installation(config.get("data") or {})


def current_workflow(study: Study, cluster: Cluster) -> Mapping[str, Any] | None:
    """The newest Workflow of a study, or None when it has none any more."""
    known = study.attribute("workflow")
    if known is None:
        return None
    found = cluster.get("Workflow", known["name"], known["namespace"])
    return found if found and found["metadata"]["uid"] == known["uid"] else None


def has_ended(workflow: Mapping[str, Any]) -> bool:
    """Whether nothing of a Workflow runs any more, its sweep included."""
    return workflow.get("status", {}).get("phase") in _ENDED


def live_workflows(study: str, cluster: Cluster, namespace: str) -> set[str]:
    """The Workflows of a study that run, by uid."""
    found = cluster.list("Workflow", namespace, {STUDY: study})
    return {each["metadata"]["uid"] for each in found if not has_ended(each)}


def stop(study: Study, cluster: Cluster, *, is_now: bool) -> str | None:
    """Begins no new trials. Names the Workflow that ends, or None when none runs.

    Args:
        study: The study.
        cluster: Where it runs.
        is_now: Also ends what runs, by Argo's Stop, after which every hook and the sweep run.
            Never Terminate: it runs neither, and leaves servers to the janitor.
    """
    workflow = current_workflow(study, cluster)
    if workflow is None or has_ended(workflow):
        return None
    study.set_attribute("stop_requested", True)
    place = workflow["metadata"]
    if is_now:
        cluster.merge_patch(
            "Workflow", place["name"], place["namespace"], {"spec": {"shutdown": "Stop"}}
        )
    return str(place["name"])


def _check_goes_on(study: Study, workflow: Mapping[str, Any]) -> None:
    """Whoever submits a study that is being stopped wants it to go on, and it would not.

    Raises:
        StudyBusyError: It is being stopped.
    """
    if study.attribute("stop_requested") or workflow["spec"].get("shutdown"):
        raise StudyBusyError(
            f"{study.name} is being stopped: submit the task again when its Workflow "
            f"{workflow['metadata']['name']} has ended"
        )


def _begin_again(study: Study, cluster: Cluster, now_s: float) -> None:
    """Whatever an earlier Workflow left undone is settled before another one begins."""
    namespace = study.task.spec.deployment.namespace
    fail_running(study, now_s, lambda: live_workflows(study.name, cluster, namespace))
    study.set_attribute("facts", cluster_facts(cluster))
    study.set_attribute("trouble", None)
    study.set_attribute("verdict", None)
    note_begin(study)


def _create(
    task: TuningTask, study: Study, installation: Installation, cluster: Cluster, origin: Origin
) -> Submitted:
    """Names are counted up past Workflows that ended; one that runs is the study's own."""
    for attempt in range(1, _MOST_ATTEMPTS):
        workflow = build_study_workflow(
            task, study.name, installation, attempt=attempt, origin=origin
        )
        try:
            made, is_new = cluster.create(to_manifest(workflow)), True
        except AlreadyExistsError:
            name = workflow_name(study.name, attempt)
            found = cluster.get("Workflow", name, task.spec.deployment.namespace)
            if found is None or has_ended(found):
                continue
            made, is_new = found, False
        place = {key: made["metadata"][key] for key in ("name", "namespace", "uid")}
        study.set_attribute("workflow", place)
        return Submitted(study, place["name"], is_new)
    raise StudyError(
        f"{study.name} has {_MOST_ATTEMPTS} ended Workflows; delete them with kubectl delete "
        f"workflow -l {STUDY}={study.name}"
    )
