"""Serves trials on a cluster, in one of two shapes: a plain Deployment, or an InferenceService.

A server is named after its trial, carries the study's labels, belongs to its Workflow and has a
lease: whatever dies in between, somebody removes it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from inference_autotuner.manifests.labels import MANAGED_BY, STUDY, TRIAL
from inference_autotuner.manifests.trial_objects import Owner, Place
from inference_autotuner.optimizer.errors import (
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
from inference_autotuner.workflows.completion import completes, first_model, read_json
from inference_autotuner.workflows.deployer import Order, Server
from inference_autotuner.workflows.pods import (
    Looked,
    Pod,
    is_serving,
    log_of,
    look,
    never_fits,
)

Manifest = dict[str, Any]
_POLL_S = 2.0
_LOG_TAIL = 4096
# Our pods end within seconds; a node that hangs keeps them.
_GONE_S = 180.0
# A registry that does not answer for so long is the world's fault, and holds no GPU meanwhile.
_PULL_S = 180.0


@dataclass(frozen=True)
class Plan:
    """What is created for an order.

    Attributes:
        objects: Manifests, in order.
        args: The engine's arguments as the order wants them.
        served_name: The model name in requests; None: as the server says.
    """

    objects: Sequence[Manifest]
    args: tuple[str, ...]
    served_name: str | None


class Shape(Protocol):
    """What differs between a Deployment and an InferenceService."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is created and deleted by name."""

    def plan(self, cluster: Cluster, order: Order, place: Place) -> Plan | Failure:
        """What to create, or what is missing for it."""

    def pods(self, cluster: Cluster, place: Place) -> Sequence[Pod]:
        """The pods of a server, those that end included."""

    def trouble(self, cluster: Cluster, place: Place, plan: Plan) -> Failure | None:
        """What is wrong that no pod shows."""

    def is_ready(self, cluster: Cluster, place: Place) -> bool:
        """Whether the cluster calls it ready, and means this configuration."""


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
        plan = self._shape.plan(self._cluster, order, place)
        if isinstance(plan, Failure):
            return plan
        outcome: Server | Failure | None = None
        try:
            wait = _Wait(self, order, place, plan, on_line, on_room, is_cancelled)
            outcome = self._create(plan) or wait.run()
        finally:
            if not isinstance(outcome, Server):
                self._keep_tail(place)
                self._release(place)
        return outcome

    def is_alive(self, order: Order) -> bool:
        """Whether the server still runs, for the first time."""
        try:
            return is_serving(
                self._shape.pods(self._cluster, self._place(order.study, order.trial))
            )
        except ClusterUnavailableError:
            return True  # nobody knows; the benchmark itself will notice

    def failure(self, order: Order) -> Failure:
        """What became of a server that died under load."""
        place = self._place(order.study, order.trial)
        if place.name not in self._failures:
            self._failures[place.name] = self._why_dead(order, place)
        return self._failures[place.name]

    def _why_dead(self, order: Order, place: Place) -> Failure:
        pods = self._shape.pods(self._cluster, place)
        gone = all(pod["metadata"].get("deletionTimestamp") for pod in pods)
        if gone:
            message = "somebody else removed the server, or its node was lost"
            return Failure(Blame.WORLD, Reason.SERVER_LOST, message)
        found = look(self._cluster, order.engine, pods).failure
        if found is None:
            message = "its pod is not ready any more, and does not say why"
            return Failure(Blame.WORLD, Reason.SERVER_LOST, message)
        if found.reason is Reason.CRASHED:
            return replace(found, reason=Reason.CRASHED_UNDER_LOAD)
        return found

    def log_tail(self, order: Order) -> str:
        """The end of the engine's log, at most 4 KiB; kept when the server is released."""
        place = self._place(order.study, order.trial)
        return self._tails.get(place.name) or self._read_tail(place)

    def release(self, study: str, trial: str) -> None:
        """Returns only when the server and its pods are gone."""
        self._release(self._place(study, trial))

    def sweep(self, study: str | None) -> list[str]:
        """Removes every server of a study; names what it removed."""
        labels = {**MANAGED_BY, **({STUDY: study} if study else {})}
        found = [
            each["metadata"]["labels"]
            for kind in self._shape.kinds
            for each in self._cluster.list(kind, self._namespace, labels)
            if TRIAL in each["metadata"].get("labels", {})
        ]
        names = sorted({(each[STUDY], each[TRIAL]) for each in found})
        for place in names:
            self.release(*place)
        return [f"{study}-{trial}" for study, trial in names]

    def _place(self, study: str, trial: str) -> Place:
        until = datetime.fromtimestamp(time.time() + self._lease_s, UTC)
        lease = until.strftime("%Y-%m-%dT%H:%M:%SZ")
        return Place(study, trial, self._namespace, self._owner, lease)

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
        try:
            self._tails[place.name] = self._read_tail(place)
        except ClusterUnavailableError:
            self._tails[place.name] = ""

    def _read_tail(self, place: Place) -> str:
        return log_of(self._cluster, self._shape.pods(self._cluster, place))[-_LOG_TAIL:]

    def _release(self, place: Place) -> None:
        """Deletes again and again, until nothing is left; a cluster that is away is waited for."""
        deadline = time.monotonic() + _GONE_S
        while True:
            try:
                if not (left := self._left(place)):
                    return
            except ClusterUnavailableError as error:
                left = [str(error)]
            if time.monotonic() > deadline:
                raise StudyError(
                    f"{place.name} cannot be removed; still there: {', '.join(left)}. What it "
                    "holds stays taken"
                )
            self._sleep(_POLL_S / 2)

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


