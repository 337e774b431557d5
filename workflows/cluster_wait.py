"""The wait for one server on a cluster: first for room, then until it completes a request."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from inference_autotuner.manifests.trial_objects import Place
from inference_autotuner.optimizer.errors import Blame, DeployError, Failure, Reason
from inference_autotuner.workflows.cluster import Cluster, ClusterUnavailableError
from inference_autotuner.workflows.completion import (
    Address,
    completion_problem,
    health_problem,
    read_json,
    served_models,
)
from inference_autotuner.workflows.deployer import Order, Server
from inference_autotuner.workflows.pods import Looked, log_of, look, never_fits, new_lines
from inference_autotuner.workflows.readiness import answer_s
from inference_autotuner.workflows.shape import Plan, Shape

_POLL_S = 2.0
# A registry that does not answer for so long is the world's fault, and holds no GPU meanwhile.
_PULL_S = 180.0
# The API server of a small cluster restarts within this time; engines do not care.
_SILENT_S = 180.0


@dataclass(frozen=True)
class Target:
    """What is waited for.

    Attributes:
        cluster: The cluster.
        shape: How the server looks there.
        order: What was ordered.
        place: Where it is.
        plan: What was created.
        queue_timeout_s: How long it may wait for room.
        on_line: Hears the engine's log, and what is waited for.
        on_room: Called once a pod was given a node.
        is_cancelled: Whether nobody wants it any more.
        sleep: Waits for some seconds.
    """

    cluster: Cluster
    shape: Shape
    order: Order
    place: Place
    plan: Plan
    queue_timeout_s: float
    on_line: Callable[[str], None]
    on_room: Callable[[], None]
    is_cancelled: Callable[[], bool]
    sleep: Callable[[float], None]


class Wait:
    """The wait for one server."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._is_placed = False
        self._has_begun = False
        self._began = time.monotonic()
        self._heard_at = time.monotonic()
        self._logged_at = ""
        self._last = "nothing was heard of it"

    def run(self) -> Server | Failure:
        """The server, or what became of it.

        Raises:
            DeployError: It was cancelled.
            ClusterUnavailableError: The cluster is away for minutes.
        """
        while not self._target.is_cancelled():
            try:
                outcome = self._look()
                self._heard_at = time.monotonic()
            except ClusterUnavailableError:
                if time.monotonic() - self._heard_at > _SILENT_S:
                    raise
                outcome = None
            if outcome is not None:
                return outcome
            self._target.sleep(_POLL_S)
        raise DeployError(Reason.INTERRUPTED, "stopped while the engine was starting")

    def _look(self) -> Server | Failure | None:
        target = self._target
        waited_s = time.monotonic() - self._began
        trouble = target.shape.trouble(target.cluster, target.order, target.place, waited_s)
        if trouble is not None:
            return trouble
        pods = target.shape.pods(target.cluster, target.place)
        looked = look(target.cluster, target.order.engine, pods)
        if looked.is_placed:
            self._note_room()
            self._note_begin(looked)
            lines, self._logged_at = new_lines(target.cluster, pods, self._logged_at)
            for line in lines:
                target.on_line(line)
        if found := looked.failure or self._late(looked):
            return found
        if target.shape.is_ready(target.cluster, target.place):
            return self._server()
        return None

    def _note_room(self) -> None:
        if not self._is_placed:
            self._is_placed, self._began = True, time.monotonic()
            self._last = "it was being started"
            self._target.on_room()

    def _note_begin(self, looked: Looked) -> None:
        """What a node takes to fetch the image is not the engine's time."""
        if looked.has_begun and not self._has_begun:
            self._has_begun, self._began = True, time.monotonic()

    def _late(self, looked: Looked) -> Failure | None:
        """What is wrong when it takes too long, or can never be."""
        waited_s = time.monotonic() - self._began
        if not self._is_placed:
            return self._no_room(looked, waited_s)
        limit = self._target.order.spec.deployment.readyTimeout
        if looked.is_pulling and waited_s > min(_PULL_S, limit):
            message = f"the image is not fetched after {waited_s:.0f} s: {looked.why_pending}"
            return Failure(Blame.WORLD, Reason.IMAGE_NOT_PULLED, message)
        if waited_s <= limit:
            return None
        if looked.is_creating:
            message = (
                f"the engine's container was not created within {limit:g} s: is its image large?"
            )
            return Failure(Blame.WORLD, Reason.IMAGE_NOT_PULLED, message)
        return Failure(Blame.PARAMS, Reason.NEVER_READY, self._never_ready(limit))

    def _never_ready(self, limit: float) -> str:
        target = self._target
        log = log_of(target.cluster, target.shape.pods(target.cluster, target.place))
        ends = f"; its log ends: {log.splitlines()[-1][:300]}" if log.strip() else ""
        return f"no completion within {limit:g} s; {self._last}{ends}"

    def _no_room(self, looked: Looked, waited_s: float) -> Failure | None:
        target = self._target
        why = looked.why_pending or target.shape.no_pod(target.cluster, target.place)
        if why and why != self._last:
            self._last = why
            target.on_line(f"waiting for room: {self._last}")
            can_list = target.cluster.can("list", "Node")
            nodes = target.cluster.list("Node") if can_list else None
            if never := never_fits(looked, nodes, target.order.gpus):
                return never
        if waited_s <= target.queue_timeout_s:
            return None
        message = (
            f"there was no room for the server within {target.queue_timeout_s:.0f} s: {self._last}"
        )
        return Failure(Blame.WORLD, Reason.NO_ROOM, message)

    def _server(self) -> Server | Failure | None:
        """The server once it completes a request under its name."""
        target, engine = self._target, self._target.order.engine
        if (address := self._address()) is None:
            self._last = "it has no Service"
            return None
        if problem := health_problem(address, engine.health_path):
            self._last = problem
            return None
        names = served_models(address)
        name = target.plan.served_name or next(iter(names), None)
        if name is None:
            self._last = "GET /v1/models names no model"
            return None
        if names and name not in names:
            return _other_name(name, names)
        patience_s = answer_s(target.order.spec.deployment.readyTimeout)
        if problem := completion_problem(address, name, patience_s, target.is_cancelled):
            self._last = problem
            return None
        log = log_of(target.cluster, target.shape.pods(target.cluster, target.place))
        told = (
            engine.read_config(read_json(address, engine.config_path or ""))
            if (engine.config_path)
            else {}
        )
        resolved = {**target.plan.resolved, **told, **engine.read_log(log)}
        return Server(address.url, name, target.plan.args, resolved)

    def _address(self) -> Address | None:
        """By its Service's address: it means the same inside of the cluster and on a node."""
        target = self._target
        service = target.shape.service(target.cluster, target.place)
        if service is None:
            return None
        host = service["spec"].get("clusterIP")
        if host in (None, "", "None"):
            host = f"{service['metadata']['name']}.{target.place.namespace}.svc"
        return Address(str(host), int(service["spec"]["ports"][0]["port"]))


def _other_name(name: str, names: list[str]) -> Failure:
    message = (
        f"the server serves {', '.join(names)} and not {name}: write that in "
        "spec.model.servedName, or leave it out"
    )
    return Failure(Blame.TASK, Reason.MODEL_NOT_FOUND, message)
