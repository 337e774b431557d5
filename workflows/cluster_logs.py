"""The logs of a trial that runs, or ran, on a cluster: of its pods, else what was kept of them."""

from collections.abc import Iterator
from typing import Any

from inference_autotuner.manifests.labels import STEP, STEP_TRIAL, STUDY, TRIAL
from inference_autotuner.optimizer.errors import StudyError
from inference_autotuner.optimizer.study import Study
from inference_autotuner.optimizer.trial import Trial
from inference_autotuner.workflows.cluster import Cluster

_STEP_CONTAINER = "main"


def cluster_log_lines(
    study: Study, trial: Trial, cluster: Cluster, *, source: str, is_following: bool
) -> Iterator[str]:
    """Lines of a trial's log.

    Args:
        study: The study.
        trial: The trial.
        cluster: Where it runs.
        source: `engine` or `benchmark`.
        is_following: Whether to go on until the pod ends.

    Raises:
        StudyError: There is no pod any more, and nothing was kept.
    """
    namespace = study.task.spec.deployment.namespace
    pods = cluster.list("Pod", namespace, _labels(study, trial, source))
    if not pods:
        yield from _kept(study, trial, source)
        return
    newest = max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    name, container = newest["metadata"]["name"], _container(newest, source)
    if is_following:
        yield from cluster.follow_log(name, namespace, container)
    else:
        yield from cluster.pod_log(name, namespace, container).splitlines()


def _labels(study: Study, trial: Trial, source: str) -> dict[str, str]:
    if source == "engine":
        return {STUDY: study.name, TRIAL: trial.name}
    return {STUDY: study.name, STEP: source, STEP_TRIAL: str(trial.number)}


def _container(pod: dict[str, Any], source: str) -> str:
    """An engine's is its pod's first; a step's pod has Argo's own beside it."""
    return str(pod["spec"]["containers"][0]["name"]) if source == "engine" else _STEP_CONTAINER


def _kept(study: Study, trial: Trial, source: str) -> Iterator[str]:
    text = trial.log_tail
    if source == "benchmark":
        text = str(study.noted(trial.number).get("benchmark_tail", ""))
    if not text:
        raise StudyError(f"{trial.name} has no {source} pod any more, and left no {source} log")
    yield from text.splitlines()
