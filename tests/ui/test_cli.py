"""The command line: exit codes, mistakes named with their place, nothing started by a bad task."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.study import StudyDirection

from inference_autotuner.optimizer.storage import open_storage, storage_url
from inference_autotuner.optimizer.study import Study, open_study
from inference_autotuner.optimizer.trial import Measured, Params, TrialKind
from inference_autotuner.optimizer.verdict import Verdict, VerdictKind
from inference_autotuner.ui.cli import COMMANDS, run
from tests.optimizer.tasks import measurement, vllm_task

TASK: dict[str, Any] = {
    "metadata": {"name": "chat"},
    "spec": {
        "model": {"name": "some/model"},
        "engine": {"name": "vllm"},
        "deployment": {"mode": "process"},
        "parameters": {"max-num-seqs": [16, 64]},
        "workload": {"scenarios": ["D(100,100)"], "concurrency": [4]},
    },
}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("AUTOTUNER_STORAGE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "state"


def write(spec: dict[str, Any] | None = None) -> str:
    document = {**TASK, "spec": {**TASK["spec"], **(spec or {})}}
    Path("task.yaml").write_text(yaml.safe_dump(document))
    return "task.yaml"


def stored(state: Path) -> Study:
    """A study with one measured trial."""
    storage = open_storage(storage_url(state / "journal.log"))
    study = open_study(storage, vllm_task({"max-num-seqs": [16]}), base="/", now_s=1.0)
    trial = study.begin("0", TrialKind.BASELINE, {}, now_s=1.0)
    study.tell(trial.number, Measured(measurement(123.0)), now_s=2.0)
    return study


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    for_people = set(COMMANDS) - {"step"}  # what pods run
    assert all(f"\n  {command} " in shown for command in for_people)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_page(command: str) -> None:
    assert run([command, "--help"]) == 0


def test_a_misspelled_command_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["validte"]) == 2
    assert "validate" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["validate", "plan", "convert", "run"])
def test_a_bad_task_ends_with_64_and_starts_nothing(
    command: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write({"slos": [{"metric": "ttft", "limit": 500}], "parmeters": {}})
    assert run([command, "task.yaml"]) == 64
    said = capsys.readouterr().err
    assert "parameters" in said
    assert "spec.slos[0].limit" in said
    assert "Traceback" not in said
    assert not (state / "studies").exists()


def test_a_mode_that_cannot_run_here_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    write({"deployment": {"mode": "docker"}, "engine": {"name": "vllm", "image": "vllm:x"}})
    assert run(["run", "task.yaml"]) == 64
    assert "spec.deployment.mode" in capsys.readouterr().err


def test_debug_shows_where_it_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--debug", "validate", "absent.yaml"]) == 64
    assert "Traceback" in capsys.readouterr().err


def test_plan_says_what_is_tried_and_what_it_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", write(), "--output", "json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["parameters"] == {"max-num-seqs": [16, 64]}
    assert plan["combinations"] == 2
    assert plan["most_gpu_hours"] > 0
    assert run(["plan", "task.yaml"]) == 0
    assert "Cost at the most" in capsys.readouterr().out


@pytest.mark.parametrize("engine", ["llamacpp", "vllm", "sglang"])
@pytest.mark.parametrize("mode", ["process", "docker", "kubernetes", "ome"])
def test_a_first_task_is_valid(engine: str, mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("m.gguf").touch()
    model = "m.gguf" if engine == "llamacpp" else "org/Model-7B"
    arguments = ["init", "--engine", engine, "--model", model, "--mode", mode]
    assert run([*arguments, "--write", "first.yaml"]) == 0
    assert run(["validate", "first.yaml"]) == 0
    deployment = yaml.safe_load(Path("first.yaml").read_text())["spec"]["deployment"]
    is_on_cluster = mode in ("kubernetes", "ome")
    assert deployment.get("namespace") == ("tuning" if is_on_cluster else None)
    assert run([*arguments, "--write", "first.yaml"]) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "file", "written"),
    [
        ("models/m.gguf", "task.yaml", "models/m.gguf"),
        ("models/m.gguf", "tasks/t.yaml", "../models/m.gguf"),
        ("models", "tasks/t.yaml", "../models"),
        ("./models", "../t.yaml", "./{here}/models"),
        ("{root}/models/m.gguf", "tasks/t.yaml", "{root}/models/m.gguf"),
        ("org/model", "tasks/t.yaml", "org/model"),
    ],
)
def test_a_first_task_names_its_model_from_its_own_folder(
    model: str, file: str, written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "models").mkdir(parents=True)
    (tmp_path / "here" / "models" / "m.gguf").touch()
    (tmp_path / "here" / "tasks").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    place = {"root": tmp_path / "here", "here": "here"}
    arguments = ["init", "--engine", "vllm", "--model", model.format(**place), "--write", file]
    assert run(arguments) == 0
    task = yaml.safe_load(Path(file).read_text())
    assert task["spec"]["model"]["name"] == written.format(**place)
    assert run(["validate", file]) == 0


def test_a_path_in_an_image_is_written_as_typed() -> None:
    Path("tasks").mkdir()
    arguments = ["init", "--engine", "vllm", "--model", "./m", "--mode", "kubernetes"]
    assert run([*arguments, "--write", "tasks/t.yaml"]) == 0
    assert yaml.safe_load(Path("tasks/t.yaml").read_text())["spec"]["model"]["name"] == "./m"


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_a_model_that_is_not_there_is_a_warning_where_nothing_runs(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Task files are checked on other machines than those that serve."""
    write({"model": {"name": "./absent"}})
    assert run([command, "task.yaml"]) == 0
    said = capsys.readouterr().err
    assert "warning: spec.model.name: there is no such file" in said


