import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from inference_autotuner.optimizer.errors import Blame, Failure, Reason
from inference_autotuner.workflows.launching import (
    Plan,
    find_model,
    find_program,
    launch_of,
    plan_launch,
    shown,
)
from tests.workflows.fake_engine import FAKE, make_order


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path / "state"))


def _program(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def _missing(found: object, reason: Reason, says: str) -> None:
    assert isinstance(found, Failure)
    assert (found.blame, found.reason) == (Blame.TASK, reason)
    assert says in found.message


def test_the_first_program_on_the_path_is_taken(tmp_path: Path) -> None:
    engine = replace(FAKE, programs=(("one",), ("two", "serve")))
    found = _program(tmp_path / "two")
    program = find_program(engine, None, path=str(tmp_path), base="/")
    assert program == (str(found), "serve")
    found = _program(tmp_path / "one")
    assert find_program(engine, None, path=str(tmp_path), base="/") == (str(found),)


def test_a_program_beside_this_python_needs_no_path() -> None:
    engine = replace(FAKE, programs=((Path(sys.executable).name,),))
    found = find_program(engine, None, path="", base="/")
    assert not isinstance(found, Failure)
    assert Path(found[0]).parent == Path(sys.executable).parent


def test_a_module_of_ours_serves_where_no_program_is_found() -> None:
    engine = replace(FAKE, programs=(("nowhere",),), fallback_module="http.server")
    found = find_program(engine, None, path="", base="/")
    assert found == (sys.executable, "-P", "-m", "http.server")


@pytest.mark.parametrize("module", [None, "http.nowhere", "nowhere.at_all"])
def test_an_engine_that_is_not_there_is_the_tasks_fault(module: str | None) -> None:
    engine = replace(FAKE, programs=(("nowhere",),), fallback_module=module)
    found = find_program(engine, None, path="", base="/")
    _missing(found, Reason.ENGINE_NOT_FOUND, "install Fake, or name its program")


def test_the_tasks_own_program_starts_at_the_task(tmp_path: Path) -> None:
    found = _program(tmp_path / "bin" / "serve")
    program = find_program(FAKE, "bin/serve", path="", base=str(tmp_path))
    assert program == (str(found),)
    assert find_program(FAKE, "serve", path=str(found.parent), base="/") == (str(found),)


def test_the_tasks_own_program_is_never_replaced_by_another(tmp_path: Path) -> None:
    base = str(tmp_path)
    _missing(find_program(FAKE, "./no", path="", base=base), Reason.ENGINE_NOT_FOUND, "not exist")
    _missing(find_program(FAKE, "nowhere", path="", base=base), Reason.ENGINE_NOT_FOUND, "on PATH")
    _program(tmp_path / "notes", 0o644)
    found = find_program(FAKE, "./notes", path="", base=base)
    _missing(found, Reason.ENGINE_NOT_FOUND, "no program that this user may run")
    found = find_program(FAKE, "./", path="", base=base)
    _missing(found, Reason.ENGINE_NOT_FOUND, "no program")


def test_a_relative_model_starts_at_the_task(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.gguf").write_text("")
    for name in ("models/a.gguf", "./models/../models/a.gguf", str(tmp_path / "models/a.gguf")):
        assert find_model(name, base=str(tmp_path)) == str(tmp_path / "models" / "a.gguf")
    assert find_model("models", base=str(tmp_path)) == str(tmp_path / "models")


@pytest.mark.parametrize("name", ["org/model", "model", "org/model-7B.v1"])
def test_a_hub_id_passes_through(tmp_path: Path, name: str) -> None:
    assert find_model(name, base=str(tmp_path)) == name


@pytest.mark.parametrize("name", ["a.gguf", "./a", "../a", "/no/such/a", "~/no-such-a", "a/b/c"])
def test_a_path_without_a_model_is_the_tasks_fault(tmp_path: Path, name: str) -> None:
    _missing(find_model(name, base=str(tmp_path)), Reason.MODEL_NOT_FOUND, "spec.model.name")


def test_a_model_that_may_not_be_read_is_the_tasks_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.gguf").write_text("")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    _missing(find_model("a.gguf", base=str(tmp_path)), Reason.MODEL_NOT_FOUND, "permissions")


def test_the_environment_is_ours_the_engines_and_the_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "kept")
    monkeypatch.setenv("AUTOTUNER_OWNER", "somebody/else")
    engine = replace(FAKE, environment={"A": "1", "B": "1", "C": "1"}, trial_environment={"B": "2"})
    plan = plan_launch(make_order({}, base=tmp_path, engine=engine, env={"C": "3"}))
    assert isinstance(plan, Plan)
    found = plan.environment()
    assert [found[name] for name in ("OURS", "A", "B", "C")] == ["kept", "1", "2", "3"]
    assert found["AUTOTUNER_OWNER"] == "s-h0/t-0001"
    assert found["SPT_NOENV"] == "1"


def test_the_tasks_path_is_where_its_engine_is_looked_for(tmp_path: Path) -> None:
    found = _program(tmp_path / "no-such-engine")
    plan = plan_launch(make_order({}, base=tmp_path, env={"PATH": str(tmp_path)}))
    assert isinstance(plan, Plan)
    assert plan.program == (str(found),)


def test_what_is_missing_is_said_before_anything_is_planned(tmp_path: Path) -> None:
    found = plan_launch(make_order({}, base=tmp_path, model="./no.gguf"))
    _missing(found, Reason.MODEL_NOT_FOUND, str(tmp_path / "no.gguf"))
    found = plan_launch(make_order({}, base=tmp_path, binary="./no"))
    _missing(found, Reason.ENGINE_NOT_FOUND, str(tmp_path / "no"))


def test_a_server_listens_on_this_machine_alone(tmp_path: Path) -> None:
    launch = launch_of(make_order({"a": 1}, base=tmp_path), "/m", 20000)
    assert (launch.host, launch.port, launch.model, launch.args) == (
        "127.0.0.1",
        20000,
        "/m",
        {"a": 1},
    )


def test_no_secret_is_written_down() -> None:
    added = {"HF_TOKEN": "hf_abc", "my_api_key": "abc", "THREADS": "2"}
    assert shown(added) == {"HF_TOKEN": "***", "my_api_key": "***", "THREADS": "2"}
