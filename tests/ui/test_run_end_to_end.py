"""One study of a real engine under a real load, as a person runs it; killed once on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

AUTOTUNER = str(Path(sys.executable).with_name("autotuner"))
MODEL = Path(__file__).parents[2] / "build" / "models" / "smollm2-135m.gguf"
TASK = {
    "metadata": {"name": "end-to-end"},
    "spec": {
        "model": {"name": str(MODEL)},
        "engine": {"name": "llamacpp", "args": {"ctx-size": 1024, "threads": 1}},
        "deployment": {"mode": "process", "readyTimeout": "2m"},
        "parameters": {"parallel": [2], "batch-size": [64]},
        "workload": {
            "scenarios": ["D(16,4)"],
            "concurrency": [2],
            "requests": 6,
            "maxTime": "1m",
            "warmupRequests": 0,
        },
        "slos": [{"metric": "ttft", "statistic": "p99", "limit": "50s"}],
        "budget": {"trials": 2},
        "confirm": {"repeats": 0},
    },
}


class Person:
    """Types commands in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "AUTOTUNER_STATE": str(folder / "state")}
        self.environment.pop("AUTOTUNER_STORAGE", None)
        (folder / "task.yaml").write_text(yaml.safe_dump(TASK))

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [AUTOTUNER, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def types(self, *arguments: str, code: int = 0) -> str:
        with self.start(*arguments) as process:
            output, _ = process.communicate(timeout=400)
        assert process.returncode == code, output
        return output

    def reads(self, *arguments: str) -> Any:
        return json.loads(self.types(*arguments, "--output", "json"))

    def processes_left(self) -> list[int]:
        """Processes that carry the mark of this state folder."""
        found = []
        for process in psutil.process_iter():
            try:
                environment = process.environ()
            except psutil.Error:
                continue
            mine = environment.get("AUTOTUNER_STATE") == self.environment["AUTOTUNER_STATE"]
            if mine and "AUTOTUNER_OWNER" in environment:
                found.append(process.pid)
        return found


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return Person(tmp_path_factory.mktemp("end-to-end"))


@pytest.fixture(scope="module")
def first_output(person: Person) -> str:
    """Killed in the middle of the first trial, then the same command to its end."""
    with person.start("run", "task.yaml") as tuner:
        deadline = time.monotonic() + 120
        while not person.processes_left() and time.monotonic() < deadline:
            time.sleep(0.1)
        tuner.send_signal(signal.SIGKILL)
    return person.types("run", "task.yaml")


def test_it_ends_with_a_verdict_and_everything_to_take_away(
    person: Person, first_output: str
) -> None:
    assert "Report: " in first_output
    (study,) = person.reads("list")
    assert study["phase"] == "finished"
    results = person.folder / "state" / "studies" / study["study"] / "results"
    names = {path.name for path in results.iterdir()}
    assert {"report.html", "verdict.yaml", "trials.csv", "README.md"} <= names
    verdict = yaml.safe_load((results / "verdict.yaml").read_text())
    assert verdict["kind"] == "Verdict"


def test_the_kill_left_nothing_and_cost_no_trial(person: Person, first_output: str) -> None:
    assert person.processes_left() == []
    status = person.reads("status", "end-to-end")
    assert [trial["state"] for trial in status["trials"]] == ["measured", "measured"]
    assert [trial["kind"] for trial in status["trials"]] == ["baseline", "explore"]


def test_the_same_command_again_shows_the_answer_at_once(person: Person, first_output: str) -> None:
    again = person.types("run", "task.yaml")
    assert "is finished" in again
    assert len(person.reads("status", "end-to-end")["trials"]) == 2


def test_logs_status_export_and_report_show_what_happened(
    person: Person, first_output: str
) -> None:
    assert "llama" in person.types("logs", "end-to-end", "0")
    assert "genai" in person.types("logs", "end-to-end", "0", "--benchmark").lower()
    assert "baseline" in person.types("status", "end-to-end")
    assert "report.html" in person.types("export", "end-to-end", "--to", "taken")
    assert "Report: " in person.types("report", "end-to-end")