@dataclass
class _Wait:
    """The wait for one server: first for room, then for its ready time."""

    deployer: ClusterDeployer
    order: Order
    place: Place
    plan: Plan
    on_line: Callable[[str], None]
    on_room: Callable[[], None]
    is_cancelled: Callable[[], bool]
    is_placed: bool = False
    pulling_since: float | None = None
    said: str = "nothing was heard of it"

    def run(self) -> Server | Failure:
        """The server, or what became of it."""
        cluster, shape = self.deployer._cluster, self.deployer._shape
        began = time.monotonic()
        while True:
            if self.is_cancelled():
                raise DeployError(Reason.INTERRUPTED, "stopped while the engine was starting")
            if trouble := shape.trouble(cluster, self.place, self.plan):
                return trouble
            looked = look(cluster, self.order.engine, shape.pods(cluster, self.place))
            if looked.failure:
                return looked.failure
            if looked.is_placed and not self.is_placed:
                self.is_placed, began = True, time.monotonic()
                self.on_room()
                self.on_line("a node was found; the engine starts")
            if (late := self._late(looked, time.monotonic() - began)) is not None:
                return late
            if shape.is_ready(cluster, self.place) and (server := self._server()):
                return server
            self.deployer._sleep(_POLL_S)

    def _late(self, looked: Looked, waited_s: float) -> Failure | None:
        """What is wrong when it takes too long, or can never be."""
        if not self.is_placed:
            return self._no_room(looked, waited_s)
        if looked.is_pulling and waited_s > _PULL_S:
            message = f"the image was not fetched within {_PULL_S:.0f} s"
            return Failure(Blame.WORLD, Reason.IMAGE_NOT_PULLED, message)
        limit = self.order.spec.deployment.readyTimeout
        if waited_s <= limit:
            return None
        message = f"no completion within {limit:g} s; {self.said}"
        return Failure(Blame.PARAMS, Reason.NEVER_READY, message)

    def _no_room(self, looked: Looked, waited_s: float) -> Failure | None:
        cluster = self.deployer._cluster
        if looked.why_pending and looked.why_pending != self.said:
            self.said = looked.why_pending
            self.on_line(f"waiting for room: {self.said}")
            nodes = cluster.list("Node", None) if cluster.can("list", "Node", None) else None
            if never := never_fits(looked, nodes, self.order.gpus):
                return never
        if waited_s <= self.deployer._queue_timeout_s:
            return None
        limit = self.deployer._queue_timeout_s
        message = f"there was no room for the server within {limit:.0f} s: {self.said}"
        return Failure(Blame.WORLD, Reason.NO_ROOM, message)

    def _server(self) -> Server | None:
        """The server once it completes a request under its name."""
        engine, url = self.order.engine, self._url()
        name = self.plan.served_name or first_model(url)
        if name is None:
            self.said = "/v1/models names no model"
            return None
        said = completes(url, engine.health_path, name)
        if said is not None:
            self.said = said
            return None
        cluster, shape = self.deployer._cluster, self.deployer._shape
        log = log_of(cluster, shape.pods(cluster, self.place))
        told: Mapping[str, Any] = {}
        if engine.config_path is not None and (answer := read_json(url + engine.config_path)):
            told = engine.read_config(answer)
        return Server(url, name, self.plan.args, {**told, **engine.read_log(log)})

    def _url(self) -> str:
        """By its Service's address: it means the same inside of the cluster and on a node."""
        service = self.deployer._cluster.get("Service", self.place.name, self.place.namespace)
        assert service
        spec = service["spec"]
        host = spec.get("clusterIP")
        if host in (None, "", "None"):
            host = f"{self.place.name}.{self.place.namespace}.svc"
        return f"http://{host}:{spec['ports'][0]['port']}"
