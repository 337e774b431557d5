"""Which deployer serves which mode."""

from inference_autotuner.manifests.trial_objects import Owner
from inference_autotuner.optimizer.errors import Mistake, TaskError
from inference_autotuner.optimizer.forecast import trial_most_s
from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.workflows.cluster_deployer import ClusterDeployer
from inference_autotuner.workflows.deployer import Deployer
from inference_autotuner.workflows.kubernetes_shape import KubernetesShape
from inference_autotuner.workflows.ome_shape import OmeShape
from inference_autotuner.workflows.process import ProcessDeployer

# What the steps around a server take beside the server itself.
_LEASE_MARGIN_S = 3600.0


def cluster_deployer(
    spec: Spec, owner: tuple[str, str] | None, *, queue_timeout_s: float
) -> Deployer:
    """The deployer of a step that runs on a cluster.

    Args:
        spec: The task's spec.
        owner: Name and uid of the Workflow that servers belong to.
        queue_timeout_s: How long a server may wait for room.
    """
    from inference_autotuner.workflows.cluster import Cluster

    shape = OmeShape() if spec.deployment.mode == "ome" else KubernetesShape()
    return ClusterDeployer(
        Cluster.connect(),
        shape,
        namespace=spec.deployment.namespace,
        owner=Owner(*owner) if owner else None,
        queue_timeout_s=queue_timeout_s,
        # The ready time once more: an image is fetched before it begins.
        lease_s=queue_timeout_s
        + spec.deployment.readyTimeout
        + trial_most_s(spec)
        + _LEASE_MARGIN_S,
    )


def deployer_for(spec: Spec) -> Deployer:
    """The deployer of a task that is run on this machine.

    Raises:
        TaskError: `autotuner run` does not serve this mode.
    """
    if spec.deployment.mode == "process":
        return ProcessDeployer()
    mode = spec.deployment.mode
    way = "is not run yet" if mode == "docker" else "is for 'autotuner submit'"
    message = f"'autotuner run' serves mode process; '{mode}' {way}"
    raise TaskError([Mistake("spec.deployment.mode", message)])
