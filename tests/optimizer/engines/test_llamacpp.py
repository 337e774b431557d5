import pytest

from inference_autotuner.optimizer.engine import Engine, Launch, identity
from inference_autotuner.optimizer.engines.llamacpp import ENGINE
from inference_autotuner.optimizer.errors import Blame, Reason
from inference_autotuner.optimizer.expressions import holds
from tests.optimizer.engines.contract import EngineContract

REFUSED = """\
0.00.004.888 I srv    load_model: loading model 'models/small.gguf'
{cause}
0.00.189.654 E common_fit_params: encountered an error while trying to fit params to free device \
memory: failed to create llama_context from model
{cause}
0.00.336.976 E cmn  common_init_: failed to create context with model 'models/small.gguf'
0.00.336.979 E srv    load_model: failed to create_context with model 'models/small.gguf'
0.00.337.577 E srv          init: exiting due to model loading error
error: Failed to init server, please check the input params.
"""
NO_FILE = """\
0.00.003.751 I srv    load_model: loading model '/models/none.gguf'
0.00.003.810 E gguf_init_from_file: failed to open GGUF file '/models/none.gguf' (No such file)
0.00.003.921 E llama_model_load: error loading model: llama_model_loader: failed to load model
0.00.003.980 E common_fit_params: encountered an error while trying to fit params to free device \
memory: failed to load model
error: Failed to init server, please check the input params.
"""
ASSERTED = """\
0.00.003.816 I srv    load_model: loading model 'models/small.gguf'
/src/llama-context.cpp:2289: GGML_ASSERT(n_outputs_max <= cparams.n_outputs_max) failed
[New LWP 13322]
"""
TOO_LARGE = """\
0.10.501.875 W common_fit_params: failed to fit params to free device memory: was unable to fit
0.14.027.109 E ggml_aligned_malloc: insufficient memory (attempted to allocate 2197265.62 MB)
0.14.331.336 E llama_init_from_model: failed to initialize the context: failed to allocate buffer \
for kv cache
0.14.331.355 E cmn  common_init_: failed to create context with model 'models/small.gguf'
"""
READY = "0.00.391.745 I srv          init: listening on http://127.0.0.1:18341\n"


