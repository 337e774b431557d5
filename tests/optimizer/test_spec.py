"""The models of a task: what a field may be, and that every field says what it means."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from inference_autotuner.optimizer import goals, parameters, spec, workload
from inference_autotuner.optimizer.fields import TaskModel
from inference_autotuner.optimizer.parameters import ParameterSpec
from inference_autotuner.optimizer.spec import TuningTask

MODELS = [
    found
    for module in (goals, parameters, spec, workload)
    for found in vars(module).values()
    if isinstance(found, type) and issubclass(found, TaskModel) and found is not TaskModel
]


def document(**changed: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "chat"},
        "spec": {
            "model": {"name": "models/m.gguf"},
            "engine": {"name": "vllm"},
            "deployment": {"mode": "process"},
            "parameters": {"max-num-seqs": [64, 128]},
            "workload": {"scenarios": ["D(100,50)"]},
            **changed,
        },
    }


def task(**changed: Any) -> TuningTask:
    return TuningTask.model_validate(document(**changed))


def refused(**changed: Any) -> list[str]:
    """Where the models refuse a task: the last named field of each error."""
    with pytest.raises(ValidationError) as caught:
        task(**changed)
    return [".".join(map(str, error["loc"])) for error in caught.value.errors()]


def fields() -> Iterator[tuple[type[BaseModel], str]]:
    for model in dict.fromkeys(MODELS):
        for name in model.model_fields:
            yield model, name


@pytest.mark.parametrize(("model", "name"), list(fields()))
def test_every_field_says_what_it_means(model: type[BaseModel], name: str) -> None:
    assert model.model_fields[name].description


@pytest.mark.parametrize("model", list(dict.fromkeys(MODELS)))
def test_every_model_refuses_fields_that_it_does_not_know(model: type[BaseModel]) -> None:
    assert model.model_config["extra"] == "forbid"


@pytest.mark.parametrize("wrong", ["30", 30.0, True, None, [30], 0, 301, 10**30])
def test_a_whole_number_is_nothing_else(wrong: Any) -> None:
    assert refused(budget={"trials": wrong}) == ["spec.budget.trials"]


@pytest.mark.parametrize("wrong", ["4", True, 0, float("inf"), float("nan")])
def test_a_number_is_nothing_else(wrong: Any) -> None:
    assert refused(budget={"gpuHours": wrong}) == ["spec.budget.gpuHours"]


@pytest.mark.parametrize("wrong", [[True], ["1"], [1.5], [0], [4097]])
def test_concurrency_is_whole_numbers(wrong: Any) -> None:
    [where] = refused(workload={"scenarios": ["D(9,9)"], "concurrency": wrong})
    assert where == "spec.workload.concurrency.<list>.0"


@pytest.mark.parametrize("wrong", [True, -1, 1.5, [1], "params[", "{{x}}"])
def test_gpus_are_a_count_or_an_expression(wrong: Any) -> None:
    assert refused(deployment={"mode": "process", "gpus": wrong}) == ["spec.deployment.gpus"]


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        [1, 1],
        [1, 1.0],
        [1, "1"],
        [True, "true"],
        [""],
        [None],
        [[1]],
        [{}],
        [float("nan")],
        [10**30],
        ["{{x}}"],
        ["a\0b"],
        {"min": 1},
        {"min": 2, "max": 1},
        {"min": 1, "max": 2, "step": 5},
        {"min": 1, "max": 9, "step": 0},
        {"min": 1, "max": 10**6},
        {"min": 0, "max": 8, "log": True},
        {"min": 1, "max": 8, "log": True, "step": 2},
        {"min": True, "max": 8},
        {"min": 1, "max": float("inf")},
        {"values": [1], "max": 2},
        {"values": [1], "log": True},
        {"values": [1], "when": "1 +"},
        4,
        "4",
        None,
        {},
    ],
)
def test_a_parameter_without_values_is_refused(wrong: Any) -> None:
    assert refused(parameters={"x": wrong})


@pytest.mark.parametrize("name", ["--x", "-x", "", "a b", "x=1", "{{x}}", "a\n"])
def test_a_flag_is_named_without_dashes(name: str) -> None:
    assert refused(parameters={name: [1]})
    assert refused(engine={"name": "vllm", "args": {name: 1}})


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ({"min": 1, "max": 4}, [1, 2, 3, 4]),
        ({"min": 0.7, "max": 0.9, "step": 0.1}, [0.7, 0.8, 0.9]),
        ({"min": 1.0, "max": 3.0}, [1, 2, 3]),
        ({"min": 256, "max": 2048, "log": True}, [256, 512, 1024, 2048]),
        ({"min": 5, "max": 5}, [5]),
        ([1.0, 2], [1, 2]),
        (["on", "off"], ["on", "off"]),
        ([True, False], [True, False]),
    ],
)
def test_a_parameter_is_spelled_out(form: Any, values: list[Any]) -> None:
    found = task(parameters={"x": form}).spec.parameters["x"].expanded()
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


def test_a_range_without_step_has_twenty_steps() -> None:
    assert len(ParameterSpec(min=0.75, max=0.95).expanded()) == 21


@pytest.mark.parametrize(
    "wrong", [None, float("inf"), [[1]], {"a": [float("nan")]}, {"a": {"b": "{{x}}"}}, {1: 2}]
)
def test_an_argument_is_what_a_command_line_can_hold(wrong: Any) -> None:
    assert refused(engine={"name": "vllm", "args": {"x": wrong}}) == ["spec.engine.args.x"]


def test_an_argument_may_be_a_list_or_an_object() -> None:
    args = {"a": [1.0, "x"], "b": {"mode": 3.0, "sizes": [1, None]}}
    kept = task(engine={"name": "vllm", "args": args}).spec.engine.args
    assert kept == {"a": [1, "x"], "b": {"mode": 3, "sizes": [1, None]}}


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ("model", {"name": ""}),
        ("model", {"name": "-x"}),
        ("model", {"name": "m", "tokenizer": ""}),
        ("engine", {"name": "vllm", "image": ""}),
        ("engine", {"name": "vllm", "version": 0.32}),
        ("engine", {"name": "vllm", "env": {"A=B": "x"}}),
        ("engine", {"name": "vllm", "env": {"A": 1}}),
        ("engine", {"name": "tgi"}),
        ("deployment", {"mode": "process", "namespace": ""}),
        ("deployment", {"mode": "process", "namespace": "My_Space"}),
        ("deployment", {"mode": "process", "readyTimeout": "0s"}),
        ("deployment", {"mode": "process", "readyTimeout": 30}),
        ("publish", {"branch": "--force"}),
        ("publish", {"path": "../up"}),
        ("publish", {"path": "/etc"}),
        ("search", {"baseline": False}),
        ("search", {"baseline": {"params": {"threads": None}}}),
        ("search", {"seed": 2**32}),
        ("budget", {"wallTime": "0s"}),
        ("constraints", ["1 +"]),
        ("objectives", []),
        ("objectives", [{"metric": "ttft", "direction": "maximize"}]),
        ("objectives", [{"metric": "goodput", "statistic": "p99"}]),
        ("objectives", [{"metric": "ttft"}, {"metric": "ttft", "statistic": "mean"}]),
        ("slos", [{"metric": "ttft", "limit": 500}]),
        ("slos", [{"metric": "ttft", "limit": "0ms"}]),
        ("slos", [{"metric": "goodput", "limit": "5 req/s"}]),
        ("slos", [{"metric": "goodput", "limit": True}]),
        ("workload", {"scenarios": []}),
        ("workload", {"scenarios": ["D(100,1)"]}),
        ("workload", {"scenarios": ["D(1,2)", "D(1, 2)"]}),
        ("workload", {"scenarios": ["D(1,2)"], "concurrency": []}),
        ("workload", {"scenarios": ["D(1,2)"], "concurrency": [1, 1]}),
        ("workload", {"scenarios": ["D(1,2)"], "concurrency": list(range(1, 26))}),
        ("workload", {"scenarios": ["D(1,2)"], "concurrency": {"search": {"min": 9, "max": 1}}}),
    ],
)
def test_a_field_that_makes_no_sense_is_told_once(part: str, wrong: Any) -> None:
    assert len(refused(**{part: wrong})) == 1


def test_goals_have_their_defaults_written_in() -> None:
    goal = task(objectives=[{"metric": "ttft"}]).spec.objectives[0]
    limit = task(slos=[{"metric": "tpot", "limit": "30ms"}]).spec.slos[0]
    assert (goal.statistic, goal.direction) == ("mean", "minimize")
    assert (limit.title, limit.limit) == ("tpot p99", 0.03)
