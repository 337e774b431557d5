"""Mistakes and warnings in tasks that are well-formed."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from inference_autotuner.optimizer.check import check
from inference_autotuner.optimizer.engine import get_engine
from inference_autotuner.optimizer.errors import Mistake
from inference_autotuner.optimizer.findings import Findings
from inference_autotuner.optimizer.spec import TuningTask

THREADS = {"threads": [1, 2]}
EXAMPLE: dict[str, Any] = {
    "model": {"name": "llama-3-1-8b-instruct", "servedName": "meta-llama/Llama-3.1-8B-Instruct"},
    "engine": {
        "name": "sglang",
        "runtime": "srt-llama-3-1-8b-instruct",
        "args": {"mem-fraction-static": 0.88},
    },
    "deployment": {"mode": "ome", "namespace": "tuning", "gpus": 'params["tp-size"]'},
    "parameters": {
        "tp-size": [1, 2, 4],
        "chunked-prefill-size": [2048, 4096, 8192, -1],
        "schedule-conservativeness": {"min": 0.3, "max": 1.3, "step": 0.1},
        "enable-mixed-chunk": [True, False],
        "speculative-num-steps": {
            "values": [1, 3, 5],
            "when": 'params["speculative-algorithm"] != "none"',
        },
    },
    "constraints": ['params["tp-size"] * params["dp-size"] <= 8'],
    "workload": {"scenarios": ["D(1000,200)", "N(480,240)/(300,150)"]},
    "slos": [{"metric": "ttft", "limit": "500ms"}, {"metric": "tpot", "limit": "30ms"}],
}


def build(engine: str = "llamacpp", **fields: Any) -> TuningTask:
    args = fields.pop("args", {})
    spec = {
        "model": {"name": "m.gguf"},
        "engine": {"name": engine, "args": args, **fields.pop("of_engine", {})},
        "deployment": {"mode": fields.pop("mode", "process"), "gpus": fields.pop("gpus", None)},
        "parameters": THREADS,
        "workload": {"scenarios": ["D(100,50)"], **fields.pop("of_workload", {})},
        **fields,
    }
    return TuningTask.model_validate({"metadata": {"name": "first"}, "spec": spec})


def found(engine: str = "llamacpp", **fields: Any) -> Findings:
    return check(build(engine, **fields))


def mistakes(engine: str = "llamacpp", **fields: Any) -> dict[str, str]:
    return by_path(found(engine, **fields).mistakes)


def warnings(engine: str = "llamacpp", **fields: Any) -> dict[str, str]:
    findings = found(engine, **fields)
    assert findings.mistakes == ()
    return by_path(findings.warnings)


def by_path(said: tuple[Mistake, ...]) -> dict[str, str]:
    assert len({m.path for m in said}) == len(said), said
    return {m.path: m.message for m in said}


def test_the_example_has_no_mistakes() -> None:
    task = TuningTask.model_validate({"metadata": {"name": "chat"}, "spec": EXAMPLE})
    assert check(task).mistakes == ()


def test_a_small_task_has_nothing_to_say() -> None:
    assert found() == Findings((), ())


@pytest.mark.parametrize(
    ("engine", "name", "said"),
    [
        ("llamacpp", "thraeds", "llama.cpp b11549 has no flag 'thraeds'; did you mean 'threads'?"),
        ("sglang", "mem-frac", "did you mean 'mem-fraction-static'?"),
        ("vllm", "tensor_paralel_size", "did you mean 'tensor-parallel-size'?"),
        ("vllm", "zzz", "vLLM 0.32.0 has no flag 'zzz'"),
        ("vllm", "compilation-confg.mode", "has no flag 'compilation-confg.mode'"),
        ("vllm", "swap-space", "leave 'swap-space' out: preempted requests"),
        ("sglang", "cuda-graph-max-bs", "gone from SGLang 0.5.23; write cuda-graph-max-bs-decode"),
        ("sglang", "num-continuous-decode-steps", "reads it nowhere"),
        ("llamacpp", "mmap", "write load-mode: mmap instead"),
        ("vllm", "no-enable-prefix-caching", "write 'enable-prefix-caching: false' instead of"),
        ("llamacpp", "no-repack", "write 'repack: false' instead of"),
        ("sglang", "no-enable-mixed-chunk", "has no flag 'no-enable-mixed-chunk'"),
        ("llamacpp", "m", "'m' is set for you; write spec.model.name instead"),
        ("vllm", "served_model_name", "write spec.model.servedName instead"),
        ("sglang", "port", "leave 'port' out: the tuner chooses it"),
    ],
)  # fmt: skip
def test_a_flag_that_cannot_be_given_is_refused_with_what_to_write(
    engine: str, name: str, said: str
) -> None:
    as_arg = mistakes(engine, parameters={"seed" if engine != "sglang" else "random-seed": [1, 2]},
                      args={name: True})  # fmt: skip
    assert said in as_arg[f"spec.engine.args.{name}"]
    assert said in mistakes(engine, parameters={name: [True]})[f"spec.parameters.{name}"]


def test_another_version_may_have_other_flags() -> None:
    fields = {"parameters": {"max-num-seqs": [0]}, "args": {"zzz": 1, "swap-space": 4}}
    said = warnings("vllm", of_engine={"version": "0.9.1"}, **fields)
    assert said == {
        "spec.engine.args.zzz": "vLLM 0.32.0 has no flag 'zzz'; yours may",
        "spec.parameters.max-num-seqs[0]": "max-num-seqs: 0 is below 1 (in vLLM 0.32.0)",
    }
    assert len(mistakes("vllm", of_engine={"version": "0.32.5"}, **fields)) == 3


def test_a_flag_on_its_way_out_is_a_warning() -> None:
    said = warnings("sglang", parameters={"tp-size": [1, 2]}, args={"enable-dp-attention": True})
    assert "write attn-dp-size instead" in said["spec.engine.args.enable-dp-attention"]


@pytest.mark.parametrize(
    ("engine", "parameters", "path", "said"),
    [
        ("llamacpp", {"threads": [1, 0]}, "threads[1]", "0 is below 1"),
        ("llamacpp", {"parallel": [300]}, "parallel[0]", "300 is above 256"),
        ("llamacpp", {"threads": {"min": 0, "max": 2}}, "threads", "0 is below 1"),
        ("llamacpp", {"batch-size": [1, "big"]}, "batch-size[1]", "'big' is not a whole number"),
        ("llamacpp", {"flash-attn": ["on", "of"]}, "flash-attn[1]", "did you mean 'off'?"),
        ("sglang", {"chunked-prefill-size": [-2]}, "chunked-prefill-size[0]", "-2 is below -1"),
        ("sglang", {"enable-mixed-chunk": ["yes"]}, "enable-mixed-chunk[0]", "true or false"),
        ("sglang", {"schedule-policy": ["lmp"]}, "schedule-policy[0]", "did you mean 'lpm'?"),
        ("vllm", {"gpu-memory-utilization": [0.9, 1.5]}, "gpu-memory-utilization[1]", "above 1"),
        ("vllm", {"max-num-batched-tokens": ["8q"]}, "max-num-batched-tokens[0]", "such as 8k"),
        ("vllm", {"compilation-config": ["{"]}, "compilation-config[0]", "or JSON"),
        ("llamacpp", {"flash-attn": [True, "on"]}, "flash-attn[1]", "same as a value before it"),
        ("vllm", {"max-model-len": ["8k", 8000]}, "max-model-len[1]", "same as a value before"),
    ],
)  # fmt: skip
def test_a_value_that_the_engine_refuses_is_named_with_its_place(
    engine: str, parameters: dict[str, Any], path: str, said: str
) -> None:
    assert said in mistakes(engine, parameters=parameters)[f"spec.parameters.{path}"]


def test_fixed_args_and_the_baseline_are_checked_too() -> None:
    said = mistakes(
        args={"parallel": 0}, search={"baseline": {"params": {"batch-size": 0, "zzz": 1}}}
    )
    assert said["spec.engine.args.parallel"] == "parallel: 0 is below 1"
    assert said["spec.search.baseline.params.batch-size"] == "batch-size: 0 is below 1"
    assert "no flag 'zzz'" in said["spec.search.baseline.params.zzz"]


def test_a_flag_is_given_once() -> None:
    assert mistakes(args={"t": 2}) == {
        "spec.parameters.threads": "'threads' is fixed in engine.args too; remove one"
    }
    assert mistakes(parameters={"t": [1], "threads": [2]}) == {
        "spec.parameters.threads": "'threads' and 't' are one flag"
    }
    said = mistakes(
        "vllm",
        parameters={"seed": [1, 2]},
        args={"compilation-config": {"mode": 3}, "cc.cudagraph_mode": "FULL"},
    )
    assert "given as a whole too" in said["spec.engine.args.cc.cudagraph_mode"]


@pytest.mark.parametrize(
    ("engine", "constraint", "said"),
    [
        ("llamacpp", 'params["thread"] > 1', "did you mean 'threads'?"),
        ("llamacpp", "params.t > 1", 'write params["threads"]'),
        ("llamacpp", 'params["parallel"] > 1', "llama.cpp computes its default"),
        ("llamacpp", 'params["threads"] + 1', "gives 2, not true or false"),
        ("llamacpp", 'params["threads"] * 0.5 < 9.0', "write double(params"),
        ("llamacpp", 'params["threads"] < "x"', "cannot be evaluated"),
        ("llamacpp", '8 % (params["threads"] - 1) == 0', "(with threads = 1)"),
        ("llamacpp", 'params["threads"] > 2', "no combination of the parameters satisfies this"),
    ],
)
def test_a_constraint_that_means_nothing_is_explained(
    engine: str, constraint: str, said: str
) -> None:
    assert said in mistakes(engine, constraints=[constraint])["spec.constraints[0]"]


def test_an_expression_may_read_fixed_args_defaults_and_the_tasks_own_spelling() -> None:
    fields = {"parameters": {"t": [1, 2]}, "args": {"parallel": 4}}
    constraint = 'params.t <= params["parallel"] && params["batch-size"] == 2048'
    assert found(constraints=[constraint], **fields).mistakes == ()


def test_constraints_that_exclude_one_another_are_found() -> None:
    two = ['params["threads"] > 1', 'params["threads"] < 2']
    assert mistakes(constraints=two) == {
        "spec.constraints": "contradictory constraints: no combination of the parameters satisfies "
        f"all of: '{two[0]}'; '{two[1]}'"
    }


def test_a_large_space_is_tried_by_chance() -> None:
    parameters = {
        "threads": list(range(1, 401)),
        "parallel": list(range(1, 257)),
        "batch-size": [1, 2],
    }
    clash = ['params["threads"] + params["parallel"] > 620', 'params["threads"] < 350',
             'params["batch-size"] > 0']  # fmt: skip
    said = warnings(parameters=parameters, constraints=clash)
    assert "tried by chance" in said["spec.constraints"]


def test_parameters_that_no_limit_reads_make_no_search_longer() -> None:
    wide = {name: list(range(1, 900)) for name in ("threads", "threads-batch", "ubatch-size")}
    tight = ['params["parallel"] == 256', 'params["ctx-size"] == 0']
    fields = {"parameters": {**wide, "parallel": list(range(1, 257)), "ctx-size": [0, 4096]}}
    assert found(constraints=tight, **fields).mistakes == ()


def test_a_condition_decides_which_values_a_constraint_sees() -> None:
    parameters = {
        "spec-draft-n-max": {"values": [8], "when": 'params["threads"] > 1'},
        "threads": [1, 2],
    }
    small = ['params["spec-draft-n-max"] < 5']
    assert found(parameters=parameters, constraints=small).mistakes == ()
    assert mistakes(parameters=parameters, constraints=[*small, 'params["threads"] > 1']) != {}


def test_what_the_engine_refuses_in_every_combination_is_a_mistake() -> None:
    said = mistakes("vllm", parameters={"max-num-seqs": [256, 512], "max-num-batched-tokens": [64]})
    assert said == {
        "spec.parameters.max-num-batched-tokens": "no combination of the parameters satisfies "
        "this: max-num-batched-tokens must be at least max-num-seqs"
    }


def test_fixed_args_that_the_engine_refuses_are_a_mistake_of_the_baseline() -> None:
    args = {"enable-hierarchical-cache": True, "disable-radix-cache": True}
    said = mistakes("sglang", parameters={"tp-size": [1, 2]}, args=args)
    assert said == {
        "spec.engine.args": "the baseline cannot run: enable-hierarchical-cache needs the radix "
        "cache; say in search.baseline what does run"
    }
    baseline = {"search": {"baseline": {"params": args}}}
    said = mistakes("sglang", parameters={"tp-size": [1, 2]}, **baseline)
    assert list(said) == ["spec.search.baseline.params"]


def test_a_context_must_hold_the_workload() -> None:
    long = {"of_workload": {"scenarios": ["D(1000,600)"]}}
    assert "1600 tokens" in mistakes(args={"ctx-size": 1024}, **long)["spec.workload.scenarios"]
    some = {"parameters": {"ctx-size": [1024, 2048]}}
    assert found(**some, **long).mistakes == ()
    slots = {"parameters": {"ctx-size": [1024, 2048]}, "args": {"parallel": 2}}
    assert "spec.workload.scenarios" in mistakes(**slots, **long)


@pytest.mark.parametrize(
    ("gpus", "said"),
    [
        ('params["threads"] - 2', "gives -1, not a whole number of GPUs (with threads = 1)"),
        ('double(params["threads"]) / 4.0', "gives 0.5"),
        ('params["threads"] > 1', "gives True"),
        ('"two"', "gives 'two'"),
        ('params["threads"] / 0', "cannot be evaluated"),
        ('params["thread"]', "did you mean 'threads'?"),
    ],
)
def test_gpus_are_a_whole_number(gpus: str, said: str) -> None:
    baseline = {"baseline": {"params": {"threads": 2}}}
    assert said in mistakes(gpus=gpus, search=baseline)["spec.deployment.gpus"]


def test_gpus_must_be_known_for_the_baseline() -> None:
    said = mistakes(gpus='params["threads"]')["spec.deployment.gpus"]
    assert said.endswith("has no value for the baseline, which leaves out threads")
    assert found("sglang", parameters={"tp-size": [1, 2]}, gpus='params["tp-size"]').mistakes == ()


def test_conditions_in_a_circle_are_found() -> None:
    parameters = {
        "threads": {"values": [1, 2], "when": 'params["parallel"] > 1'},
        "parallel": {"values": [1, 2], "when": "params.b > 1"},
        "b": {"values": [1, 2], "when": 'params["threads"] > 1'},
    }
    said = mistakes(parameters=parameters)
    circle = "no condition can be first: threads waits for parallel waits for b waits for threads"
    assert circle in said.values()
    alone = {"threads": {"values": [1], "when": 'params["threads"] > 1'}}
    assert "threads waits for threads" in mistakes(parameters=alone)["spec.parameters.threads.when"]


def test_a_condition_that_is_never_true_is_a_warning() -> None:
    parameters = {
        "spec-method": ["none", "ngram"],
        "spec-tokens": {"values": [1, 3], "when": 'params["spec-method"] == "eagle"'},
    }
    said = warnings("vllm", parameters=parameters)
    assert "never true" in said["spec.parameters.spec-tokens.when"]


@pytest.mark.parametrize(
    ("mode", "of_engine", "path"),
    [
        ("ome", {}, "spec.engine.runtime"),
        ("ome", {"runtime": "r", "image": "i"}, "spec.engine.image"),
        ("kubernetes", {}, "spec.engine.image"),
        ("docker", {"image": "i", "runtime": "r"}, "spec.engine.runtime"),
        ("docker", {"image": "i", "binary": "b"}, "spec.engine.binary"),
        ("process", {"image": "i"}, "spec.engine.image"),
        ("process", {"runtime": "r"}, "spec.engine.runtime"),
    ],
)
def test_each_mode_needs_its_own_field(mode: str, of_engine: dict[str, str], path: str) -> None:
    assert list(mistakes(mode=mode, of_engine=of_engine)) == [path]


@pytest.mark.parametrize(
    ("mode", "of_engine"),
    [
        ("ome", {"runtime": "r"}),
        ("kubernetes", {"image": "i"}),
        ("docker", {"image": "i"}),
        ("process", {}),
        ("process", {"binary": "b"}),
    ],
)
def test_a_mode_with_its_field_is_fine(mode: str, of_engine: dict[str, str]) -> None:
    assert found(mode=mode, of_engine=of_engine) == Findings((), ())


def test_a_name_that_the_engine_cannot_serve_is_refused() -> None:
    model = {"model": {"name": "m", "servedName": "a:b"}}
    said = mistakes("sglang", parameters={"tp-size": [1, 2]}, **model)
    assert "takes no ':'" in said["spec.model.servedName"]
    assert mistakes("vllm", parameters={"seed": [1, 2]}, **model) == {}


def test_goals_that_need_an_slo_say_so() -> None:
    search = {"of_workload": {"concurrency": {"search": {}}}}
    latency = {"slos": [{"metric": "ttft", "limit": "1s"}]}
    rate = {"slos": [{"metric": "goodput", "limit": 3}]}
    assert list(mistakes(**search)) == ["spec.workload.concurrency"]
    assert mistakes(**search, **latency) == {}
    objectives = {"objectives": [{"metric": "output_throughput"}, {"metric": "token_goodput"}]}
    assert list(mistakes(**objectives)) == ["spec.objectives[1].metric"]
    assert mistakes(**objectives, **latency) == {}
    assert list(mistakes(**rate)) == ["spec.slos[0].metric"]


def test_flags_that_change_answers_are_a_warning_when_they_are_searched() -> None:
    said = warnings(parameters={"cache-type-k": ["f16", "q8_0"]})
    assert "may change what the model answers" in said["spec.parameters.cache-type-k"]
    assert warnings(parameters={**THREADS, "cache-type-k": ["f16"]}) == {}
    assert warnings(args={"cache-type-k": "q8_0"}) == {}


def test_tokens_in_groups_distort_an_slo_on_tpot() -> None:
    fields = {"parameters": {"stream-interval": [1, 8]}}
    tpot = {"slos": [{"metric": "tpot", "limit": "30ms"}]}
    assert "distorts tpot" in warnings("vllm", **fields, **tpot)["spec.parameters.stream-interval"]
    assert warnings("vllm", **fields) == {}
    fixed = {"parameters": {"seed": [1, 2]}, "args": {"stream-interval": 4}}
    assert list(warnings("vllm", **fixed, **tpot)) == ["spec.engine.args.stream-interval"]


def test_a_prefix_cache_needs_prompts_that_begin_alike() -> None:
    fields = {"parameters": {"enable-prefix-caching": [True, False]}}
    assert "sharedPrefix" in warnings("vllm", **fields)["spec.parameters.enable-prefix-caching"]
    assert warnings("vllm", of_workload={"sharedPrefix": 20}, **fields) == {}


NAMES = st.sampled_from(
    [*sorted(get_engine("vllm").flags), "tp", "zzz", "max_num_seqs", "no-x", "port", "swap-space"]
)
SCALARS = (
    st.booleans() | st.integers(-(2**53), 2**53) | st.text('aé-8.{', min_size=1, max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(["8k", "auto", "{}"])
)  # fmt: skip
READS = ['params["max-num-seqs"]', "params.tp", 'params["zzz"]', 'params["optimization-level"]']
PIECES = st.sampled_from([*READS, "1", "0.5", '"a"'])
EXPRESSIONS = st.builds(
    lambda a, o, b: f"{a} {o} {b}",
    st.sampled_from(READS),
    st.sampled_from(["<", "==", "+", "%", "&&"]),
    PIECES,
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    parameters=st.dictionaries(
        NAMES, st.lists(SCALARS, min_size=1, max_size=3, unique_by=repr), min_size=1, max_size=5
    ),
    args=st.dictionaries(NAMES, SCALARS | st.lists(SCALARS, max_size=3), max_size=3),
    baseline=st.dictionaries(NAMES, SCALARS, max_size=3),
    when=EXPRESSIONS,
    constraints=st.lists(EXPRESSIONS, max_size=2),
    gpus=EXPRESSIONS,
)
def test_nothing_in_a_well_formed_task_raises(
    parameters: dict[str, list[Any]],
    args: dict[str, Any],
    baseline: dict[str, Any],
    when: str,
    constraints: list[str],
    gpus: str,
) -> None:
    first = next(iter(parameters))
    searched = {**parameters, first: {"values": parameters[first], "when": when}}
    try:
        task = build(
            "vllm",
            parameters=searched,
            args=args,
            search={"baseline": {"params": baseline}},
            constraints=constraints,
            gpus=gpus,
        )
    except ValidationError:
        return
    for mistake in (*check(task).mistakes, *check(task).warnings):
        assert mistake.message
        assert re.match(r"spec\.\w+", mistake.path)
