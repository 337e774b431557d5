"""Serves trials on a cluster, in one of two shapes: a plain Deployment, or an InferenceService.

A server is named after its trial, carries the study's labels, belongs to its Workflow and has a
lease: whatever dies in between, somebody removes it.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from inference_autotuner.manifests.labels import (
    LEASE_UNTIL,
    MANAGED_BY,
    STUDY,
    TRIAL,
    WORKFLOW_UID,
)
from inference_autotuner.manifests.trial_objects import Owner, Place
from inference_autotuner.optimizer.errors import (
    AutotunerError,
    Blame,
    DeployError,
    Failure,
    Reason,
    StudyError,
)
from inference_autotuner.workflows.cluster import (
    AlreadyExistsError,
    Cluster,
    ClusterUnavailableError,
    InvalidObjectError,
)
from inference_autotuner.workflows.cluster_wait import Target, Wait
from inference_autotuner.workflows.deployer import Order, Server
from inference_autotuner.workflows.pods import log_of, look, running_pod
from inference_autotuner.workflows.shape import Plan, Shape

_POLL_S = 1.0
# An engine stops answering some seconds before its node tells how it ended.
_CAUSE_TRIES = 15
_LOG_TAIL = 4096  # bytes
# Our pods end within seconds; a node that hangs keeps them.
_GONE_S = 180.0
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class ClusterDeployer:
    """Serves trials on a cluster. Every call may be made from another pod than the one before.

    Args:
        cluster: The cluster.
        shape: How a server looks there.
        namespace: Where servers are.
        owner: The Workflow that servers belong to.
        queue_timeout_s: How long a server may wait for room.
        lease_s: How long a server may live at the most.
    """

    def __init__(
        self,
        cluster: Cluster,
        shape: Shape,
        *,
        namespace: str,
        owner: Owner | None,
        queue_timeout_s: float,
        lease_s: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cluster = cluster
        self._shape = shape
        self._namespace = namespace
        self._owner = owner
        self._queue_timeout_s = queue_timeout_s
        self._lease_s = lease_s
        self._sleep = sleep
        self._tails: dict[str, str] = {}
        self._failures: dict[str, Failure] = {}
        self._seen: dict[str, str] = {}

    def deploy(
        self,
        order: Order,
        *,
        on_line: Callable[[str], None],
        on_room: Callable[[], None],
        is_cancelled: Callable[[], bool],
    ) -> Server | Failure:
        """A server that completes requests with this configuration; as `Deployer.deploy`."""
        place = self._place(order.study, order.trial)
        self._release(place)
        self._tails.pop(place.name, None)
        self._failures.pop(place.name, None)
        self._seen.pop(place.name, None)
        plan = self._shape.plan(self._cluster, order, place)
        if isinstance(plan, Failure):
            return plan
        outcome: Server | Failure | None = None
        try:
            target = Target(
                cluster=self._cluster,
                shape=self._shape,
                order=order,
                place=place,
                plan=plan,
                queue_timeout_s=self._queue_timeout_s,
                on_line=on_line,
                on_room=on_room,
                is_cancelled=is_cancelled,
                sleep=self._sleep,
            )
            outcome = self._create(plan) or Wait(target).run()
        finally:
            if not isinstance(outcome, Server):
                self._keep_tail(place)
                self._release(place)
        return outcome

    def is_alive(self, order: Order) -> bool:
        """Whether the server still runs, for the first time and in the same pod."""
        place = self._place(order.study, order.trial)
        try:
            pod = running_pod(self._shape.pods(self._cluster, place))
        except ClusterUnavailableError:
            return True  # nobody knows; the benchmark itself will notice
        return pod is not None and self._seen.setdefault(place.name, pod) == pod

    def failure(self, order: Order) -> Failure:
        """What became of a server that died under load."""
        place = self._place(order.study, order.trial)
        if place.name not in self._failures:
            self._failures[place.name] = self._why_dead(order, place)
        return self._failures[place.name]

    def _why_dead(self, order: Order, place: Place) -> Failure:
        for _ in range(_CAUSE_TRIES):
            pods = self._shape.pods(self._cluster, place)
            if all(pod["metadata"].get("deletionTimestamp") for pod in pods):
                message = "somebody else removed the server, or its node was lost"
                return Failure(Blame.WORLD, Reason.SERVER_LOST, message)
            found = look(self._cluster, order.engine, pods).failure
            if found is not None and found.reason is Reason.CRASHED:
                return replace(found, reason=Reason.CRASHED_UNDER_LOAD)
            if found is not None:
                return found
            self._sleep(_POLL_S)
        message = "it does not answer any more, and its pod does not say why"
        return Failure(Blame.WORLD, Reason.SERVER_LOST, message)

    def log_tail(self, order: Order) -> str:
        """The end of the engine's log, at most 4 KiB; kept when the server is released."""
        place = self._place(order.study, order.trial)
        return self._tails.get(place.name) or self._read_tail(place)

    def release(self, study: str, trial: str) -> None:
        """Returns only when the server and its pods are gone.

        Raises:
            StudyError: Something of it does not end.
            ClusterUnavailableError: The cluster is away for minutes.
        """
        place = self._place(study, trial)
        self._keep_tail(place)
        self._release(place)

    def sweep(self, study: str | None) -> list[str]:
        """Removes a study's servers of this Workflow, or all whose lease is over; names them."""
        labels = {**MANAGED_BY, **({STUDY: study} if study else {})}
        if study and self._owner:
            labels[WORKFLOW_UID] = self._owner.uid
        found = [
            each["metadata"]
            for kind in self._shape.kinds
            for each in self._cluster.list(kind, self._namespace, labels)
            if TRIAL in each["metadata"].get("labels", {})
        ]
        now = datetime.fromtimestamp(time.time(), UTC).strftime(_TIME)
        names = sorted(
            {
                (each["labels"][STUDY], each["labels"][TRIAL])
                for each in found
                if study or each.get("annotations", {}).get(LEASE_UNTIL, "") < now
            }
        )
        for place in names:
            self.release(*place)
        return [f"{study}-{trial}" for study, trial in names]

    def _place(self, study: str, trial: str) -> Place:
        until = datetime.fromtimestamp(time.time() + self._lease_s, UTC)
        return Place(study, trial, self._namespace, self._owner, until.strftime(_TIME))

    def _create(self, plan: Plan) -> Failure | None:
        for manifest in plan.objects:
            try:
                self._cluster.create(manifest)
            except AlreadyExistsError as error:
                message = f"{error}; it was not there a moment ago"
                raise DeployError(Reason.SERVER_CHANGED, message) from error
            except InvalidObjectError as error:
                return Failure(Blame.TASK, Reason.INVALID_ARGUMENTS, str(error))
        return None

    def _keep_tail(self, place: Place) -> None:
        """Keeps the end of the log: nobody has it once the pod is gone."""
        if tail := self._read_tail(place):
            self._tails[place.name] = tail

    def _read_tail(self, place: Place) -> str:
        try:
            log = log_of(self._cluster, self._shape.pods(self._cluster, place))
        except AutotunerError:
            return ""  # what follows matters more: a measurement is kept, a server released
        return log.encode()[-_LOG_TAIL:].decode(errors="ignore")

    def _release(self, place: Place) -> None:
        """Deletes again and again, until nothing is left; a cluster that is away is waited for."""
        deadline = time.monotonic() + _GONE_S
        while True:
            is_late = time.monotonic() > deadline
            try:
                if not (left := self._left(place)):
                    return
            except ClusterUnavailableError:
                if is_late:
                    raise
                left = []
            if left and is_late:
                raise StudyError(
                    f"{place.name} cannot be removed; still there: {', '.join(left)}. What it "
                    "holds stays taken"
                )
            self._sleep(_POLL_S)

    def _left(self, place: Place) -> list[str]:
        left = []
        for kind in self._shape.kinds:
            found = self._cluster.get(kind, place.name, place.namespace)
            if found is not None:
                left.append(f"{kind} {place.name}")
                if not found["metadata"].get("deletionTimestamp"):
                    uid = found["metadata"]["uid"]
                    self._cluster.delete(kind, place.name, place.namespace, uid=uid)
        pods = self._shape.pods(self._cluster, place)
        return left + [f"Pod {pod['metadata']['name']}" for pod in pods]
