import pytest

from inference_autotuner.optimizer.engine import Engine, Launch, identity
from inference_autotuner.optimizer.engines.sglang import ENGINE
from inference_autotuner.optimizer.errors import Blame, Reason
from inference_autotuner.optimizer.expressions import holds
from tests.optimizer.engines.contract import EngineContract

BEGIN = """\
[2026-11-02 10:00:01] server_args=ServerArgs(model_path='/models/llama', tp_size=2)
[2026-11-02 10:00:09 TP0] Load weight begin. avail mem=78.50 GB
"""
LOADED = BEGIN + "[2026-11-02 10:00:40 TP0] Load weight end. elapsed=30.9 s, avail mem=62.1 GB\n"
READY = LOADED + "[2026-11-02 10:01:30] The server is fired up and ready to roll!\n"
SIGQUIT = "[2026-11-02 10:00:41] Received sigquit from a child process. It usually means the child \
failed.\n"
OUT_OF_MEMORY = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a \
total capacity of 79.11 GiB of which 1.21 GiB is free.\n"
)


def traceback(*lines: str) -> str:
    return (
        "[2026-11-02 10:00:40 TP0] Scheduler hit an exception: "
        "Traceback (most recent call last):\n" + "\n".join(lines) + "\n" + SIGQUIT
    )


def refused(*lines: str) -> str:
    place = '  File "/opt/sglang/srt/arg_groups/validation_hook.py", line 201, in check_server_args'
    return "Traceback (most recent call last):\n" + "\n".join((place, *lines)) + "\n"


