"""What a study ends with is taken by a real cluster as it is; nothing of it is created."""

import os
from pathlib import Path

import pytest

from inference_autotuner.manifests.results import result_files
from tests.on_cluster import site
from tests.samples import FACTS, sample_study, sample_task

pytestmark = [
    pytest.mark.on_cluster,
    pytest.mark.skipif("KUBECONFIG" not in os.environ, reason="KUBECONFIG names no cluster"),
]

CRDS = Path(__file__).with_name("ome_crds.yaml")
MODES = {
    "process": {},
    "kubernetes": {"image": "own/engine:1"},
    "ome": {"runtime": "llama-cpp-cpu"},
}


@pytest.mark.parametrize("mode", MODES)
def test_a_manifest_passes_the_strict_check_of_the_server(mode: str) -> None:
    site.kubectl("apply", "-f", str(CRDS))
    study = sample_study("Better")
    task = sample_task(
        model={"name": "smollm2-135m"},
        engine={"name": "llamacpp", "env": {"HF_TOKEN": "hf_abcdefgh", "A": "1"}, **MODES[mode]},
        deployment={"mode": mode, "namespace": "default", "gpus": 1},
    )
    files = result_files(task, study.trials, study.verdict, FACTS)
    for name in sorted(files.keys() & {"manifest.yaml", "patch.yaml"}):
        words = ("apply", "--dry-run=server", "--validate=strict", "-n", "default", "-f", "-")
        assert "(server dry run)" in site.kubectl(*words, stdin=files[name])
