"""`autotuner storage`: what it refuses to serve, and how it ends."""

import signal
from pathlib import Path

import pytest

from inference_autotuner.optimizer.storage import storage_url
from inference_autotuner.ui.cli import run
from tests.optimizer.storage_process import TOKEN, StorageProcess, begin, open_at


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "storage.example"])
def test_without_a_token_only_this_machine_is_listened_to(
    host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUTOTUNER_STORAGE_TOKEN", " ")
    assert run(["storage", "--host", host]) == 2
    assert "export AUTOTUNER_STORAGE_TOKEN=$(openssl rand -hex 32)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "backend", ["memory://", "grpc://other:13000", "postgres-typo://a:s3cret@h"]
)
def test_what_is_no_place_to_keep_studies_is_refused(
    backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["storage", "--backend", backend]) == 2
    said = capsys.readouterr().err
    assert "journal:///path" in said
    assert "s3cret" not in said


def test_a_certificate_needs_its_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_text("")
    assert run(["storage", "--tls-cert", str(chain)]) == 2
    assert "--tls-key" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_that_is_asked_to_stop_says_so_and_ends_well(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNER_STORAGE_TOKEN", TOKEN)
    url = storage_url(tmp_path / "journal.log")
    process = StorageProcess(url)
    begin(open_at(process.port), "a")
    assert f"serving {url} at grpc://127.0.0.1:{process.port}" in process.said
    assert process.end(number).endswith(" stopped\n")
    assert process.process.returncode == 0


def test_the_backend_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUTOTUNER_STORAGE_BACKEND", f"sqlite:///{tmp_path}/x.db")
    assert run(["storage"]) == 2
    assert "sqlite:" in capsys.readouterr().err
