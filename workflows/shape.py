"""What differs between the ways in which a cluster serves a trial."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from inference_autotuner.manifests.trial_objects import Place
from inference_autotuner.optimizer.errors import Failure
from inference_autotuner.workflows.cluster import Cluster
from inference_autotuner.workflows.deployer import Order
from inference_autotuner.workflows.pods import Pod

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is created for an order.

    Attributes:
        objects: Manifests, in order.
        args: The arguments of the engine's container, as they are sent.
        served_name: The model name in requests; None: as the server says.
        resolved: What is already known of how it runs.
    """

    objects: Sequence[Manifest]
    args: tuple[str, ...]
    served_name: str | None
    resolved: Mapping[str, Any] = field(default_factory=dict)


class Shape(Protocol):
    """A plain Deployment, or an InferenceService."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is created and deleted by name."""

    def plan(self, cluster: Cluster, order: Order, place: Place) -> Plan | Failure:
        """What to create, or what is missing for it."""

    def pods(self, cluster: Cluster, place: Place) -> Sequence[Pod]:
        """The pods of a server, those that end included."""

    def trouble(
        self, cluster: Cluster, order: Order, place: Place, waited_s: float
    ) -> Failure | None:
        """What is wrong that no pod shows."""

    def no_pod(self, cluster: Cluster, place: Place) -> str:
        """Why there is no pod yet; empty when nothing says so."""

    def is_ready(self, cluster: Cluster, place: Place) -> bool:
        """Whether the cluster calls it ready, and means this configuration."""

    def service(self, cluster: Cluster, place: Place) -> Mapping[str, Any] | None:
        """The Service that leads to it."""