class TestSglang(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return ENGINE


SIGNATURES = [
    (
        "usage: launch_server.py [-h]\nlaunch_server.py: error: unrecognized arguments: "
        "--enable-ep-moe\n",
        2,
        Blame.PARAMS,
        Reason.INVALID_ARGUMENTS,
        "the engine refuses a flag: launch_server.py: error: unrecognized arguments: "
        "--enable-ep-moe",
    ),
    (
        "launch_server.py: error: argument --dtype: invalid choice: 'int3' (choose from 'auto')\n",
        2,
        Blame.PARAMS,
        Reason.INVALID_ARGUMENTS,
        "'int3'",
    ),
    (
        "launch_server.py: error: ambiguous option: --cuda-graph-bs could match "
        "--cuda-graph-bs-decode, --cuda-graph-bs-prefill\n",
        2,
        Blame.PARAMS,
        Reason.INVALID_ARGUMENTS,
        "ambiguous option: --cuda-graph-bs",
    ),
    ("nothing telling\n", 2, Blame.PARAMS, Reason.INVALID_ARGUMENTS, "nothing telling"),
    (
        refused(
            "    assert cfg.chunked_prefill_size % cfg.page_size == 0, (",
            "           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^",
            "AssertionError: chunked_prefill_size must be divisible by page_size",
        ),
        1,
        Blame.PARAMS,
        Reason.INVALID_ARGUMENTS,
        "chunked_prefill_size must be divisible by page_size",
    ),
    (
        refused("    assert cfg.tp_size % view.attn_cp_size == 0", "AssertionError"),
        1,
        Blame.PARAMS,
        Reason.INVALID_ARGUMENTS,
        "assert cfg.tp_size % view.attn_cp_size == 0",
    ),
    (
        traceback(
            '  File "/opt/sglang/srt/models/llama.py", line 140, in __init__',
            "    assert self.total_num_heads % tp_size == 0",
            "           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^",
            "AssertionError",
        ),
        -9,
        Blame.PARAMS,
        Reason.CRASHED,
        "assert self.total_num_heads % tp_size == 0",
    ),
    (
        BEGIN + traceback(OUT_OF_MEMORY),
        137,
        Blame.PARAMS,
        Reason.OUT_OF_MEMORY,
        "while loading the weights: torch.OutOfMemoryError",
    ),
    (
        LOADED
        + traceback(
            "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static. "
            "Current value: mem_fraction_static=0.3"
        ),
        0,
        Blame.PARAMS,
        Reason.OUT_OF_MEMORY,
        "mem_fraction_static=0.3",
    ),
    (
        LOADED
        + traceback(
            "Exception: Capture cuda graph failed: CUDA out of memory. Tried to allocate 1 GiB",
            "Possible solutions:",
            "1. set --mem-fraction-static to a smaller value (e.g., 0.8 or 0.7)",
        ),
        137,
        Blame.PARAMS,
        Reason.OUT_OF_MEMORY,
        "lower mem-fraction-static or the graph batch: Exception: Capture cuda graph failed",
    ),
    (READY + traceback(OUT_OF_MEMORY), 0, Blame.PARAMS, Reason.OUT_OF_MEMORY, "out of GPU memory:"),
    (
        traceback("RuntimeError: CUDA error: invalid device ordinal"),
        -9,
        Blame.PARAMS,
        Reason.UNSUPPORTED,
        "invalid device ordinal",
    ),
    (
        refused("ValueError: --kv-cache-dtype mxfp8 requires an SM100+ (Blackwell) GPU for the"),
        1,
        Blame.PARAMS,
        Reason.UNSUPPORTED,
        "SM100+",
    ),
    (
        "OSError: /models/none is not a local folder and is not a valid model identifier listed\n",
        1,
        Blame.TASK,
        Reason.MODEL_NOT_FOUND,
        "/models/none",
    ),
    (
        "OSError: Can't load tokenizer for '/models/llama'. If you were trying to load it\n",
        1,
        Blame.TASK,
        Reason.MODEL_NOT_FOUND,
        "Can't load tokenizer",
    ),
    (
        READY.replace("The server is fired up and ready to roll!", "")
        + "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 30000): "
        "address already in use\n",
        1,
        Blame.WORLD,
        Reason.PORT_IN_USE,
        "30000",
    ),
    (
        "ValueError: nccl_port at 31000 is not available\n",
        1,
        Blame.WORLD,
        Reason.PORT_IN_USE,
        "31000",
    ),
    (
        traceback("torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:3690"),
        -9,
        Blame.WORLD,
        Reason.NETWORK_FAULT,
        "NCCL error",
    ),
    (
        "[rank1]:[E1102] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=31)\n",
        -6,
        Blame.WORLD,
        Reason.NETWORK_FAULT,
        "WorkNCCL",
    ),
    (
        BEGIN
        + "RuntimeError: Rank 0 scheduler died during initialization (exit code: -9). If exit "
        "code is -9 (SIGKILL), a common cause is the OS OOM killer.\n",
        -9,
        Blame.WORLD,
        Reason.HOST_OUT_OF_MEMORY,
        "Rank 0 scheduler died",
    ),
    (
        traceback("RuntimeError: The memory capacity is unbalanced. Some GPUs may be occupied"),
        -9,
        Blame.WORLD,
        Reason.DEVICE_BUSY,
        "unbalanced",
    ),
    (
        READY + "[2026-11-02 10:09:30] Scheduler watchdog timeout (self.watchdog_timeout=300, "
        "self.soft=False)\n" + SIGQUIT,
        0,
        Blame.WORLD,
        Reason.CRASHED_UNDER_LOAD,
        "watchdog timeout",
    ),
    (LOADED + SIGQUIT, -9, Blame.PARAMS, Reason.CRASHED, "Received sigquit"),
    (READY + traceback("KeyError: 'x'"), 0, Blame.PARAMS, Reason.CRASHED_UNDER_LOAD, "KeyError"),
    (READY, 0, Blame.PARAMS, Reason.CRASHED_UNDER_LOAD, "exit code 0"),
    (
        "OSError: [Errno 28] No space left on device: '/root/.cache/sglang'\n",
        1,
        Blame.WORLD,
        Reason.DISK_FULL,
        "/root/.cache/sglang",
    ),
    (
        "/usr/bin/python3: Error while finding module specification for 'sglang.launch_server' "
        "(ModuleNotFoundError: No module named 'sglang')\n",
        1,
        Blame.TASK,
        Reason.ENGINE_NOT_FOUND,
        "sglang",
    ),
    (
        "RuntimeError: No CUDA GPUs are available\n",
        1,
        Blame.TASK,
        Reason.UNSUPPORTED,
        "No CUDA GPUs",
    ),
]


@pytest.mark.parametrize(("log", "exit_code", "blame", "reason", "said"), SIGNATURES)
def test_a_log_tells_who_is_to_blame(
    log: str, exit_code: int | None, blame: Blame, reason: Reason, said: str
) -> None:
    failure = ENGINE.classify(log, exit_code)
    assert (failure.blame, failure.reason) == (blame, reason), failure
    assert said in failure.message


def test_over_admission_is_no_failure() -> None:
    log = (
        READY + "[2026-11-02 10:02:00 TP0] KV cache pool is full. Retract requests. #retracted: 3\n"
    )
    assert ENGINE.classify(log, None).reason is Reason.NEVER_READY


def test_an_unbalanced_memory_is_a_warning_when_sglang_only_warns() -> None:
    log = BEGIN + "[2026-11-02 10:00:10] The memory capacity is unbalanced. Some GPUs may be\n"
    assert ENGINE.classify(log, None).reason is Reason.NEVER_READY


def test_the_exit_code_of_a_dead_child_does_not_matter() -> None:
    log = LOADED + traceback("RuntimeError: something odd")
    failures = {ENGINE.classify(log, code) for code in (0, 1, 137, -9)}
    assert len(failures) == 1


def test_the_command_line_is_exact() -> None:
    args = {
        "tp": 2,
        "chunked-prefill-size": -1,
        "enable-mixed-chunk": True,
        "disable-radix-cache": False,
        "speculative-algorithm": "none",
        "quantization": "fp8",
        "cuda-graph-bs-decode": [1, 2, 4],
        "enable-tf32-matmul": False,
        "json-model-override-args": {"b": 1, "a": [2]},
    }
    line = ENGINE.command_line(Launch("/models/llama", "llama", "0.0.0.0", 30000, args))
    assert line == (
        *("--model-path", "/models/llama", "--served-model-name", "llama"),
        *("--host", "0.0.0.0", "--port", "30000"),
        *("--chunked-prefill-size", "-1", "--cuda-graph-bs-decode", "1", "2", "4"),
        *("--enable-mixed-chunk", "--no-enable-tf32-matmul"),
        *("--json-model-override-args", '{"a":[2],"b":1}'),
        *("--quantization", "fp8", "--tp-size", "2"),
    )


def test_replicas_multiply_the_gpus_and_attention_parallelism_does_not() -> None:
    assert ENGINE.gpus({"tp-size": 2, "pp-size": 2, "dp-size": 2}) == 8
    assert ENGINE.gpus({"tensor-parallel-size": 8, "attn-dp-size": 4, "ep": 8}) == 8
    assert ENGINE.gpus({"tp-size": 8, "dp-size": 8, "enable-dp-attention": True}) == 8


@pytest.mark.parametrize(
    ("args", "same"),
    [
        ({"speculative-num-steps": 3, "speculative-eagle-topk": 1}, {}),
        ({"schedule-conservativeness": 1, "tp": 1}, {}),
        ({"enable-mixed-chunk": True, "speculative-algorithm": "NGRAM"},
         {"speculative-algorithm": "NGRAM"}),
        ({"hicache-ratio": 3.0}, {}),
        ({"disable-custom-all-reduce": True}, {"tp-size": 1}),
        ({"disable-overlap-schedule": True, "pp-size": 2}, {"pp-size": 2}),
        ({"torch-compile-max-bs": 8}, {}),
        ({"cuda-graph-backend-decode": "disabled", "cuda-graph-max-bs-decode": 64},
         {"cuda-graph-backend-decode": "disabled"}),
        ({"cuda-graph-bs-decode": [1, 8], "cuda-graph-max-bs-decode": 64},
         {"cuda-graph-bs-decode": [1, 8]}),
        ({"max-total-tokens": "8k"}, {"max-total-tokens": 8000}),
    ],
)  # fmt: skip
def test_what_has_no_effect_makes_no_other_trial(
    args: dict[str, object], same: dict[str, object]
) -> None:
    assert identity(ENGINE, args) == identity(ENGINE, same)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"speculative-algorithm": "EAGLE3", "speculative-num-steps": 3},
         {"speculative-algorithm": "EAGLE3", "speculative-num-steps": 5}),
        ({"enable-mixed-chunk": True, "speculative-algorithm": "EAGLE"},
         {"speculative-algorithm": "EAGLE"}),
        ({"disable-custom-all-reduce": True, "tp-size": 2}, {"tp-size": 2}),
        ({"page-size": 1}, {}),
    ],
)  # fmt: skip
def test_what_has_an_effect_makes_another_trial(
    one: dict[str, object], other: dict[str, object]
) -> None:
    assert identity(ENGINE, one) != identity(ENGINE, other)


