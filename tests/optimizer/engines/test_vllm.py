import pytest

from inference_autotuner.optimizer.engine import Engine, Launch, identity
from inference_autotuner.optimizer.engines.vllm import ENGINE
from inference_autotuner.optimizer.errors import Blame, Reason
from inference_autotuner.optimizer.expressions import holds
from tests.optimizer.engines.contract import EngineContract

STARTED = """\
(APIServer pid=11) INFO 11-02 10:00:00 [api_utils.py:286] non-default args: {'max_num_seqs': 32}
(EngineCore pid=17) INFO 11-02 10:00:09 [core.py:134] Initializing a V1 LLM engine (v0.32.0) with \
config: model='/models/qwen'
(EngineCore pid=17) INFO 11-02 10:00:10 [gpu_model_runner.py:4500] Starting to load model qwen...
"""
LOADED = (
    STARTED
    + "(EngineCore pid=17) INFO 11-02 10:00:20 [model_runner.py:46] Model loading took 15 GiB\n"
)
READY = (
    LOADED + "(APIServer pid=11) INFO 11-02 10:01:00 [entry.py:140] Starting vLLM server on :80\n"
)
ECHO = """\
(APIServer pid=11) Traceback (most recent call last):
(APIServer pid=11)   File "/opt/vllm/v1/engine/utils.py", line 1432, in wait_for_engine_startup
(APIServer pid=11) RuntimeError: Engine core initialization failed. See root cause above.
"""
FREE = (
    "ValueError: Free memory on device cuda:0 ({free}/79.11 GiB) on startup is less than desired \
GPU memory utilization ({share}, 72.78 GiB). Decrease GPU memory utilization or reduce GPU memory \
used by other processes."
)


def core(line: str) -> str:
    prefix = "(EngineCore pid=17) ERROR 11-02 10:00:30 [core.py:2663] "
    return f"{prefix}Traceback (most recent call last):\n{prefix}{line}\n{ECHO}"


def refused(text: str) -> str:
    return (
        "(APIServer pid=11) pydantic_core._pydantic_core.ValidationError: 1 validation error for "
        f"VllmConfig\n(APIServer pid=11)   Value error, {text} [type=value_error, "
        "input_value=ArgsKwargs((), {'model_config': ...}), input_type=ArgsKwargs]\n"
    )


