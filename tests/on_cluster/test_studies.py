"""Whole studies on a real cluster: submitted as a person would, until the answer is there."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference_autotuner.workflows.cluster import Cluster
from tests.on_cluster import ome_stand_in, site, step_times

pytestmark = [
    pytest.mark.on_cluster,
    pytest.mark.skipif("KUBECONFIG" not in os.environ, reason="KUBECONFIG names no cluster"),
    # pytest undoes what connecting to a cluster without a certificate says of it.
    pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning"),
]

EXAMPLES = site.ROOT / "examples/one-node-cluster"
ANSWER = {"report.html", "verdict.yaml", "trials.csv", "README.md", "manifest.yaml"}
STUDY_S = 900.0


@pytest.fixture(scope="module", autouse=True)
def installed() -> Iterator[None]:
    site.install()
    ome_stand_in.install()
    is_over = threading.Event()

    def reconcile() -> None:
        stand_in = ome_stand_in.StandIn(Cluster.connect(), site.NAMESPACE)
        while not is_over.wait(0.5):
            stand_in.reconcile()

    thread = threading.Thread(target=reconcile)
    thread.start()
    yield
    is_over.set()
    thread.join()


def task_of(example: str, folder: Path) -> Path:
    """The example under a name of this run, for a study that is finished is not run again.

    Nothing is proved: each trial takes most of a minute.
    """
    text = (EXAMPLES / example).read_text()
    changes = {
        "{name: smollm2-": f"{{name: t{int(time.time())}-",
        "confirm: {finalists: 1, repeats: 2}": "confirm: {repeats: 0}",
    }
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / example
    path.write_text(text)
    return path


def submit(path: Path) -> dict[str, Any]:
    submitted = site.answer("submit", "--direct", str(path), "--owner", "a-test")
    assert submitted["is_new"], submitted
    return dict(submitted)


def ended(submitted: dict[str, Any]) -> dict[str, Any]:
    site.until("the study's end", lambda: site.has_ended(submitted["workflow"]), STUDY_S)
    return dict(site.answer("status", submitted["study"]))


@pytest.mark.parametrize(
    ("example", "answer"), [("kubernetes.yaml", "serve.sh"), ("ome.yaml", "patch.yaml")]
)
def test_an_example_ends_with_a_verdict_and_leaves_nothing(
    example: str, answer: str, tmp_path: Path
) -> None:
    submitted = submit(task_of(example, tmp_path))
    site.until("a benchmark", lambda: site.step_pods(submitted["study"], "benchmark"), 300)
    assert site.autotuner("logs", submitted["study"], "0").stdout
    study = ended(submitted)
    assert study["phase"] == "finished", study
    assert study["verdict"]
    assert study["states"].get("measured") == 3, study["trials"]
    assert site.engines(submitted["study"]) == []
    exported = site.autotuner("export", submitted["study"], "--to", str(tmp_path))
    files = {path.name for path in (tmp_path / submitted["study"]).iterdir()}
    assert files == ANSWER | {answer}, exported.stderr
    tells_the_story(site.workflow(submitted["workflow"]))
    step_times.main(submitted["workflow"])
    logs_outlive_the_pods(submitted["study"], submitted["workflow"])


def logs_outlive_the_pods(study: str, workflow: str) -> None:
    site.kubectl("-n", site.NAMESPACE, "delete", "workflow", workflow)
    site.until("no pod", lambda: not site.objects("pods", "-l", f"{site.STUDY}={study}"), 120)
    assert "slot" in site.autotuner("logs", study, "0").stdout
    assert site.autotuner("logs", study, "0", "--benchmark").stdout


def tells_the_story(workflow: dict[str, Any]) -> None:
    """What a person sees in Argo's UI."""
    assert workflow["metadata"]["annotations"]["inference-autotuner/owner"] == "a-test"
    nodes = site.nodes(workflow).values()
    said = {node["displayName"]: outputs_of(node) for node in nodes if outputs_of(node)}
    assert said["deploy-0"]["url"].startswith("http://")
    assert "output tok/s" in said["benchmark-0"]["message"]
    assert "SLOs: ok" in said["tell-0"]["score"]
    assert "is measured" in said["release-0"]["message"]
    assert any("is finished" in each.get("message", "") for each in said.values())


def outputs_of(node: dict[str, Any]) -> dict[str, str]:
    parameters = node.get("outputs", {}).get("parameters", ())
    return {each["name"]: each.get("value", "") for each in parameters}


def test_a_study_that_is_stopped_leaves_nothing_and_goes_on_when_it_is_submitted_again(
    tmp_path: Path,
) -> None:
    path = task_of("kubernetes.yaml", tmp_path)
    submitted = submit(path)
    study = submitted["study"]
    site.until("a benchmark", lambda: site.step_pods(study, "benchmark"), 300)
    assert site.autotuner("stop", study, "--now").returncode == 0
    stopped = ended(submitted)
    assert stopped["phase"] == "stopped"
    assert site.engines(study) == []
    assert all(trial["state"] != "running" for trial in stopped["trials"])
    again = submit(path)
    assert again["study"] == study
    assert again["workflow"] == f"{study}-r2"
    finished = ended(again)
    assert finished["phase"] == "finished"
    assert len(finished["trials"]) > len(stopped["trials"])