@pytest.mark.parametrize(
    "args",
    [
        {"dp-size": 2, "attn-dp-size": 2, "tp-size": 2},
        {"dp-size": 2, "nnodes": 2, "tp-size": 2},
        {"tp-size": 2, "attn-dp-size": 4},
        {"tp-size": 3, "nnodes": 2},
        {"tp-size": 8, "ep-size": 2, "moe-dp-size": 2},
        {"tp-size": 4, "dcp-size": 3},
        {"tp-size": 2, "dcp-size": 2, "enable-prefill-cp": True, "cp-strategy": "zigzag"},
        {"enable-prefill-cp": True},
        {"chunked-prefill-size": 100, "page-size": 16},
        {"chunked-prefill-size": 1024, "page-size": 64, "tp-size": 32, "attn-dp-size": 32},
        {"pp-size": 2, "speculative-algorithm": "EAGLE"},
        {"pp-size": 2, "min-free-slots-delay": 4},
        {"enable-torch-compile": True, "disable-cuda-graph-padding": True},
        {"enable-hicache": True, "disable-radix-cache": True},
        {"enable-priority-scheduling": True, "schedule-policy": "lpm"},
        {"retraction-policy": "priority"},
        {"speculative-algorithm": "EAGLE", "speculative-eagle-topk": 4},
        {"speculative-algorithm": "EAGLE", "attention-backend": "trtllm_mha",
         "speculative-num-steps": 3, "speculative-eagle-topk": 4},
        {"speculative-algorithm": "NGRAM", "attention-backend": "flex_attention"},
    ],
)  # fmt: skip
def test_a_rule_refuses_what_sglang_refuses(args: dict[str, object]) -> None:
    context = ENGINE.with_defaults(args)
    assert [rule.why for rule in ENGINE.rules if not holds(rule.expression, context)] != []


