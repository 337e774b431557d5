import json
import shlex
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_autotuner.optimizer.benchmarks.genai_bench import (
    Run,
    command_line,
    environment,
    scrub,
    shell_command,
    workload_mistakes,
)
from inference_autotuner.optimizer.spec import Workload

RECORDED = Path(__file__).parent / "recorded"


def a_run(**changes):
    plain = {
        "api_base": "http://127.0.0.1:8080",
        "served_name": "m",
        "tokenizer": "/models/tokenizer",
        "api_backend": "sglang",
        "scenarios": ("D(16,8)",),
        "concurrency": 2,
        "requests": 4,
        "max_time_s": 60.0,
        "base_folder": "/results",
        "folder_name": "D_16_8-c2",
        "request_params": {},
    }
    return Run(**{**plain, **changes})


def options(run):
    line = command_line(run)
    assert line[0] == "benchmark"
    pairs = list(zip(line[1::2], line[2::2], strict=True))
    return pairs, dict(pairs)


def test_every_option_that_genai_bench_would_ask_a_person_for_is_given():
    _, given_options = options(a_run())
    required = {"--api-backend", "--api-base", "--api-key", "--api-model-name", "--task"}
    required |= {"--model-tokenizer", "--max-time-per-run", "--max-requests-per-run"}
    assert required <= set(given_options)


def test_backend_and_task_come_before_the_options_that_are_checked_against_them():
    pairs, _ = options(a_run())
    assert [name for name, _ in pairs][:2] == ["--api-backend", "--task"]


@pytest.mark.parametrize(("seconds", "minutes"), [(1, "1"), (60, "1"), (61, "2"), (300, "5")])
def test_the_time_limit_is_whole_minutes_and_never_zero(seconds, minutes):
    _, given_options = options(a_run(max_time_s=seconds))
    assert given_options["--max-time-per-run"] == minutes


def test_a_warm_up_takes_every_scenario():
    pairs, _ = options(a_run(scenarios=("D(16,8)", "D(32,8)")))
    assert [value for name, value in pairs if name == "--traffic-scenario"] == [
        "D(16,8)",
        "D(32,8)",
    ]


def test_a_shared_prefix_and_request_fields_are_passed_on():
    _, given_options = options(a_run(shared_prefix=8, request_params={"temperature": 0.5}))
    assert given_options["--prefix-len"] == "8"
    assert json.loads(given_options["--additional-request-params"]) == {"temperature": 0.5}


def test_a_tokenizer_folder_needs_no_hub_and_a_hub_id_does():
    assert environment(a_run())["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in environment(a_run(tokenizer="org/model"))


def test_the_shell_command_is_the_same_invocation():
    words = shlex.split(shell_command(a_run()))
    at = words.index("genai-bench")
    assert words[0] == "env"
    assert "ENABLE_UI=false" in words[:at]
    assert tuple(words[at + 1 :]) == command_line(a_run())


def test_genai_bench_itself_knows_every_option():
    source = Path(click.__file__).parents[1] / "genai_bench" / "cli" / "option_groups.py"
    known = source.read_text("utf-8")
    run = a_run(shared_prefix=8, request_params={"a": 1})
    assert [name for name, _ in options(run)[0] if f'"{name}"' not in known] == []


def test_no_key_is_left_in_the_metadata_that_genai_bench_writes():
    text = (RECORDED / "experiment_metadata.json").read_text("utf-8")
    assert "s3cret-key" in text
    scrubbed = scrub(text)
    assert "s3cret-key" not in scrubbed
    assert json.loads(scrubbed)["api_model_name"] == "m"


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=8, max_size=40))
def test_a_key_is_scrubbed_wherever_genai_bench_shows_it(key):
    line = f'INFO - api_key: {key}\n"cmd": "x --api-key {key} --task y", model_api_key: {key}'
    assert f" {key}" not in scrub(line)


def test_a_key_that_is_not_set_stays_readable():
    assert scrub("model_api_key: None") == "model_api_key: None"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"concurrency": {"search": {"min": 1, "max": 8}}}, "spec.workload.concurrency"),
        ({"requestParams": {"max_tokens": 5}}, "spec.workload.requestParams.max_tokens"),
        ({"requestParams": {"ignore_eos": False}}, "spec.workload.requestParams.ignore_eos"),
        ({"sharedPrefix": 17}, "spec.workload.sharedPrefix"),
        ({"sharedPrefix": 2, "scenarios": ["N(32,10)/(8,2)"]}, None),
        ({"sharedPrefix": 3, "scenarios": ["N(32,10)/(8,2)"]}, "spec.workload.sharedPrefix"),
        ({"sharedPrefix": 2, "scenarios": ["U(32,8)"]}, "spec.workload.sharedPrefix"),
        ({"requestParams": {"ignore_eos": True, "temperature": 0}}, None),
        ({}, None),
    ],
)
def test_what_genai_bench_cannot_run_is_a_mistake_of_the_task(changes, path):
    workload = Workload(**{"scenarios": ["D(16,8)"], **changes})
    assert [m.path for m in workload_mistakes(workload)] == ([path] if path else [])
