"""One spelling for each task: canonical JSON, the study's name, short YAML."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from inference_autotuner.optimizer.canonical import canonical, study_name, to_yaml
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.taskfile import parse_task, restore_task
from tests.strategies import PATIENT, tuning_tasks, well_formed_tasks

TASK = """
metadata: {name: chat}
spec:
  model: {name: models/m.gguf}
  engine: {name: llamacpp}
  deployment: {mode: process}
  parameters: {threads: [1, 2]}
  workload: {scenarios: ["D(100,50)"]}
"""


def with_line(line: str) -> str:
    return TASK + f"  {line}\n"


def replaced(old: str, new: str) -> str:
    assert old in TASK
    return TASK.replace(old, new)


@pytest.mark.parametrize(
    "same",
    [
        "# a comment\n" + TASK,
        "apiVersion: inference-autotuner/v1alpha1\nkind: TuningTask\n" + TASK,
        replaced("[1, 2]", "{values: [1, 2]}"),
        replaced("[1, 2]", "[1.0, 2]"),
        replaced("[1, 2]", "{min: 1, max: 2}"),
        replaced("[1, 2]", "{max: 2, min: 1, step: 1}"),
        replaced('"D(100,50)"', "'D(100, 50)'"),
        replaced('"D(100,50)"', "{scenario: 'D(100,50)', weight: 1}"),
        replaced("{name: chat}", "{labels: {team: search}, name: chat}"),
        with_line("description: for people"),
        with_line("publish: {branch: other, path: elsewhere}"),
        with_line("budget: {trials: 30, retries: 2, patience: null}"),
        with_line("objectives: [{metric: output_throughput, direction: maximize}]"),
        with_line("slos: []"),
        replaced("{mode: process}", "{mode: process, readyTimeout: 1800s}"),
        replaced("{mode: process}", "{readyTimeout: 0.5h, mode: process}"),
    ],
)
def test_what_says_the_same_makes_the_same_study(same: str) -> None:
    assert canonical(parse_task(same, "t")) == canonical(parse_task(TASK, "t"))


@pytest.mark.parametrize(
    "other",
    [
        replaced("[1, 2]", "[1, 4]"),
        replaced("name: chat", "name: talk"),
        with_line("budget: {trials: 31}"),
        with_line("search: {seed: 1}"),
        with_line("slos: [{metric: ttft, limit: 500ms}]"),
        replaced("{name: llamacpp}", "{name: llamacpp, args: {ctx-size: 4096}}"),
    ],
)
def test_what_says_something_else_makes_another_study(other: str) -> None:
    assert study_name(parse_task(other, "t")) != study_name(parse_task(TASK, "t"))


def test_limits_of_one_length_are_the_same() -> None:
    tasks = [
        parse_task(with_line(f"slos: [{{metric: ttft, limit: {t}}}]"), "t")
        for t in ("500ms", "0.5s", "0.50s")
    ]
    assert len({canonical(task) for task in tasks}) == 1


def test_a_statistic_that_is_the_default_changes_nothing() -> None:
    short = with_line("objectives: [{metric: ttft}]\n  slos: [{metric: tpot, limit: 30ms}]")
    long = with_line(
        "objectives: [{metric: ttft, statistic: mean, direction: minimize}]\n"
        "  slos: [{metric: tpot, statistic: p99, limit: 30ms}]"
    )
    assert canonical(parse_task(short, "t")) == canonical(parse_task(long, "t"))


def test_a_study_is_named_after_its_task_and_ten_digits() -> None:
    name, _, digits = study_name(parse_task(TASK, "t")).rpartition("-h")
    assert name == "chat"
    assert len(digits) == 10
    assert int(digits, 16) >= 0


def test_the_canonical_form_names_every_default() -> None:
    spec = json.loads(canonical(parse_task(TASK, "t")))["spec"]
    assert spec["budget"]["trials"] == 30
    assert spec["deployment"]["readyTimeout"] == "30m"
    assert spec["objectives"] == [
        {"direction": "maximize", "metric": "output_throughput", "statistic": None}
    ]


@given(well_formed_tasks)
@settings(max_examples=150, deadline=None, suppress_health_check=PATIENT)
def test_yaml_that_was_written_reads_back_as_the_same_task(task: TuningTask) -> None:
    again = restore_task(to_yaml(task), "t")
    assert again == task
    assert canonical(again) == canonical(task)


@given(tuning_tasks)
@settings(max_examples=50, deadline=None, suppress_health_check=PATIENT)
def test_a_task_without_mistakes_reads_back_as_it_is(task: TuningTask) -> None:
    assert parse_task(to_yaml(task), "t") == task


@given(well_formed_tasks)
@settings(max_examples=60, deadline=None, suppress_health_check=PATIENT)
def test_an_old_yaml_reader_takes_no_text_for_something_else(task: TuningTask) -> None:
    """Editors and kubectl read YAML 1.1, in which a bare `on` is true."""
    read = yaml.safe_load(to_yaml(task))
    assert _texts(read["metadata"].get("labels", {})) == _texts(task.metadata.labels)
    assert read["spec"]["engine"].get("env", {}) == task.spec.engine.env
    assert read["spec"]["model"]["name"] == task.spec.model.name


def _texts(labels: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in labels.items()]


def test_yaml_for_people_leaves_defaults_out_and_folds_what_is_short() -> None:
    text = with_line(
        "slos: [{metric: ttft, limit: 0.5s}, {metric: tpot, statistic: p95, limit: 30ms}, "
        "{metric: goodput, limit: 5}]\n  budget: {trials: 30, parallel: 2}"
    )
    assert to_yaml(parse_task(text, "t")) == (
        "apiVersion: inference-autotuner/v1alpha1\n"
        "kind: TuningTask\n"
        "metadata: {name: chat}\n"
        "spec:\n"
        "  model: {name: models/m.gguf}\n"
        "  engine: {name: llamacpp}\n"
        "  deployment: {mode: process}\n"
        "  parameters:\n"
        "    threads: [1, 2]\n"
        "  workload:\n"
        "    scenarios: ['D(100,50)']\n"
        "  slos:\n"
        "    - {metric: ttft, statistic: p99, limit: 500ms}\n"
        "    - {metric: tpot, statistic: p95, limit: 30ms}\n"
        "    - {metric: goodput, limit: 5}\n"
        "  budget: {parallel: 2}\n"
    )


def test_words_that_yaml_would_mistake_are_quoted() -> None:
    task = parse_task(replaced("threads: [1, 2]", "flash-attn: [on, off]"), "t")
    assert "flash-attn: ['on', 'off']" in to_yaml(task)
