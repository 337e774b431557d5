"""A task file's text: every mistake at once, each with line, field and remedy."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_autotuner.optimizer.canonical import to_yaml
from inference_autotuner.optimizer.errors import Mistake, TaskError
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.taskfile import load_task, parse_task, restore_task
from tests.strategies import PATIENT, documents, plain_json, well_formed_documents

HEAD = """\
metadata: {name: chat}
spec:
  model: {name: models/m.gguf}
"""
REST = {
    "engine": "{name: llamacpp}",
    "deployment": "{mode: process}",
    "parameters": "{threads: [1, 2]}",
    "workload": '{scenarios: ["D(100,50)"]}',
}
JARGON = (
    "Input should",
    "pydantic",
    "Value error",
    "validation error",
    "type=",
    "dict",
    "NoneType",
)


def text_with(**changed: str) -> str:
    """A task whose field `x` of spec is on line 4 when it is changed, and all else is in order."""
    fields = {**changed, **{k: v for k, v in REST.items() if k not in changed}}
    return HEAD + "".join(f"  {name}: {value}\n" for name, value in fields.items())


def mistakes(text: str) -> tuple[Mistake, ...]:
    with pytest.raises(TaskError) as caught:
        load_task(text, "chat.yaml")
    return caught.value.mistakes


def mistake(text: str) -> Mistake:
    [found] = mistakes(text)
    return found


def test_a_task_without_mistakes_is_read() -> None:
    task, warnings = load_task(text_with(), "chat.yaml")
    assert task.metadata.name == "chat"
    assert warnings == ()


def test_a_flag_may_be_on_or_off() -> None:
    task = parse_task(text_with(parameters="{flash-attn: [on, off]}"), "chat.yaml")
    assert task.spec.parameters["flash-attn"].expanded() == ["on", "off"]


def test_flags_are_checked_beside_mistakes_in_other_fields() -> None:
    found = mistakes(text_with(budget="{trials: none}", parameters="{threds: [1, 2]}"))
    assert [m.path for m in found] == ["spec.budget.trials", "spec.parameters.threds"]
    assert "did you mean 'threads'" in found[1].message


@pytest.mark.parametrize(
    "changed",
    [{"parameters": "{threads: {min: 1}}"}, {"engine": "nothing"}, {"engine": "{name: nothing}"}],
)
def test_flags_that_cannot_be_read_are_told_once(changed: dict[str, str]) -> None:
    assert len(mistakes(text_with(**changed))) == 1


def test_json_is_a_task_too() -> None:
    task = parse_task(text_with(), "chat.yaml")
    raw = json.dumps(task.model_dump(mode="json"), indent="\t")
    assert parse_task(raw, "chat.json") == task


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = text_with(
        engine="{name: lamacpp}",
        parameters="\n    threads: 4\n    parallel: [1, 1]",
        slos="\n    - {metric: ttft, limit: 500}",
        budget='{trials: "8"}',
    )
    found = mistakes(text)
    assert [(m.line, m.path) for m in found] == [
        (4, "spec.engine.name"),
        (6, "spec.parameters.threads"),
        (7, "spec.parameters.parallel"),
        (9, "spec.slos[0].limit"),
        (10, "spec.budget.trials"),
    ]


def test_a_mistake_names_file_line_and_field() -> None:
    with pytest.raises(TaskError) as caught:
        parse_task(text_with(engine="{name: lamacpp}"), "tasks/chat.yaml")
    assert str(caught.value) == (
        'tasks/chat.yaml:4: spec.engine.name: "lamacpp" is not known; allowed are llamacpp, '
        "sglang, vllm; did you mean llamacpp?"
    )
    assert caught.value.exit_code == 64


@pytest.mark.parametrize(
    ("changed", "path", "words"),
    [
        # An unknown field, and where it belongs.
        ({"budgte": "{}"}, "spec.budgte", "did you mean budget?"),
        (
            {"deployment": "{mode: process, ready_timeout: 5m}"},
            "spec.deployment.ready_timeout",
            "did you mean readyTimeout? There are mode, namespace, gpus, readyTimeout",
        ),
        ({"search": "{<x: 3}"}, "spec.search.<x", "is no field; there are sampler, seed"),
        ({"search": "{trials: 3}"}, "spec.search.trials", "it belongs to spec.budget.trials"),
        # A wrong type.
        ({"budget": '{trials: "30"}'}, "spec.budget.trials", '"30" is a text; write 30 without'),
        ({"budget": "{trials: 30.0}"}, "spec.budget.trials", "30.0 is a number; write 30"),
        ({"budget": "{trials: 1e2}"}, "spec.budget.trials", "1e2 is a number; write 100"),
        ({"budget": "{trials: 2.5}"}, "spec.budget.trials", "give a whole number"),
        ({"budget": "{trials: true}"}, "spec.budget.trials", "give a whole number"),
        ({"budget": "{trials: }"}, "spec.budget.trials", "leave the line out (default 30)"),
        ({"budget": "{trials: [3]}"}, "spec.budget.trials", "a list stands here"),
        ({"budget": "{trials: 1_0}"}, "spec.budget.trials", "write 10 without quotes"),
        ({"budget": "{gpuHours: x}"}, "spec.budget.gpuHours", '"x" is a text; give a number'),
        ({"budget": "5"}, "spec.budget", "give a mapping with trials, parallel"),
        ({"budget": ""}, "spec.budget", "is empty; give a mapping with trials"),
        ({"slos": ""}, "spec.slos", "is empty; give a list, or leave the line out"),
        ({"constraints": "'true'"}, "spec.constraints", 'write a list: ["true"]'),
        ({"description": "5"}, "spec.description", 'write "5" in quotes'),
        (
            {"engine": "{name: llamacpp, version: 1.10}"},
            "spec.engine.version",
            '1.10 is a number; write "1.10" in quotes',
        ),
        (
            {"engine": "{name: llamacpp, env: {OMP_NUM_THREADS: 2}}"},
            "spec.engine.env.OMP_NUM_THREADS",
            'write "2" in quotes',
        ),
        (
            {"parameters": "{threads: {min: 1, max: 4, log: yes}}"},
            "spec.parameters.threads.log",
            "write true",
        ),
        (
            {"engine": "{name: llamacpp, args: {ctx-size: null}}"},
            "spec.engine.args.ctx-size",
            "null is no value",
        ),
        # Out of range, unknown words.
        ({"budget": "{trials: 0}"}, "spec.budget.trials", "it must be at least 1"),
        ({"budget": "{gpuHours: -1}"}, "spec.budget.gpuHours", "it must be above 0"),
        ({"budget": "{wallTime: 0s}"}, "spec.budget.wallTime", "it must be above 0"),
        ({"search": "{sampler: gird}"}, "spec.search.sampler", "did you mean grid?"),
        ({"search": "{baseline: no}"}, "spec.search.baseline", "give true"),
        (
            {"objectives": "[{metric: goodput, direction: minimize}]"},
            "spec.objectives[0].direction",
            "goodput is better when you maximize it",
        ),
        # An empty space.
        ({"parameters": "{}"}, "spec.parameters", "is empty; give at least one"),
        ({"parameters": "{threads: []}"}, "spec.parameters.threads", "the list of values is empty"),
        ({"parameters": "{threads: 4}"}, "spec.parameters.threads", "a list such as [4]"),
        ({"parameters": "{threads: }"}, "spec.parameters.threads", "a list such as [1, 2, 4]"),
        ({"parameters": "{threads: [[1]]}"}, "spec.parameters.threads[0]", "give a number, a text"),
        ({"parameters": "{--threads: [1]}"}, 'spec.parameters["--threads"]', "write 'threads'"),
        (
            {"parameters": "{threads: {min: 8, max: 1}}"},
            "spec.parameters.threads",
            "min 8 is above max 1",
        ),
        (
            {"parameters": "{threads: {values: [1, x, {}]}}"},
            "spec.parameters.threads.values[2]",
            "give a number, a text",
        ),
        # Traffic that cannot be measured.
        ({"workload": '{scenarios: ["D(100,1)"]}'}, "spec.workload.scenarios[0]", "two or more"),
        ({"workload": '{scenarios: ["E(100)"]}'}, "spec.workload.scenarios[0]", "D(in,out)"),
        ({"workload": '{scenarios: "D(9,9)"}'}, "spec.workload.scenarios", '["D(9,9)"]'),
        ({"workload": "{scenarios: [5]}"}, "spec.workload.scenarios[0]", "give a scenario"),
        (
            {"workload": '{scenarios: ["D(9,9)"], concurrency: 8}'},
            "spec.workload.concurrency",
            "give a list such as [1, 8, 32], or {search:",
        ),
        (
            {"workload": '{scenarios: ["D(9,9)"], concurrency: [1, true]}'},
            "spec.workload.concurrency[1]",
            "give a whole number",
        ),
        (
            {"workload": '{scenarios: ["D(9,9)"], concurrency: {serach: {}}}'},
            "spec.workload.concurrency.serach",
            "did you mean search?",
        ),
        (
            {"workload": '{scenarios: ["D(9,9)"], maxTime: 300}'},
            "spec.workload.maxTime",
            "300 has no unit; write a duration such as 500ms",
        ),
        # A limit with a wrong unit.
        ({"slos": "[{metric: ttft, limit: 500}]"}, "spec.slos[0].limit", "500 has no unit"),
        ({"slos": "[{metric: ttft, limit: 500 msec}]"}, "spec.slos[0].limit", "no duration"),
        ({"slos": "[{metric: goodput, limit: 5 r/s}]"}, "spec.slos[0].limit", "without unit"),
        # What would be run as a template.
        ({"description": '"{{x}}"'}, "spec.description", "'{{' begins a template"),
        (
            {"engine": "{name: llamacpp, args: {alias: '{{x}}'}}"},
            "spec.engine.args.alias",
            "'{{' begins a template",
        ),
        (
            {"parameters": "{threads: [1], cache-type-k: [f16, '{{x}}']}"},
            "spec.parameters.cache-type-k[1]",
            "'{{' begins a template",
        ),
        # Expressions.
        ({"constraints": "['1 +']"}, "spec.constraints[0]", "is not a CEL expression"),
        (
            {"deployment": "{mode: process, gpus: true}"},
            "spec.deployment.gpus",
            "give a whole number, or an expression",
        ),
        # What only the engine's catalog can tell.
        ({"parameters": "{threds: [1, 2]}"}, "spec.parameters.threds", "did you mean 'threads'?"),
        (
            {"constraints": "['params.threads > 4']"},
            "spec.constraints[0]",
            "no combination of the parameters satisfies",
        ),
    ],
)
def test_a_mistake_says_where_and_what_to_do(
    changed: dict[str, str], path: str, words: str
) -> None:
    found = mistake(text_with(**changed))
    assert found.path == path
    assert words.lower() in found.message.lower()
    assert found.line == 4


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("My_Task", "did you mean my-task?"),
        ("8b", "lower-case letters"),
        ("''", "no name"),
        ("a" * 36, "has 36 characters; at most 35"),
        ("5", 'write "5" in quotes'),
    ],
)
def test_a_task_has_a_name_that_kubernetes_takes(name: str, words: str) -> None:
    found = mistake(text_with().replace("name: chat", f"name: {name}"))
    assert found.path == "metadata.name"
    assert words in found.message


def test_a_field_that_is_missing_is_told_at_what_it_belongs_to() -> None:
    found = mistake(HEAD.replace("{name: models/m.gguf}", "{}") + text_with()[len(HEAD) :])
    assert (found.line, found.path) == (3, "spec.model.name")
    assert found.message.startswith("is missing: A path or a hub id")


def test_a_misspelled_field_is_not_missing_as_well() -> None:
    assert [m.path for m in mistakes(text_with().replace("model:", "modle:"))] == ["spec.modle"]


def test_a_mistake_in_yaml_does_not_hide_the_others() -> None:
    text = text_with(budget="{trials: 0}", search="{seed: 1, seed: 2}", confirm="{repeats: .nan}")
    assert [m.path for m in mistakes(text)] == [
        "spec.budget.trials",
        "spec.search.seed",
        "spec.confirm.repeats",
    ]


def test_another_kind_of_object_is_told_in_one_line() -> None:
    found = mistake("apiVersion: apps/v1\nkind: Deployment\nspec: {}")
    assert (found.line, found.message) == (2, "this is no tuning task but a Deployment")


@pytest.mark.parametrize("text", ["- a", "5", "just words", "---\n", "null"])
def test_a_file_without_fields_is_no_task(text: str) -> None:
    assert "a task is a mapping" in mistake(text).message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("a: 1\n---\na: 2", "a second document"),
        ("x" * 5_000_000, "the file is too large"),
        ("a: [" * 200, "40 levels"),
        ("a: \0", "NUL"),
        ("a:\n\t- b", "a tab"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_one_line(text: str, words: str) -> None:
    assert words in mistake(text).message


def test_a_file_of_mistakes_ends_after_fifty() -> None:
    flags = "\n".join(f"    x{n}: {n}" for n in range(200))
    found = mistakes(text_with(parameters=f"\n{flags}"))
    assert len(found) == 51
    assert found[-1].message == "and 150 more like these"


def test_a_long_value_is_shown_by_its_beginning() -> None:
    found = mistake(text_with(slos=f"[{{metric: ttft, limit: {'x' * 5000}}}]"))
    assert len(found.message) < 300


def test_a_warning_has_its_line() -> None:
    text = text_with(parameters="\n    cache-type-k: [f16, q8_0]")
    [warning] = load_task(text, "chat.yaml").warnings
    assert (warning.line, warning.path) == (5, "spec.parameters.cache-type-k")


def test_a_stored_task_is_read_without_asking_the_catalog() -> None:
    text = text_with(parameters="{gone-in-the-next-version: [1, 2]}")
    assert mistake(text)
    assert "gone-in-the-next-version" in restore_task(text, "stored").spec.parameters


def test_a_stored_text_that_is_no_task_is_refused() -> None:
    with pytest.raises(TaskError):
        restore_task("metadata: {name: chat}", "stored")


def outcome(text: str) -> TuningTask | tuple[Mistake, ...]:
    try:
        return parse_task(text, "t")
    except TaskError as error:
        return error.mistakes


def assert_plain(found: tuple[Mistake, ...]) -> None:
    assert found
    for m in found:
        assert m.message
        assert not any(word in m.message for word in JARGON), m.message


@given(st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_text_is_refused_in_plain_words(text: str) -> None:
    assert_plain(mistakes(text))


def _spoil(value: Any, rng: random.Random, junk: Any) -> Any:
    """One place of a document replaced, removed, or added to."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(sorted(value))
        action = rng.random()
        if action < 0.1:
            return {k: v for k, v in value.items() if k != name}
        if action < 0.2:
            return {**value, name + "x": value[name]}
        return {**value, name: _spoil(value[name], rng, junk)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], _spoil(value[at], rng, junk), *value[at + 1 :]]
    return junk


@given(documents() | well_formed_documents(), st.randoms(use_true_random=False), plain_json)
@settings(max_examples=200, deadline=None, suppress_health_check=PATIENT)
def test_a_spoiled_task_is_refused_in_plain_words_with_lines(
    document: dict[str, Any], rng: random.Random, junk: Any
) -> None:
    text = json.dumps(_spoil(document, rng, junk), indent=1)
    found = outcome(text)
    if isinstance(found, TuningTask):
        assert restore_task(to_yaml(found), "t") == found
    else:
        assert_plain(found)
        assert all(m.line for m in found)
