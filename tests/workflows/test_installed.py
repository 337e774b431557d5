import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from inference_autotuner.optimizer.engine import Engine
from inference_autotuner.workflows import installed
from inference_autotuner.workflows.finding import Finding, State
from inference_autotuner.workflows.installed import examine_programs, version_of
from tests.workflows.fake_engine import FAKE

Script = Callable[[str, str], Path]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Makes a program on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def write(name: str, code: str) -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{code}\n")
        path.chmod(0o755)
        return path

    return write


def _findings(monkeypatch: pytest.MonkeyPatch, *engines: Engine) -> dict[str, Finding]:
    by_name = {engine.name: engine for engine in engines}
    monkeypatch.setattr(installed, "engine_names", lambda: tuple(by_name))
    monkeypatch.setattr(installed, "get_engine", by_name.__getitem__)
    return {finding.name: finding for finding in examine_programs()}


def test_an_engine_on_the_path_tells_its_version(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = script("served", "echo loading; echo 'version: 11549 (abc)' >&2")
    found = _findings(monkeypatch, replace(FAKE, programs=(("served", "serve"),)))["Fake"]
    assert found == Finding("Fake", State.OK, f"{program}, version: 11549 (abc)")


def test_an_engine_that_is_not_there_is_a_warning_with_a_remedy(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = replace(FAKE, title="Missing", name="missing", programs=(("nowhere",),))
    found = _findings(monkeypatch, FAKE, missing)
    assert found["Missing"].state is State.WARN
    assert "install Missing" in found["Missing"].remedy
    assert "engines" not in found


def test_no_engine_at_all_is_bad(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _findings(monkeypatch, replace(FAKE, programs=(("nowhere",),)))["engines"]
    assert found.state is State.BAD
    assert "pip install" in found.remedy


def test_an_engine_that_python_would_run_is_looked_for_in_that_python(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = replace(FAKE, programs=((sys.executable, "-m", "psutil.serve"),))
    found = _findings(monkeypatch, there)["Fake"]
    assert found.state is State.OK
    gone = replace(FAKE, programs=((sys.executable, "-m", "nowhere.serve"),))
    found = _findings(monkeypatch, gone)["Fake"]
    assert (found.state, found.found) == (State.WARN, f"not installed in {sys.executable}")


def test_our_own_launcher_counts_as_an_engine(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = replace(FAKE, programs=(("nowhere",),), fallback_module="http.server")
    found = _findings(monkeypatch, engine)["Fake"]
    assert found.state is State.OK
    assert found.found.startswith("our launcher")


def test_without_the_load_generator_no_run_works(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNER_GENAI_BENCH", "nowhere")
    found = _findings(monkeypatch, FAKE)["genai-bench"]
    assert found.state is State.BAD
    assert "pip install" in found.remedy


def test_a_load_generator_elsewhere_tells_its_version(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = script("other-bench", "echo other-bench, version 0.0.5")
    monkeypatch.setenv("AUTOTUNER_GENAI_BENCH", str(program))
    found = _findings(monkeypatch, FAKE)["genai-bench"]
    assert found.found == f"{program}, other-bench, version 0.0.5"


def test_another_python_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_PYTHONS", ((3, 1),))
    assert _findings(monkeypatch, FAKE)["python"].state is State.WARN


def test_a_program_that_does_not_tell_its_version_in_time_has_none(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "_VERSION_S", 0.2)
    assert version_of((str(script("slow", "exec sleep 600")),)) is None
    assert version_of((str(script("fails", "echo 1.2.3; exit 1")),)) is None
    assert version_of((str(script("mute", "echo hello")),)) is None
    assert version_of(("/no/such/program",)) is None