@pytest.mark.parametrize("field", ["name", "tokenizer"])
def test_a_model_that_is_not_there_is_a_mistake_of_a_run_and_makes_no_study(
    field: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write({"model": {"name": "some/model", field: "./absent"}})
    assert run(["run", "task.yaml"]) == 64
    said = capsys.readouterr().err
    assert f": spec.model.{field}: there is no such file: {Path.cwd()}/absent" in said
    assert said.startswith("task.yaml:")
    assert not state.exists() or run(["list"]) == 0
    assert "chat" not in capsys.readouterr().out


def test_a_model_of_a_cluster_is_not_looked_for_here() -> None:
    engine = {"name": "vllm", "image": "vllm:x"}
    write({"model": {"name": "/m"}, "deployment": {"mode": "kubernetes"}, "engine": engine})
    assert run(["validate", "task.yaml"]) == 0


def test_an_unknown_engine_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--engine", "nothing", "--model", "m"]) == 64
    assert "llamacpp" in capsys.readouterr().err


def test_an_absent_study_ends_with_70_and_no_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["status", "nothing"]) == 70
    said = capsys.readouterr().err
    assert "no such study" in said
    assert "Traceback" not in said


def test_list_and_status_show_a_study_in_every_form(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = stored(state).name
    assert run(["list", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["study"] == name
    assert run(["status", "chat", "--output", "yaml"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["trials"][0]["objective"] == "123.0"
    assert run(["status", "chat"]) == 0
    assert "(baseline)" in capsys.readouterr().out


def test_a_study_that_cannot_be_read_hides_no_other(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = open_storage(storage_url(state / "journal.log"))
    storage.create_new_study([StudyDirection.MAXIMIZE], "of-another-program")
    name = stored(state).name
    assert run(["list", "--output", "json"]) == 0
    rows = {row["study"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["of-another-program"]["phase"] == "unreadable"
    assert "was not made by inference-autotuner" in rows["of-another-program"]["summary"]
    assert rows[name]["phase"] == "interrupted"
    assert run(["list"]) == 0
    assert "unreadable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "params", "best"),
    [
        (VerdictKind.BETTER, {"max-num-seqs": 16}, "119.0 with max-num-seqs=16"),
        (VerdictKind.KEEP_CURRENT, {}, "111.0 with (baseline)"),
        (VerdictKind.INCONCLUSIVE, {}, None),
        (VerdictKind.NOTHING_FEASIBLE, None, None),
    ],
)
def test_the_best_of_a_finished_study_is_what_was_proven(
    kind: VerdictKind,
    params: Params | None,
    best: str | None,
    state: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = stored(state)
    lucky = [(TrialKind.EXPLORE, {"max-num-seqs": 16}, 150.0)]
    fresh = [(TrialKind.CONFIRM, {}, 111.0), (TrialKind.CONFIRM, {"max-num-seqs": 16}, 119.0)]
    for key, (of, chosen, value) in enumerate(lucky + fresh + fresh, start=1):
        trial = study.begin(str(key), of, chosen, now_s=1.0)
        study.tell(trial.number, Measured(measurement(value)), now_s=2.0)
    run(["list", "--output", "json"])
    assert json.loads(capsys.readouterr().out)[0]["best"].startswith("150.0 with")
    study.set_attribute("phase", "finished")
    study.set_attribute("verdict", Verdict(kind, "said", params).to_dict())
    run(["list", "--output", "json"])
    assert json.loads(capsys.readouterr().out)[0]["best"] == best


def test_a_study_whose_process_is_gone_is_shown_as_interrupted(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(state)
    run(["list", "--output", "json"])
    assert json.loads(capsys.readouterr().out)[0]["phase"] == "interrupted"


def test_compare_export_and_report_work_while_a_study_is_open(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = stored(state).name
    assert run(["compare", "chat", "chat"]) == 0
    assert name in capsys.readouterr().out
    assert run(["report", "chat"]) == 0
    assert run(["export", "chat", "--to", "out"]) == 0
    assert (Path("out") / name / "report.html").exists()


@pytest.mark.parametrize("place", ["file", "file/in", "/proc/nowhere"])
def test_a_place_that_cannot_be_written_is_told_in_one_line(
    place: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(state)
    Path("file").touch()
    Path("m.gguf").touch()
    first_task = ["init", "--engine", "vllm", "--model", "m", "--write", f"{place}/t.yaml"]
    for arguments in (["export", "chat", "--to", f"{place}/out"], first_task):
        assert run(arguments) == 70
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith(f"{place}/")
        assert "cannot be written: " in line
        assert "make it writable, or name another" in line


@pytest.mark.parametrize("command", ["list", "janitor", "plan", "run"])
def test_a_state_folder_that_cannot_be_made_names_the_remedy(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    monkeypatch.setenv("AUTOTUNER_STATE", str(Path("file/state").absolute()))
    assert run([command, write()] if command in ("plan", "run") else [command]) == 70
    [line] = capsys.readouterr().err.splitlines()
    assert "make it writable, or name another folder in AUTOTUNER_STATE" in line


def test_a_run_needs_a_state_folder_beside_a_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path / "file/state"))
    storage = storage_url(tmp_path / "kept/journal.log")
    assert run(["run", write(), "--storage", storage]) == 70
    assert "name another folder in AUTOTUNER_STATE" in capsys.readouterr().err


def test_what_makes_a_verdict_doubtful_is_beside_it(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = stored(state)
    for key, value in enumerate([100.0, 140.0], start=1):
        trial = study.begin(str(key), TrialKind.CONFIRM, {}, now_s=1.0)
        study.tell(trial.number, Measured(measurement(value)), now_s=2.0)
    assert run(["report", "chat"]) == 0
    assert "The baseline alone ranged 100.0 … 140.0 output tok/s" in capsys.readouterr().out


def test_stop_says_when_nothing_runs(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored(state)
    assert run(["stop", "chat"]) == 0
    assert "does not run" in capsys.readouterr().out


def test_a_damaged_journal_is_named_with_its_line(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(state)
    journal = state / "journal.log"
    journal.write_bytes(b"not json\n" + journal.read_bytes())
    assert run(["list"]) == 70
    assert "journal.log:1:" in capsys.readouterr().err


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"]
