"""What the doctor says about a cluster."""

from typing import cast

from inference_autotuner.workflows.cluster import Cluster
from inference_autotuner.workflows.cluster_doctor import examine_cluster
from inference_autotuner.workflows.finding import State
from tests.workflows.fake_cluster import FakeCluster


def test_a_namespace_without_an_installation_may_be_the_wrong_one() -> None:
    found = examine_cluster(cast(Cluster, FakeCluster()), "default")
    [row] = [finding for finding in found if finding.name == "installation"]
    assert row.state is State.BAD
    assert "kubectl apply -k ." in row.remedy
    assert "deployment.namespace" in row.remedy
