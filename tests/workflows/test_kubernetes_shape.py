"""What a plain Deployment tells of a server that no pod shows."""

from typing import Any, cast

from inference_autotuner.manifests.trial_objects import Place
from inference_autotuner.optimizer.errors import Blame, Reason
from inference_autotuner.workflows.kubernetes_shape import KubernetesShape
from tests.workflows.fake_cluster import FakeCluster

PLACE = Place("s-h0", "t-0001", "tuning", None, "")


def test_a_deployment_that_somebody_removed_is_the_worlds_fault() -> None:
    found = KubernetesShape().trouble(cast(Any, FakeCluster()), cast(Any, None), PLACE, 0.0)
    assert found
    assert (found.blame, found.reason) == (Blame.WORLD, Reason.SERVER_LOST)


def test_a_deployment_that_is_there_is_no_trouble() -> None:
    cluster = FakeCluster()
    cluster.add("Deployment", PLACE.name)
    assert KubernetesShape().trouble(cast(Any, cluster), cast(Any, None), PLACE, 0.0) is None