@pytest.mark.parametrize(
    "args",
    [
        {"tp-size": 8, "attn-dp-size": 4, "ep-size": 8},
        {"chunked-prefill-size": -1, "page-size": 64},
        {"chunked-prefill-size": 4096, "page-size": 16, "tp-size": 2, "attn-dp-size": 2},
        {"speculative-algorithm": "NGRAM", "speculative-num-draft-tokens": 8},
        {"speculative-algorithm": "EAGLE", "enable-mixed-chunk": True},
        {"enable-priority-scheduling": True, "schedule-policy": "lof"},
    ],
)
def test_rules_let_pass_what_sglang_takes(args: dict[str, object]) -> None:
    context = ENGINE.with_defaults(args)
    assert [rule.why for rule in ENGINE.rules if not holds(rule.expression, context)] == []


def test_the_running_server_tells_the_resolved_values() -> None:
    answer = {
        "mem_fraction_static": 0.83,
        "max_total_num_tokens": 412000,
        "attention_backend": "fa3",
        "launch_command": "python -m " + "x" * 5000,
        "internal_states": [{"effective_max_running_requests_per_dp": 4096}],
        "version": "0.5.23",
    }
    assert ENGINE.read_config(answer) == {
        "version": "0.5.23",
        "max-total-num-tokens": 412000,
        "mem-fraction-static": 0.83,
        "attention-backend": "fa3",
        "max-running-requests": 4096,
    }
