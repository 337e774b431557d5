"""The flat task files of the first autotuner, read as tuning tasks."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_autotuner.optimizer.canonical import canonical, to_yaml
from inference_autotuner.optimizer.errors import Mistake, TaskError
from inference_autotuner.optimizer.legacy import is_legacy
from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.optimizer.taskfile import LoadedTask, load_task, parse_task
from tests.strategies import plain_json

FILES = sorted((Path(__file__).parent / "legacy").iterdir())


def raw_of(name: str) -> dict[str, Any]:
    [path] = [path for path in FILES if path.stem == name]
    raw = yaml.safe_load(path.read_text().replace("\t", "  "))
    assert isinstance(raw, dict)
    return raw


def load(name: str, **changed: Any) -> LoadedTask:
    return load_task(json.dumps({**raw_of(name), **changed}, indent=1), name)


def spec(name: str, **changed: Any) -> Spec:
    return load(name, **changed).task.spec


def warning(name: str, path: str, **changed: Any) -> str:
    [found] = [w.message for w in load(name, **changed).warnings if w.path == path]
    return found


def mistakes(name: str, **changed: Any) -> dict[str, str]:
    with pytest.raises(TaskError) as caught:
        load(name, **changed)
    return {mistake.path: mistake.message for mistake in caught.value.mistakes}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_flat_file_is_a_task_without_mistakes(path: Path) -> None:
    loaded = load_task(path.read_text(), path.name)
    assert loaded.task.metadata.name
    assert all(warning.line for warning in loaded.warnings)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_conversion_is_the_same_task(path: Path) -> None:
    task = parse_task(path.read_text(), path.name)
    again = parse_task(to_yaml(task), "converted")
    assert again == task
    assert canonical(again) == canonical(task)


@pytest.mark.parametrize(
    ("raw", "flat"),
    [
        ({"task_name": "a"}, True),
        ({"base_runtime": "vllm", "benchmark": {}}, True),
        ({"metadata": {}, "spec": {}}, False),
        ({"kind": "TuningTask", "task_name": "a"}, False),
        ({"name": "a"}, False),
        ([], False),
    ],
)
def test_the_flat_form_is_known_by_its_fields(raw: Any, flat: bool) -> None:
    assert is_legacy(raw) is flat


def test_both_forms_of_parameters_are_read() -> None:
    listed = {"tp-size": [1, 2], "mem-fraction-static": [0.8, 0.9]}
    chosen = {
        "tp_size": {"type": "choice", "values": [1, 2]},
        "mem_frac": {"type": "choice", "values": [0.8, 0.9]},
    }
    assert spec("docker_grid", parameters=listed) == spec("docker_grid", parameters=chosen)


def test_ranges_are_searched_in_steps() -> None:
    found = spec("ranges").parameters
    assert len(found["mem-fraction-static"].expanded()) == 21
    assert found["max-running-requests"].expanded() == [16, 17, 18, 19, 20]
    assert found["max-total-tokens"].expanded()[:2] == [4096, 5120]
    assert found["chunked-prefill-size"].expanded() == [1024, 2048, 4096, 8192]
    assert found["enable-mixed-chunk"].expanded() == [True, False]
    assert "steps of 1024" in warning("ranges", "parameters.max-total-tokens")


def test_flags_have_the_catalog_s_names() -> None:
    assert "tp-size" in spec("ranges").parameters
    assert "max-running-requests" in spec("process").parameters
    assert "SGLang" in warning("process", "parameters.max-num-seqs")


def test_a_flag_under_two_names_is_a_mistake() -> None:
    found = mistakes("docker_grid", parameters={"tp_size": [1], "tensor-parallel-size": [2]})
    assert found == {"parameters.tensor-parallel-size": "is the same flag as tp_size; keep one"}


@pytest.mark.parametrize(
    ("objective", "metric", "statistic"),
    [
        ("minimize_latency", "e2e_latency", "mean"),
        ("maximize_throughput", "total_throughput", None),
        ("minimize_ttft", "ttft", "mean"),
        ("minimize_tpot", "tpot", "mean"),
    ],
)
def test_an_objective_is_the_number_it_was(
    objective: str, metric: str, statistic: str | None
) -> None:
    [found] = spec("docker_grid", optimization={"objective": objective}).objectives
    assert (found.metric, found.statistic) == (metric, statistic)


@pytest.mark.parametrize(
    ("strategy", "sampler"), [("grid_search", "grid"), ("bayesian", "tpe"), ("random", "random")]
)
def test_a_strategy_is_a_sampler(strategy: str, sampler: str) -> None:
    assert spec("docker_grid", optimization={"strategy": strategy}).search.sampler == sampler


def test_limits_in_seconds_are_slos_at_the_statistic_that_was_compared() -> None:
    found = {slo.title: slo.limit for slo in spec("docker_limits").slos}
    assert found == {
        "e2e_latency p50": 1.5,
        "e2e_latency p99": 6.0,
        "ttft mean": 0.8,
        "tpot mean": 0.04,
    }
    assert "fail_ratio, hard_fail, steepness, weight left out" in warning("docker_limits", "slo")


def test_minutes_seconds_and_counts_keep_their_meaning() -> None:
    found = spec("docker_grid")
    assert found.workload.maxTime == 600
    assert found.workload.requests == 60
    assert found.deployment.readyTimeout == 900
    assert found.workload.requestParams == {"temperature": 0}


def test_the_baseline_comes_on_top_of_the_iterations() -> None:
    assert spec("docker_grid").budget.trials == 5
    assert "the engine's defaults are measured first" in warning(
        "docker_grid", "optimization.max_iterations"
    )


def test_what_was_not_said_is_as_it_was() -> None:
    docker, ome = spec("parallelism"), spec("ome_made_for_you")
    assert (docker.workload.requests, docker.workload.maxTime) == (50, 600)
    assert (ome.workload.requests, ome.workload.maxTime) == (100, 900)
    assert docker.workload.concurrency == [1]
    assert docker.deployment.readyTimeout == 1800
    assert (docker.search.sampler, docker.objectives[0].metric) == ("grid", "e2e_latency")
    assert spec("docker_grid", optimization={}).budget.trials == 101


def test_numbers_that_were_written_as_texts_are_numbers() -> None:
    assert spec("ome_choices").workload.requestParams == {"temperature": 0, "seed": 7}
    assert warning("ome_choices", "benchmark.additional_params.seed")


def test_a_docker_task_has_the_image_of_its_tag() -> None:
    found = spec("docker_limits").engine
    assert (found.name, found.image, found.version) == (
        "vllm",
        "vllm/vllm-openai:v0.32.0",
        "0.32.0",
    )


def test_a_docker_task_without_tag_has_the_image_of_before() -> None:
    assert spec("docker_grid").engine.image == "lmsysorg/sglang:v0.5.2-cu126"
    assert "the default before" in warning("docker_grid", "runtime_image_tag")


def test_an_ome_task_names_its_runtime() -> None:
    found = spec("ome_choices")
    assert (found.engine.name, found.engine.runtime) == ("sglang", "tiny-chat-runtime")
    assert found.deployment.namespace == "tuning"
    assert "does not tell the engine" in warning("ome_choices", "base_runtime")


def test_what_was_made_on_the_cluster_must_be_there() -> None:
    assert spec("ome_made_for_you").engine.runtime == "sglang-tiny"
    assert spec("ome_made_for_you").model.name == "tiny-chat-1b"
    for path in ("clusterbasemodel_config", "clusterservingruntime_config"):
        assert "must be on the cluster" in warning("ome_made_for_you", path)
    assert "is left out" in warning("ome_made_for_you", "storage")


def test_a_local_task_is_a_process() -> None:
    found = spec("process")
    assert found.deployment.mode == "process"
    assert (found.search.sampler, found.search.seed) == ("random", 3)
    assert "no effect in mode process" in warning("process", "runtime_image_tag")
    assert "is left out" in warning("process", "benchmark.dataset_url")


def test_a_missing_mode_is_the_one_that_could_run_the_file() -> None:
    assert spec("quantization").deployment.mode == "docker"
    assert spec("ome_choices").deployment.mode == "ome"
    assert "docker is taken" in warning("quantization", "deployment_mode")


def test_quantization_is_written_out_as_flags() -> None:
    args = spec("quantization").engine.args
    assert args == {"kv-cache-dtype": "fp8_e4m3", "quantization": "fp8"}
    assert "quantization=fp8" in warning("quantization", "quant_config")


@pytest.mark.parametrize(
    ("words", "engine", "args"),
    [
        ({"gemm_dtype": "bfloat16"}, "sglang", {"dtype": "bfloat16"}),
        ({"gemm_dtype": "bfloat16"}, "vllm", {"dtype": "bfloat16"}),
        ({"attention_dtype": "fp8"}, "sglang", {"attention-backend": "flashinfer"}),
        ({"kvcache_dtype": "fp8"}, "sglang", {"kv-cache-dtype": "fp8_e5m2"}),
        ({"kvcache_dtype": "fp8"}, "vllm", {"kv-cache-dtype": "fp8"}),
        ({"moe_dtype": "fp8"}, "sglang", {"moe-runner-backend": "flashinfer_cutlass"}),
        ({"preset": "kv-cache-fp8"}, "sglang", {"kv-cache-dtype": "fp8_e5m2"}),
        ({"preset": "default"}, "sglang", {}),
    ],
)
def test_a_word_of_quantization_is_a_flag(
    words: dict[str, str], engine: str, args: dict[str, str]
) -> None:
    found = spec(
        "quantization",
        quant_config=words,
        base_runtime=engine,
        runtime_image_tag="v0.1.0",
        parameters={"tensor-parallel-size": [1, 2]},
    )
    assert found.engine.args == args


def test_alternatives_of_quantization_are_searched_as_far_as_a_list_can_say() -> None:
    found = load("quantization_presets")
    values = found.task.spec.parameters["kv-cache-dtype"].expanded()
    assert values == ["auto", "fp8_e5m2"]
    said = [w.message for w in found.warnings if w.path == "quant_config"]
    assert any(message.startswith("quantization is left out") for message in said)


def test_parallelism_is_searched_under_the_engine_s_names() -> None:
    found = spec("parallelism").parameters
    assert found["tp-size"].expanded() == [2, 4]
    assert found["dp-size"].expanded() == [1, 2]
    assert "replicas" in warning("parallelism", "parallel_config.dp")


@pytest.mark.parametrize(
    ("changed", "path", "words"),
    [
        ({"benchmrak": {}}, "benchmrak", "did you mean benchmark?"),
        (
            {"optimization": {"max_iteration": 3}},
            "optimization.max_iteration",
            "did you mean max_iterations?",
        ),
        ({"optimization": {"strategy": "bayes"}}, "optimization.strategy", "did you mean bayesian"),
        ({"optimization": {"objective": "fast"}}, "optimization.objective", "minimize_latency"),
        ({"optimization": {"max_iterations": "9"}}, "optimization.max_iterations", "write 9"),
        (
            {"optimization": {"timeout_per_iteration": "10m"}},
            "optimization.timeout_per_iteration",
            "seconds as a number",
        ),
        ({"deployment_mode": "dokcer"}, "deployment_mode", "did you mean docker?"),
        ({"base_runtime": "tgi"}, "base_runtime", "there are sglang and vllm"),
        ({"base_runtime": None}, "base_runtime", "is missing"),
        ({"task_name": None}, "task_name", "is missing"),
        ({"model": None}, "model", "is missing"),
        ({"model": {"namespace": "a"}}, "model.id_or_path", "is missing"),
        ({"model": "tiny"}, "model", "must be a mapping with id_or_path"),
        ({"benchmark": None}, "benchmark", "is missing"),
        ({"parameters": None}, "parameters", "must be a mapping"),
        ({"parameters": {}}, "parameters", "give at least one"),
        ({"parameters": {"tp-size": 2}}, "parameters.tp-size", "a list such as [2]"),
        ({"parameters": {"tp-size": [1, 1]}}, "parameters.tp-size", "given twice"),
        (
            {"parameters": {"tp_size": {"type": "choose", "values": [1]}}},
            "parameters.tp_size.type",
            "allowed are choice, categorical, integer, continuous",
        ),
        (
            {"parameters": {"tp_size": {"type": "choice", "values": [1, {}]}}},
            "parameters.tp_size.values[1]",
            "give a number, a text",
        ),
        (
            {"parameters": {"tp_size": {"type": "integer", "low": 1}}},
            "parameters.tp_size",
            "low and high",
        ),
        (
            {"parameters": {"tp_size": {"type": "integer", "low": 8, "high": 1}}},
            "parameters.tp_size",
            "min 8 is above max 1",
        ),
        ({"slo": {"latncy": {}}}, "slo.latncy", "did you mean latency?"),
        ({"slo": {"ttft": {"treshold": 1}}}, "slo.ttft.treshold", "did you mean threshold?"),
        ({"slo": {"ttft": {"threshold": "1s"}}}, "slo.ttft.threshold", "seconds as a number"),
        ({"quant_config": {"preset": "fp8"}}, "quant_config.preset", "allowed are default"),
    ],
)
def test_a_mistake_is_told_by_the_fields_of_the_file(
    changed: dict[str, Any], path: str, words: str
) -> None:
    found = mistakes("docker_grid", **changed)
    assert list(found) == [path]
    assert words in found[path]


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"traffic_scenarios": ["D(100,1)"]}, "benchmark.traffic_scenarios[0]"),
        ({"num_concurrency": [1, "4"]}, "benchmark.num_concurrency[1]"),
        ({"num_concurrency": list(range(1, 30))}, "benchmark"),
        ({"max_time_per_iteration": 0}, "benchmark.max_time_per_iteration"),
        ({"max_requests_per_iteration": 1.5}, "benchmark.max_requests_per_iteration"),
        ({"additional_params": [1]}, "benchmark.additional_params"),
        ({"task": "text-to-image"}, "benchmark.task"),
        ({"model_tokenizer": ""}, "benchmark.model_tokenizer"),
    ],
)
def test_a_load_that_cannot_be_measured_is_a_mistake(changed: dict[str, Any], path: str) -> None:
    benchmark = {**raw_of("docker_grid")["benchmark"], **changed}
    assert list(mistakes("docker_grid", benchmark=benchmark)) == [path]


def _spoil(value: Any, rng: random.Random, junk: Any) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(sorted(value))
        if rng.random() < 0.15:
            return {k: v for k, v in value.items() if k != name}
        return {**value, name: _spoil(value[name], rng, junk)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        return [_spoil(value[0], rng, junk), *value[1:]]
    return junk


def told(raw: Any) -> tuple[Mistake, ...]:
    try:
        return load_task(json.dumps(raw), "t").warnings
    except TaskError as error:
        return error.mistakes


@given(
    st.sampled_from([path.stem for path in FILES]),
    st.randoms(use_true_random=False),
    plain_json,
)
@settings(max_examples=200, deadline=None)
def test_whatever_is_wrong_is_told_by_a_field_of_the_file(
    name: str, rng: random.Random, junk: Any
) -> None:
    raw = _spoil(raw_of(name), rng, junk)
    for mistake in told(raw) if is_legacy(raw) else ():
        assert not mistake.path.startswith(("spec", "metadata")), mistake
        assert "Input should" not in mistake.message
