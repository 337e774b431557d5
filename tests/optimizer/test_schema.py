"""The JSON Schema of a task: what the models take, it takes; it knows every field."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from inference_autotuner.optimizer.canonical import to_yaml
from inference_autotuner.optimizer.reference import EXAMPLE
from inference_autotuner.optimizer.schema import (
    default_of,
    describe_field,
    field_names,
    json_schema,
    places_of,
)
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.yaml_reader import read_document
from tests.optimizer.json_schema_check import problems
from tests.strategies import PATIENT, well_formed_documents

EXAMPLES = sorted(Path(__file__).parents[2].glob("examples/*/*.y*ml"))


def fits(value: Any) -> list[str]:
    return problems(value, json_schema(), json_schema())


def minimal(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "chat"},
        "spec": {
            "model": {"name": "m"},
            "engine": {"name": "vllm"},
            "deployment": {"mode": "process"},
            "parameters": {"max-num-seqs": [64]},
            "workload": {"scenarios": ["D(9,9)"]},
            **spec,
        },
    }


def tasks_in(path: Path) -> Iterator[Any]:
    value = read_document(path.read_text()).value
    if isinstance(value, dict) and value.get("kind") == "TuningTask":
        yield value


@given(well_formed_documents())
@settings(max_examples=150, deadline=None, suppress_health_check=PATIENT)
def test_what_the_models_take_fits_the_schema(document: dict[str, Any]) -> None:
    task = TuningTask.model_validate(document)
    assert fits(document) == []
    assert fits(yaml.safe_load(to_yaml(task))) == []
    assert fits(json.loads(task.model_dump_json(exclude_defaults=True))) == []


def test_the_example_of_the_docs_fits_the_schema() -> None:
    assert fits(read_document(EXAMPLE).value) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_examples_fit_the_schema(path: Path) -> None:
    for task in tasks_in(path):
        assert fits(task) == []


@pytest.mark.parametrize(
    "spec",
    [
        {"parameters": {"threads": {"values": [1, 2], "when": "true"}}},
        {"parameters": {"threads": {"min": 1, "max": 8, "log": True}}},
        {"workload": {"scenarios": [{"scenario": "D(9,9)", "weight": 2}]}},
        {"workload": {"scenarios": ["D(9,9)"], "concurrency": {"search": {"max": 64}}}},
        {"deployment": {"mode": "process", "gpus": 'params["tp-size"]'}},
        {"search": {"baseline": True}},
        {"search": {"baseline": {"params": {"threads": 4}}}},
        {"slos": [{"metric": "ttft", "limit": "500ms"}, {"metric": "goodput", "limit": 4}]},
    ],
)
def test_short_and_long_forms_fit_the_schema(spec: dict[str, Any]) -> None:
    assert fits(minimal(**spec)) == []


@pytest.mark.parametrize(
    "spec",
    [
        {"budgte": {}},
        {"model": {}},
        {"parameters": {}},
        {"parameters": {"--threads": [1]}},
        {"parameters": {"threads": 1}},
        {"parameters": {"threads": {"step": "1"}}},
        {"engine": {"name": "tgi"}},
        {"engine": {"name": "vllm", "env": {"A=B": "x"}}},
        {"deployment": {"mode": "k8s"}},
        {"deployment": {"mode": "process", "readyTimeout": "30 min"}},
        {"workload": {"scenarios": []}},
        {"workload": {"scenarios": ["D(9,9)"], "concurrency": [0]}},
        {"search": {"baseline": False}},
        {"budget": {"trials": 301}},
        {"slos": [{"metric": "ttfb", "limit": "1s"}]},
    ],
)
def test_what_the_models_refuse_by_form_does_not_fit_the_schema(spec: dict[str, Any]) -> None:
    assert fits(minimal(**spec)) != []


def objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "properties" in node:
            yield node
        for inner in node.values():
            yield from objects(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from objects(inner)


def test_every_field_is_described_and_no_other_is_allowed() -> None:
    found = list(objects(json_schema()))
    assert len(found) > 15
    for node in found:
        assert node["additionalProperties"] is False
        for name, field in node["properties"].items():
            assert field.get("description"), name


def test_the_schema_is_of_the_draft_that_editors_know() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "TuningTask"
    assert "$id" not in schema


def test_defaults_are_written_as_people_write_them() -> None:
    assert default_of(("spec", "deployment", "readyTimeout")) == "30m"
    assert default_of(("spec", "workload", "maxTime")) == "5m"


def test_a_caller_cannot_change_the_schema() -> None:
    json_schema()["properties"].clear()
    assert json_schema()["properties"]


def test_the_schema_tells_about_a_place() -> None:
    assert field_names(("spec", "slos", 0)) == ["metric", "statistic", "limit"]
    assert "values" in field_names(("spec", "parameters", "threads"))
    assert describe_field(("spec", "engine", "name")) == "Which engine."
    assert describe_field(("spec", "nothing")) == ""
    assert places_of("trials") == [("spec", "budget", "trials")]