class TestLlamacpp(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return ENGINE


SIGNATURES = [
    ("error: invalid argument: --nope\n", 1, Blame.PARAMS, Reason.INVALID_ARGUMENTS, "--nope"),
    (
        'error while handling argument "--parallel": error: invalid value for n_parallel\n',
        1,
        Blame.PARAMS,
        Reason.INVALID_ARGUMENTS,
        "n_parallel",
    ),
    (
        REFUSED.format(
            cause="0.00.164.466 E llama_init_from_model: failed to initialize the context: "
            "n_seq_max must be <= 256"
        ),
        1,
        Blame.PARAMS,
        Reason.INVALID_ARGUMENTS,
        "n_seq_max must be <= 256",
    ),
    (
        REFUSED.format(
            cause="0.00.173.650 E llama_init_from_model: quantized V cache requires flash_attn "
            "to be enabled"
        ),
        1,
        Blame.PARAMS,
        Reason.INVALID_ARGUMENTS,
        "quantized V cache requires flash_attn",
    ),
    (
        REFUSED.format(
            cause="0.00.173.650 E llama_init_from_model: K cache type q4_K with block size 256 "
            "does not divide n_embd_head_k=64"
        ),
        1,
        Blame.PARAMS,
        Reason.INVALID_ARGUMENTS,
        "block size 256",
    ),
    (
        REFUSED.format(cause="0.00.1.1 I something else"),
        1,
        Blame.PARAMS,
        Reason.INVALID_ARGUMENTS,
        "failed to create context with model 'models/small.gguf'",
    ),
    (TOO_LARGE, 1, Blame.PARAMS, Reason.OUT_OF_MEMORY, "attempted to allocate 2197265.62 MB"),
    (
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9000.00 MiB on device 0: "
        "cudaMalloc failed: out of memory\n",
        1,
        Blame.PARAMS,
        Reason.OUT_OF_MEMORY,
        "allocating 9000.00 MiB",
    ),
    (ASSERTED, -6, Blame.PARAMS, Reason.CRASHED, "n_outputs_max <= cparams.n_outputs_max"),
    (ASSERTED, 134, Blame.PARAMS, Reason.CRASHED, "GGML_ASSERT"),
    (NO_FILE, 1, Blame.TASK, Reason.MODEL_NOT_FOUND, "/models/none.gguf"),
    (
        "0.00.004.077 E gguf_init_from_reader: invalid magic characters: 'xxxx', expected 'GGUF'\n",
        1,
        Blame.TASK,
        Reason.MODEL_NOT_FOUND,
        "expected 'GGUF'",
    ),
    (
        "0.00.003.363 E srv         start: couldn't bind HTTP server socket, hostname: 127.0.0.1, "
        "port: 18343\nerror: Failed to init server, please check the input params.\n",
        1,
        Blame.WORLD,
        Reason.PORT_IN_USE,
        "port: 18343",
    ),
    (
        "ModuleNotFoundError: No module named 'xllamacpp'\n",
        1,
        Blame.TASK,
        Reason.ENGINE_NOT_FOUND,
        "xllamacpp",
    ),
    (
        "0.00.003.936 E llama_model_load_from_file_impl: failed to load model\n",
        1,
        Blame.TASK,
        Reason.MODEL_NOT_FOUND,
        "failed to load model",
    ),
    (
        "0.00.003.936 E srv  init: something new\n0.00.004.000 E srv  init: its echo\n",
        1,
        Blame.PARAMS,
        Reason.CRASHED,
        "the engine reported an error: E srv init: something new",
    ),
    (
        "OSError: [Errno 28] No space left on device\n",
        1,
        Blame.WORLD,
        Reason.DISK_FULL,
        "the disk is full",
    ),
    (READY, 139, Blame.PARAMS, Reason.CRASHED_UNDER_LOAD, "exit code 139"),
    (READY, None, Blame.PARAMS, Reason.NEVER_READY, "it said that it was ready"),
    (READY, -15, Blame.WORLD, Reason.INTERRUPTED, "SIGTERM"),
]


@pytest.mark.parametrize(("log", "exit_code", "blame", "reason", "said"), SIGNATURES)
def test_a_log_tells_who_is_to_blame(
    log: str, exit_code: int | None, blame: Blame, reason: Reason, said: str
) -> None:
    failure = ENGINE.classify(log, exit_code)
    assert (failure.blame, failure.reason) == (blame, reason)
    assert said in failure.message


@pytest.mark.parametrize(
    "args",
    [
        {"flash-attn": "off", "cache-type-v": "q8_0"},
        {"fa": False, "split-mode": "tensor"},
    ],
)
def test_a_rule_refuses_what_llama_cpp_refuses(args: dict[str, object]) -> None:
    context = ENGINE.with_defaults(args)
    assert [rule.why for rule in ENGINE.rules if not holds(rule.expression, context)] != []


@pytest.mark.parametrize(
    "args",
    [
        {"flash-attn": "off", "cache-type-k": "q8_0"},
        {"flash-attn": "on", "cache-type-v": "q8_0"},
        {"flash-attn": "off", "cache-type-v": "bf16"},
    ],
)
def test_rules_let_pass_what_llama_cpp_takes(args: dict[str, object]) -> None:
    context = ENGINE.with_defaults(args)
    assert [rule.why for rule in ENGINE.rules if not holds(rule.expression, context)] == []


def test_an_unsaved_prompt_cache_is_no_failure() -> None:
    log = "0.1.1.1 W srv  update: failed to allocate memory for prompt cache state: bad\n" + READY
    assert ENGINE.classify(log, None).reason is Reason.NEVER_READY


def test_the_model_is_a_file_or_a_hub_id() -> None:
    def line(model: str) -> tuple[str, ...]:
        return ENGINE.command_line(Launch(model, None, "::1", 80, {"threads": 2}))

    rest = ("--host", "::1", "--port", "80", "--threads", "2")
    assert line("/models/small.gguf") == ("--model", "/models/small.gguf", *rest)
    assert line("org/small-GGUF:Q4_0") == ("--hf-repo", "org/small-GGUF:Q4_0", *rest)


def test_the_served_name_is_the_files_own_unless_it_is_given() -> None:
    assert ENGINE.served_name(Launch("/m/small.gguf", None, "::1", 80, {})) == "small.gguf"


def test_a_yaml_on_is_the_word_on() -> None:
    assert ENGINE.render({"flash-attn": True}) == ("--flash-attn", "on")
    assert identity(ENGINE, {"fa": False}) == identity(ENGINE, {"flash-attn": "off"})


def test_a_list_of_shares_is_one_word() -> None:
    assert ENGINE.render({"tensor-split": [3, 1]}) == ("--tensor-split", "3,1")


def test_no_gpu_is_taken_unless_layers_are_put_there() -> None:
    assert ENGINE.gpus({"threads": 4}) == 0
    assert ENGINE.gpus({"ngl": 0}) == 0
    assert ENGINE.gpus({"n-gpu-layers": "all"}) == 1
    assert ENGINE.gpus({"gpu-layers": 99, "tensor-split": "3,1"}) == 2
    assert ENGINE.gpus({"gpu-layers": 99, "device": ["CUDA0", "CUDA1", "CUDA2"]}) == 3
    assert ENGINE.gpus({"gpu-layers": 99, "split-mode": "none", "tensor-split": "3,1"}) == 1
    assert ENGINE.gpus({"gpu-layers": 99, "device": "none"}) == 0


def test_a_physical_batch_above_the_logical_one_is_clamped() -> None:
    clamped = identity(ENGINE, {"batch-size": 256, "ubatch-size": 1024})
    assert clamped == identity(ENGINE, {"batch-size": 256}) != identity(ENGINE, {})


def test_batch_threads_equal_to_threads_are_the_default() -> None:
    assert identity(ENGINE, {"threads": 2, "threads-batch": 2}) == ("--threads", "2")
    assert len(identity(ENGINE, {"threads": 2, "threads-batch": 1})) == 4


def test_cache_flags_do_nothing_without_the_prompt_cache() -> None:
    off = {"cache-prompt": False}
    assert identity(ENGINE, {**off, "cache-reuse": 256}) == identity(ENGINE, off)


def test_draft_flags_do_nothing_without_speculation() -> None:
    assert identity(ENGINE, {"spec-draft-n-max": 8}) == ()
    assert identity(ENGINE, {"spec-draft-n-max": 8, "spec-type": "draft-mtp"}) != ()


@pytest.mark.parametrize(
    ("args", "fits"),
    [
        ({}, True),
        ({"ctx-size": 512, "parallel": 1}, False),
        ({"ctx-size": 1024, "parallel": 1}, True),
        ({"ctx-size": 4096, "parallel": 8}, False),
        ({"ctx-size": 4096, "parallel": 8, "kv-unified": True}, True),
        ({"ctx-size": 4096, "parallel": 8, "kv-unified": False}, False),
        ({"ctx-size": 2400, "parallel": 3}, True),  # 800 each, padded to 1024
        ({"ctx-size": 4096}, True),
    ],
)
def test_a_slot_must_hold_the_longest_request(args: dict[str, object], fits: bool) -> None:
    assert holds(ENGINE.room.format(tokens=1000), ENGINE.with_defaults(args)) is fits


def test_the_running_server_and_its_log_tell_the_configuration() -> None:
    props = {
        "default_generation_settings": {"n_ctx": 512, "params": {"seed": 1}},
        "total_slots": 3,
        "model_ftype": "Q4_1",
        "chat_template": "{% for message in messages %}" * 100,
    }
    told = {"parallel": 3, "slot-ctx-size": 512, "model-type": "Q4_1"}
    assert ENGINE.read_config(props) == told
    log = "I cmn init: llama threadpool init, n_threads = 2\nI n_slots = 3, kv_unified = 'false'\n"
    assert ENGINE.read_log(log) == {"threads": "2", "kv-unified": "false"}
