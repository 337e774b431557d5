"""Removes from a cluster what no Workflow will come back for, and settles its studies.

The last layer: releases and sweeps come before it. What it finds was left by a Workflow that was
terminated or deleted, or whose sweep was lost.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from inference_autotuner.manifests.labels import LEASE_UNTIL, MANAGED_BY, STUDY, WORKFLOW_UID
from inference_autotuner.optimizer.errors import AutotunerError, NotReadyError
from inference_autotuner.optimizer.plan import Finished, StopReason
from inference_autotuner.optimizer.study import Study, load_study, study_names
from inference_autotuner.workflows.cluster import Cluster
from inference_autotuner.workflows.pod_steps import fail_running
from inference_autotuner.workflows.results import judge
from inference_autotuner.workflows.steps import note_end
from inference_autotuner.workflows.submission import current_workflow, has_ended, live_workflows

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

SERVING_KINDS = ("InferenceService", "Deployment", "Service")
"""What a trial's server consists of; whatever else belongs to it is theirs."""

_LOST = "its Workflow was terminated or deleted; submit the task again to go on"


def clean_cluster(
    storage: "BaseStorage", cluster: Cluster, namespace: str, now_s: float
) -> list[str]:
    """Removes servers that nobody will come back for; tells trials that nobody works on.

    Args:
        storage: Where the studies are.
        cluster: The cluster.
        namespace: The namespace that is looked through.
        now_s: Unix time.

    Returns:
        What was done, one line each.
    """
    done = [f"removed {name}" for name in _remove_servers(cluster, namespace, now_s)]
    for name in study_names(storage):
        done += _settled(storage, name, cluster, namespace, now_s)
    return done


def _remove_servers(cluster: Cluster, namespace: str, now_s: float) -> Iterator[str]:
    found = [
        (kind, each["metadata"])
        for kind in SERVING_KINDS
        if cluster.has(kind)  # a cluster without OME
        for each in cluster.list(kind, namespace, MANAGED_BY)
        if _is_ours(each)
    ]
    # Looked for after the servers: the Workflow of a server was there before the server.
    workflows = cluster.list("Workflow", namespace, MANAGED_BY) if found else []
    live = {each["metadata"]["uid"] for each in workflows if not has_ended(each)}
    for kind, place in found:
        if not _is_wanted(place, live, now_s):
            cluster.delete(kind, place["name"], namespace, uid=place["uid"])
            yield f"{kind} {place['name']}"


def _is_ours(found: Mapping[str, Any]) -> bool:
    """The storage service's own Deployment carries the first label as well, but no study."""
    return STUDY in found["metadata"].get("labels", {})


def _is_wanted(metadata: Mapping[str, Any], live: set[str], now_s: float) -> bool:
    uid = metadata.get("labels", {}).get(WORKFLOW_UID)
    lease = metadata.get("annotations", {}).get(LEASE_UNTIL)
    has_owner = uid is None or uid in live
    return has_owner and (lease is None or _seconds(lease) > now_s)


def _seconds(text: str) -> float:
    """Unix time; a lease that cannot be read is over."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _settled(
    storage: "BaseStorage", name: str, cluster: Cluster, namespace: str, now_s: float
) -> list[str]:
    """What was done about a study; one that cannot be read keeps no other from being settled."""
    try:
        return list(_settle(load_study(storage, name), cluster, namespace, now_s))
    except NotReadyError:
        raise
    except AutotunerError as error:
        return [f"left {name} alone: {error}"]


def _settle(study: Study, cluster: Cluster, namespace: str, now_s: float) -> Iterator[str]:
    """A study of this namespace whose Workflow is gone says so, and has no trial that runs."""
    place = study.attribute("workflow")
    if place is None or place["namespace"] != namespace or study.attribute("phase") != "running":
        return
    current = current_workflow(study, cluster)
    # Resubmitted in Argo's UI it has a Workflow that the study does not know.
    if (current and not has_ended(current)) or live_workflows(study.name, cluster, namespace):
        return
    told = fail_running(study, now_s, lambda: live_workflows(study.name, cluster, namespace))
    yield from (f"told {study.name} {trial.name} as {trial.state}" for trial in told)
    note_end(study, Finished(StopReason.STOPPED, _LOST))
    judge(study)
    yield f"{study.name} is stopped: {_LOST}"