class TestVllm(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return ENGINE


SIGNATURES = [
    (
        "vllm serve: error: unrecognized arguments: --swap-space 4\n",
        2,
        Blame.PARAMS,
        Reason.INVALID_ARGUMENTS,
        "the engine refuses a flag: vllm serve: error: unrecognized arguments: --swap-space 4",
    ),
    (
        "vllm serve: error: argument --kv-cache-dtype: invalid choice: 'int2' (choose from auto)\n",
        2,
        Blame.PARAMS,
        Reason.INVALID_ARGUMENTS,
        "'int2'",
    ),
    (
        refused("max_num_batched_tokens (64) must be greater than or equal to max_num_seqs (128)."),
        1,
        Blame.PARAMS,
        Reason.INVALID_ARGUMENTS,
        "combination: max_num_batched_tokens (64) must be greater than or equal to max_num_seqs "
        "(128).",
    ),
    (
        refused(
            "Total number of attention heads (4) must be divisible by tensor parallel size (3)."
        ),
        1,
        Blame.PARAMS,
        Reason.INVALID_ARGUMENTS,
        "tensor parallel size (3).",
    ),
    (
        refused("World size (8) is larger than the number of available GPUs (4) in this node."),
        1,
        Blame.PARAMS,
        Reason.UNSUPPORTED,
        "World size (8)",
    ),
    (
        "ValueError: --spec-method and --speculative-config['method'] are mutually exclusive\n",
        1,
        Blame.PARAMS,
        Reason.INVALID_ARGUMENTS,
        "mutually exclusive",
    ),
    (
        STARTED + core("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
        1,
        Blame.PARAMS,
        Reason.OUT_OF_MEMORY,
        "while loading the weights",
    ),
    (
        LOADED + core("ValueError: No available memory for the cache blocks. Try increasing"),
        1,
        Blame.PARAMS,
        Reason.OUT_OF_MEMORY,
        "No available memory for the cache blocks",
    ),
    (
        LOADED
        + core(
            "ValueError: To serve at least one request with the model's max seq len (131072), "
            "(16.00 GiB KV cache is needed, which is larger than the available KV cache memory "
            "(9.12 GiB). Based on the available memory, the estimated maximum model length is "
            "74688. Try increasing `gpu_memory_utilization` (which also controls)"
        ),
        1,
        Blame.PARAMS,
        Reason.OUT_OF_MEMORY,
        "the estimated maximum model length is 74688",
    ),
    (
        LOADED
        + core(
            "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy "
            "requests. Please try lowering `max_num_seqs`"
        ),
        1,
        Blame.PARAMS,
        Reason.OUT_OF_MEMORY,
        "in the warm-up: lower max-num-seqs: RuntimeError: CUDA out of memory occurred",
    ),
    (
        STARTED + core(FREE.format(free="20.51", share="0.92")),
        1,
        Blame.WORLD,
        Reason.DEVICE_BUSY,
        "Free memory on device cuda:0 (20.51/79.11 GiB)",
    ),
    (
        STARTED + core(FREE.format(free="78.32", share="0.995")),
        1,
        Blame.PARAMS,
        Reason.OUT_OF_MEMORY,
        "(78.32/79.11 GiB)",
    ),
    (
        STARTED
        + core(
            "ValueError: Selected backend AttentionBackendEnum.FLASHMLA is not valid for this "
            "configuration. Reason: ['head_size not supported']"
        ),
        1,
        Blame.PARAMS,
        Reason.UNSUPPORTED,
        "FLASHMLA",
    ),
    (
        "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or "
        "'namespace/repo_name': '/models/none'.\n",
        1,
        Blame.TASK,
        Reason.MODEL_NOT_FOUND,
        "/models/none",
    ),
    (
        "ValueError: Invalid repository ID or local directory specified: '/models/none'.\n",
        1,
        Blame.TASK,
        Reason.MODEL_NOT_FOUND,
        "/models/none",
    ),
    (
        "OSError: We couldn't connect to 'https://hub' to load the files\n",
        1,
        Blame.WORLD,
        Reason.NETWORK_FAULT,
        "couldn't connect",
    ),
    (
        "OSError: [Errno 98] Address already in use\n",
        1,
        Blame.WORLD,
        Reason.PORT_IN_USE,
        "Errno 98",
    ),
    (
        core("torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:268"),
        1,
        Blame.WORLD,
        Reason.NETWORK_FAULT,
        "NCCL error",
    ),
    (
        STARTED + core("RuntimeError: Expected all tensors on one device") + "KeyError: 2",
        1,
        Blame.PARAMS,
        Reason.CRASHED,
        "Expected all tensors",
    ),
    (STARTED + ECHO, 1, Blame.PARAMS, Reason.CRASHED, "Engine core initialization failed"),
    (
        READY
        + "(EngineCore pid=17) ERROR 11-02 10:09:00 [core.py:1512] EngineCore encountered a fatal "
        "error.\n",
        0,
        Blame.PARAMS,
        Reason.CRASHED_UNDER_LOAD,
        "the engine process died: EngineCore encountered a fatal error",
    ),
    (
        READY + core("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
        0,
        Blame.PARAMS,
        Reason.OUT_OF_MEMORY,
        "out of GPU memory: torch.OutOfMemoryError",
    ),
    (
        STARTED + core("RuntimeError: [enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: "
        "can't allocate memory: you tried to allocate 17179869184 bytes."),
        1,
        Blame.PARAMS,
        Reason.OUT_OF_MEMORY,
        "17179869184 bytes",
    ),
    (
        "RuntimeError: Failed to infer device type, please set the environment variable\n",
        1,
        Blame.TASK,
        Reason.UNSUPPORTED,
        "Failed to infer device type",
    ),
    ("sh: vllm: not found\n", 127, Blame.TASK, Reason.ENGINE_NOT_FOUND, "vllm: not found"),
]  # fmt: skip


@pytest.mark.parametrize(("log", "exit_code", "blame", "reason", "said"), SIGNATURES)
def test_a_log_tells_who_is_to_blame(
    log: str, exit_code: int | None, blame: Blame, reason: Reason, said: str
) -> None:
    failure = ENGINE.classify(log, exit_code)
    assert (failure.blame, failure.reason) == (blame, reason), failure
    assert said in failure.message


def test_an_inner_port_that_is_tried_again_is_no_failure() -> None:
    log = (
        STARTED
        + "WARNING 11-02 10:00:11 [p.py:1] Address already in use. Retrying with a new port.\n"
    )
    assert ENGINE.classify(log, None).reason is Reason.NEVER_READY


def test_a_false_flag_is_negated() -> None:
    assert ENGINE.render({"enable_prefix_caching": False}) == ("--no-enable-prefix-caching",)
    assert ENGINE.render({"enable-log-requests": False}) == ("--no-enable-log-requests",)
    assert ENGINE.render({"disable-log-stats": False}) == ()


def test_the_command_line_is_exact() -> None:
    args = {
        "tp": 2,
        "max-model-len": "8k",
        "compilation-config": {"mode": 3, "cudagraph_mode": "FULL"},
        "cudagraph-capture-sizes": [1, 2, 4],
        "speculative-config.num_speculative_tokens": 3,
        "quantization": "none",
        "spec-method": "none",
    }
    line = ENGINE.command_line(Launch("org/qwen", "qwen", "127.0.0.1", 8000, args))
    assert line == (
        *("org/qwen", "--served-model-name", "qwen", "--host", "127.0.0.1", "--port", "8000"),
        *("--compilation-config", '{"cudagraph_mode":"FULL","mode":3}'),
        *("--cudagraph-capture-sizes", "1", "2", "4", "--max-model-len", "8k"),
        *("--speculative-config.num_speculative_tokens", "3", "--tensor-parallel-size", "2"),
    )


def test_the_served_name_is_the_model_unless_it_is_given() -> None:
    assert ENGINE.served_name(Launch("org/qwen", None, "127.0.0.1", 8000, {})) == "org/qwen"


def test_parallelism_multiplies_the_gpus() -> None:
    assert ENGINE.gpus({"tp": 2, "pipeline-parallel-size": 2, "dp": 2}) == 8
    assert ENGINE.gpus({"tp": 8, "enable-expert-parallel": True, "dcp": 4}) == 8


@pytest.mark.parametrize(
    ("args", "same"),
    [
        ({"enforce-eager": True, "cudagraph-capture-sizes": [1, 2]}, {"enforce-eager": True}),
        ({"O": 0, "max-cudagraph-capture-size": 64}, {"optimization-level": 0}),
        ({"kv-cache-memory-bytes": "20G", "gpu-memory-utilization": 0.8},
         {"kv-cache-memory-bytes": 20 * 2**30}),
        ({"enable-prefix-caching": False, "prefix-caching-hash-algo": "xxhash"},
         {"enable-prefix-caching": False}),
        ({"max-num-batched-tokens": "8k"}, {"max-num-batched-tokens": 8000}),
        ({"max-model-len": "auto"}, {"max_model_len": -1}),
        ({"speculative-config": '{"method": "ngram"}'},
         {"speculative-config": {"method": "ngram"}}),
        ({"gpu-memory-utilization": 0.92, "enforce-eager": False}, {}),
    ],
)  # fmt: skip
def test_what_has_no_effect_makes_no_other_trial(
    args: dict[str, object], same: dict[str, object]
) -> None:
    assert identity(ENGINE, args) == identity(ENGINE, same)


def test_a_negation_is_another_trial_than_the_computed_default() -> None:
    off = identity(ENGINE, {"enable-prefix-caching": False})
    assert len({off, identity(ENGINE, {"enable-prefix-caching": True}), identity(ENGINE, {})}) == 3


@pytest.mark.parametrize(
    "args",
    [
        {"max-num-seqs": 256, "max-num-batched-tokens": 128},
        {"enable-chunked-prefill": False, "max-num-batched-tokens": 2048, "max-model-len": "4k"},
        {"max-num-active-seqs": 64, "max-num-seqs": 32},
        {"long-prefill-token-threshold": 4096, "max-model-len": 2048},
        {"tensor-parallel-size": 4, "decode-context-parallel-size": 3},
        {"enable-eplb": True},
        {"async-scheduling": True, "spec-method": "ngram"},
        {"spec-method": "ngram", "speculative-config": {"method": "suffix"}},
    ],
)
def test_a_rule_refuses_what_vllm_refuses(args: dict[str, object]) -> None:
    context = ENGINE.with_defaults(args)
    assert [rule.why for rule in ENGINE.rules if not holds(rule.expression, context)] != []


@pytest.mark.parametrize(
    "args",
    [
        {"max-num-seqs": 256, "max-num-batched-tokens": "8K"},
        {"max-num-seqs": 256},
        {"enable-chunked-prefill": True, "max-num-batched-tokens": 64, "max-model-len": 4096},
        {"enable-chunked-prefill": False, "max-num-batched-tokens": 64, "max-model-len": "auto"},
        {"async-scheduling": False, "spec-method": "ngram"},
        {"async-scheduling": True, "spec-method": "eagle3"},
        {"spec-method": "ngram", "speculative-config": {"prompt_lookup_max": 4}},
    ],
)
def test_rules_let_pass_what_vllm_takes(args: dict[str, object]) -> None:
    context = ENGINE.with_defaults(args)
    assert [rule.why for rule in ENGINE.rules if not holds(rule.expression, context)] == []


def test_a_model_length_must_hold_the_longest_request() -> None:
    def fits(length: object) -> bool:
        return holds(
            ENGINE.room.format(tokens=3000), ENGINE.with_defaults({"max-model-len": length})
        )

    assert [fits(length) for length in ("2k", 3000, "auto", "4k")] == [False, True, True, True]


def test_the_running_server_and_its_log_tell_the_configuration() -> None:
    answer = {
        "vllm_config": {
            "scheduler_config": {"max_num_seqs": 256, "max_num_batched_tokens": 8192},
            "cache_config": {"cache_dtype": "auto", "num_gpu_blocks": 2712},
            "compilation_config": {"cudagraph_capture_sizes": list(range(500))},
        },
        "system_env": {"vllm_version": "0.32.0", "env_vars": "x" * 9000},
    }
    assert ENGINE.read_config(answer) == {
        "version": "0.32.0",
        "max-num-seqs": 256,
        "max-num-batched-tokens": 8192,
        "cache-dtype": "auto",
        "num-gpu-blocks": 2712,
    }
    log = LOADED + (
        "INFO 11-02 10:00:40 [kv_cache_utils.py:2329] GPU KV cache size: 43,392 tokens, Maximum "
        "concurrency for 4,096 tokens per request: 10.59x\n"
    )
    assert ENGINE.read_log(log) == {
        "version": "0.32.0",
        "kv-cache-tokens": "43,392",
        "max-concurrency": "10.59",
        "non-default-args": "{'max_num_seqs': 32}",
    }


def test_only_measured_servers_have_developer_endpoints() -> None:
    assert "VLLM_SERVER_DEV_MODE" in ENGINE.trial_environment
    assert "VLLM_SERVER_DEV_MODE" not in ENGINE.environment
