"""`autotuner submit`: what is refused before anything is written."""

from pathlib import Path

import pytest

from inference_autotuner.ui import cli

TASK = Path(__file__).parents[2] / "examples/one-node-cluster/kubernetes.yaml"


@pytest.mark.parametrize("options", [[], ["--storage", "journal:///nowhere/journal.log"]])
def test_a_storage_of_this_machine_is_refused_for_no_pod_can_read_it(
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("AUTOTUNER_STORAGE", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert cli.run(["submit", "--direct", str(TASK), *options]) == 2
    assert "port-forward service/autotuner-storage" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()
