"""vLLM, as of 0.32.0.

Traps that the flags do not show: defaults of the batch limits depend on the GPU; a server that
fails prints its cause first and an echo of it last; `/health` only says that a process lives; and
the developer endpoints, which tell the configuration and empty the prefix cache, exist only with
an environment variable that no production server should have.

The file is long because it holds every flag there is: a misspelled one costs no trial.
"""

import re

from inference_autotuner.optimizer.engine import Engine, Launch, Rule
from inference_autotuner.optimizer.errors import Blame, Reason
from inference_autotuner.optimizer.failures import EXCEPTIONS, PYTHON_ENGINES, Signature
from inference_autotuner.optimizer.flags import Args, Boolean, Flag, alike, pairs, words

_COUNT = Flag("int", minimum=1)
_ON_OR_OFF = Flag("bool", boolean=Boolean.NEGATABLE)
_ATTENTION = """
FLASH_ATTN FLASH_ATTN_DIFFKV FLASH_ATTN_MLA FLASH_ATTN_MLA_SPARSE TRITON_ATTN TRITON_ATTN_DIFFKV
TRITON_FLASH_ATTN TRITON_FLASHINFER TRITON_MLA TRITON_MSA ROCM_ATTN ROCM_SEGMENTED_ATTN
ROCM_AITER_MLA ROCM_AITER_TRITON_MLA ROCM_AITER_FA ROCM_AITER_MLA_SPARSE ROCM_AITER_UNIFIED_ATTN
ROCM_FLASHMLA_SPARSE_DSV4 XPU_MLA_SPARSE TORCH_SDPA FLASHINFER FLASHINFER_MLA
FLASHINFER_MLA_SPARSE FLASHINFER_MLA_SPARSE_SM120 FLASHINFER_MLA_SPARSE_SM90
FLASHINFER_MLA_SPARSE_DSV4 FLASHINFER_MLA_SPARSE_DSV41 TOKENSPEED_MLA CUTLASS_MLA CUTLASS_MSA
FLASHMLA FLASHMLA_SPARSE FLASHMLA_SPARSE_DSV4 FLASHMLA_SPARSE_DSV41 FLASHMLA_MEGA_ATTN_DSV41 B12X
MINIMAX_M3_SPARSE NO_ATTENTION FLEX_ATTENTION HPC_ATTN CPU_ATTN CPU_MLA AMX_MLA TURBOQUANT
ULTRAQUANT CUSTOM
"""
_KV_DTYPES = """
auto float16 bfloat16 fp8 fp8_e4m3 fp8_e5m2 fp8_inc fp8_ds_mla nvfp4_ds_mla turboquant_k8v4
turboquant_4bit_nc turboquant_k3v4_nc turboquant_3bit_nc ultraquant_4bit int4_per_token_head
int8_per_token_head fp8_per_token_head nvfp4 nvfp4_4over6
"""
_ALL2ALL = """
naive pplx deepep_high_throughput deepep_low_latency deepep_v2 mori_high_throughput
mori_low_latency moonep nixl_ep allgather_reducescatter flashinfer_all2allv passthrough
flashinfer_nvlink_two_sided flashinfer_nvlink_one_sided
"""
_MOE = """
auto triton batched_triton deep_gemm deep_gemm_mega_moe cutlass flashinfer_trtllm
flashinfer_cutlass flashinfer_cutedsl flashinfer_moe_ep_cutedsl flashinfer_b12x b12x
flashinfer_moe_ep_mega_deep_gemm marlin humming triton_unfused aiter aiter_mega_moe
aiter_triton_mxfp4_bf16 flydsl hpc emulation rdna3
"""

_FLAGS = {
    # Parallelism
    **alike(
        "tensor-parallel-size pipeline-parallel-size data-parallel-size "
        "decode-context-parallel-size prefill-context-parallel-size nnodes",
        Flag("int", 1, minimum=1),
    ),
    **alike(
        "enable-expert-parallel enable-dbo enable-eplb disable-custom-all-reduce enforce-eager "
        "enable-lora long-prefill-token-threshold-adaptive enable-sleep-mode",
        Flag("bool", False, boolean=Boolean.NEGATABLE),
    ),
    **alike(
        "disable-log-stats aggregate-engine-logging data-parallel-multi-port-external-lb",
        Flag("bool", False),
    ),
    "all2all-backend": words(_ALL2ALL, "allgather_reducescatter"),
    "moe-backend": words(_MOE, "auto"),
    "api-server-count": _COUNT,
    # Memory and scheduling
    "gpu-memory-utilization": Flag("float", 0.92, minimum=0.01, maximum=1),
    "kv-cache-memory-bytes": Flag("size", minimum=1),
    "max-model-len": Flag("size", words={"auto": -1}, minimum=1),
    "max-num-seqs": _COUNT,
    "max-num-batched-tokens": Flag("size", minimum=1),
    "max-num-scheduled-tokens": Flag("size", minimum=1),
    "max-num-active-seqs": _COUNT,
    "max-num-queued-reqs": Flag("int", minimum=0),
    "max-num-queued-tokens": Flag("size", minimum=0),
    **alike("enable-chunked-prefill async-scheduling", _ON_OR_OFF),
    "long-prefill-token-threshold": Flag("int", 0, minimum=0),
    "scheduling-policy": words("fcfs priority", "fcfs"),
    "watermark": Flag("float", 0.0, minimum=0, maximum=0.99),
    "prefill-schedule-interval": Flag("int", 1, minimum=1),
    "stream-interval": Flag("int", 1, minimum=1, groups_tokens=True),
    "block-size": _COUNT,
    "cpu-offload-gb": Flag("float", 0.0, minimum=0),
    "seed": Flag("int", 0),
    # Prefix cache
    "enable-prefix-caching": Flag("bool", boolean=Boolean.NEGATABLE, needs_shared_prefix=True),
    "prefix-caching-hash-algo": words(
        "sha256 sha256_cbor xxhash xxhash_cbor", "sha256", needs_shared_prefix=True
    ),
    "kv-offloading-size": Flag("float", minimum=0, needs_shared_prefix=True),
    "kv-offloading-backend": words("native lmcache", "native", needs_shared_prefix=True),
    # Kernels and graphs
    "performance-mode": words("balanced interactivity throughput", "balanced"),
    "optimization-level": Flag("int", 2, minimum=0, maximum=3),
    "cudagraph-capture-sizes": Flag("int", is_list=True, minimum=1),
    "max-cudagraph-capture-size": Flag("int", minimum=0),
    "attention-backend": words(_ATTENTION),
    # Numbers
    "dtype": words("auto half float16 bfloat16 float float32", "auto", is_lossy=True),
    "kv-cache-dtype": words(_KV_DTYPES, "auto", is_lossy=True),
    "kv-cache-dtype-skip-layers": Flag("str", is_list=True, is_lossy=True),
    "quantization": Flag("str", "none", omits_default=True, is_lossy=True),
    # Speculation
    "spec-method": Flag("str", "none", omits_default=True),
    "spec-tokens": _COUNT,
    "spec-model": Flag("str"),
    "generation-config": Flag("str", "auto"),
    **alike(
        "speculative-config compilation-config attention-config kernel-config additional-config "
        "eplb-config hf-overrides kv-transfer-config kv-events-config structured-outputs-config "
        "override-generation-config model-loader-extra-config limit-mm-per-prompt "
        "mm-processor-kwargs",
        Flag("json"),
    ),
}

_FAMILIES = """
dp-supervisor- ec- mamba- media- mm- numa- offload- otlp- replayssm- safetensors- sleep- ssl-
video-
"""
_OTHERS = """
allow-credentials allow-deprecated-quantization allowed-headers allowed-local-media-path
allowed-media-domains allowed-methods allowed-origins anthropic-disabled-thinking-effort
aux-output-config chat-template chat-template-content-format code-revision cohere-format
cohere-is-reasoning-model collect-detailed-traces config-format convert
cp-kv-cache-interleave-size cpu-distributed-timeout-seconds cpu-offload-params cudagraph-metrics
custom-histogram-buckets data-parallel-address data-parallel-backend data-parallel-external-lb
data-parallel-hybrid-lb data-parallel-rank data-parallel-rpc-port data-parallel-size-local
data-parallel-start-rank data-parallel-supervisor-port dbo-decode-token-threshold
dbo-prefill-token-threshold dcp-comm-backend dcp-kv-cache-interleave-size dcp-q-replicate
default-chat-template-kwargs default-mm-loras device-ids diffusion-config
disable-access-log-for-endpoints disable-chunked-mm-input disable-fastapi-docs
disable-hybrid-kv-cache-manager disable-nccl-for-dp-synchronization disable-sliding-window
disable-uvicorn-access-log distributed-executor-backend distributed-timeout-seconds download-dir
dp-sync-interval elastic-ep-max-dp-size enable-auto-tool-choice enable-batch-sharded-sampling
enable-cumem-allocator enable-elastic-ep enable-ep-weight-filter enable-fault-tolerance
enable-flash-late-interaction enable-flashinfer-autotune enable-force-include-usage enable-hc-sp
enable-layerwise-nvtx-tracing enable-log-deltas enable-log-outputs enable-log-requests
enable-logging-iteration-details enable-mamba-cache-stochastic-rounding
enable-mamba-shared-prefix-checkpoint enable-mfu-metrics enable-mixed-moe-lora-format
enable-mm-embeds enable-moe-shared-loras enable-nccl-comm-suspend enable-offline-docs
enable-per-request-metrics enable-prompt-embeds enable-prompt-tokens-details
enable-request-id-headers enable-return-routed-experts enable-scale-out
enable-server-load-tracking enable-shm-tensor-arena enable-ssl-refresh
enable-tokenizer-info-endpoint enable-tower-connector-lora enable-trace-replay engram-config
exclude-tools-when-tool-choice-none expert-placement-strategy fail-on-environ-validation
fault-tolerance-config fingerprint-mode fingerprint-value fully-sharded-loras gdn-prefill-backend
grpc-port h11-max-header-count h11-max-incomplete-event-size hf-config-path ignore-patterns
interleave-mm-strings io-processor-plugin ir-op-priority jit-monitor-mode jit-monitor-verbose
kda-decode-backend kda-prefill-backend kv-cache-metrics kv-cache-metrics-sample
kv-sharing-fast-prefill language-model-only linear-backend load-format log-error-stack log-level
logging-config logits-processors logprobs-mode lora-dtype lora-modules lora-target-modules
master-addr master-port max-cpu-loras max-log-len max-logprobs max-lora-cls-labels max-lora-rank
max-loras max-parallel-loading-workers middleware model-class-overrides model-impl node-rank
num-gpu-blocks-override per-request-spec-decode-metrics pooler-config
prefix-cache-retention-interval prefix-match-unit profiler-config pt-load-map-location
quantization-config ray-workers-use-nsight reasoning-config reasoning-parser
reasoning-parser-plugin renderer-num-workers response-role return-sampling-mask
return-tokens-as-token-ids revision root-path runner scheduler-cls scheduler-reserve-full-isl
show-hidden-metrics-for-version shutdown-timeout skip-mm-profiling skip-tokenizer-init
sparse-indexer-topk-backend specialize-active-lora sse-keep-alive-interval swa-bounded-replay
tokenizer tokenizer-mode tokenizer-revision tokens-only tool-call-parser tool-parser-plugin
tool-server tool-strict-level trust-remote-code trust-request-chat-template
trust-request-mm-kwargs ubatch-size use-fp64-gumbel use-replayssm use-tqdm-on-load
uvicorn-log-level watermark-config weight-transfer-config worker-cls worker-extension-cls
"""

_ALIASES = """
tp=tensor-parallel-size pp=pipeline-parallel-size dp=data-parallel-size q=quantization
dcp=decode-context-parallel-size pcp=prefill-context-parallel-size ep=enable-expert-parallel
device-memory-utilization=gpu-memory-utilization O=optimization-level sc=speculative-config
cc=compilation-config ac=attention-config asc=api-server-count n=nnodes r=node-rank
model-tag=model
"""

_RESERVED = {
    "model": "spec.model.name",
    "served-model-name": "spec.model.servedName",
    "config": "the flags themselves, so that they can be checked",
    "hf-token": "HF_TOKEN as a secret of the environment",
    "api-key": "nothing: a trial's server takes no key",
    **dict.fromkeys(("host", "port", "uds"), "nothing: the tuner chooses it"),
    **dict.fromkeys(
        ("ssl-keyfile", "ssl-certfile", "grpc", "headless"),
        "nothing: a trial's server speaks plain HTTP",
    ),
}

_REMOVED = {
    "swap-space": "nothing: preempted requests are computed again",
    "preemption-mode": "nothing: preempted requests are computed again",
    "cuda-graph-sizes": "cudagraph-capture-sizes",
    "disable-log-requests": "enable-log-requests: false",
    "max-num-partial-prefills": "long-prefill-token-threshold",
    "max-long-partial-prefills": "long-prefill-token-threshold",
    "num-lookahead-slots": "spec-tokens",
    "task": "runner, convert",
    "guided-decoding-backend": "structured-outputs-config",
    **dict.fromkeys(("rope-scaling", "rope-theta"), "hf-overrides"),
    "calculate-kv-scales": "nothing: scales come from the checkpoint",
    "num-redundant-experts": "eplb-config",
    "num-scheduler-steps": "nothing: the one engine there is schedules each step",
    "scheduler-delay-factor": "nothing: the feature was removed",
    "max-seq-len-to-capture": "max-cudagraph-capture-size",
    "disable-async-output-proc": "async-scheduling: false",
    "device": "nothing: the platform is detected",
    "enable-reasoning": "reasoning-parser",
    "tokenizer-pool-size": "api-server-count",
    "speculative-model": "spec-model",
    "num-speculative-tokens": "spec-tokens",
}

_DEPRECATED = {
    "disable-cascade-attn": "nothing: it has no effect",
    "log-config-file": "logging-config",
}

_RULES = (
    Rule(
        'params["max-num-batched-tokens"] >= params["max-num-seqs"]',
        "max-num-batched-tokens must be at least max-num-seqs",
    ),
    Rule(
        'params["enable-chunked-prefill"] || '
        'params["max-num-batched-tokens"] >= params["max-model-len"]',
        "without chunked prefill max-num-batched-tokens must be at least max-model-len",
    ),
    Rule(
        'params["max-num-active-seqs"] <= params["max-num-seqs"]',
        "max-num-active-seqs must not be above max-num-seqs",
    ),
    Rule(
        'params["max-model-len"] == -1 || '
        'params["long-prefill-token-threshold"] <= params["max-model-len"]',
        "long-prefill-token-threshold must not be above max-model-len",
    ),
    Rule(
        'params["prefill-context-parallel-size"] != 1 || '
        'params["tensor-parallel-size"] % params["decode-context-parallel-size"] == 0',
        "decode-context-parallel-size must divide tensor-parallel-size",
    ),
    Rule(
        '!params["enable-eplb"] || params["enable-expert-parallel"]',
        "enable-eplb needs enable-expert-parallel",
    ),
    Rule(
        'params["async-scheduling"] != true || '
        '!(params["spec-method"] in ["ngram", "medusa", "suffix", "mlp_speculator"])',
        "async-scheduling excludes speculation with ngram, medusa, suffix and mlp_speculator",
    ),
    Rule(
        'params["spec-method"] == "none" || !has(params["speculative-config"].method)',
        "spec-method and the method in speculative-config exclude each other",
    ),
)


def _is_held_by_others(match: re.Match[str]) -> bool:
    """Free memory far below the whole: somebody else's, and not a fraction that asks too much."""
    return float(match[2]) < 0.9 * float(match[3])


_FREE_MEMORY = r"(Free memory on device \S+ \(([\d.]+)/([\d.]+) GiB\) on startup is less than .*)"
_SIGNATURES = (
    Signature(
        _FREE_MEMORY,
        *(Blame.WORLD, Reason.DEVICE_BUSY),
        "something else holds the GPU's memory",
        _is_held_by_others,
    ),
    Signature(
        _FREE_MEMORY,
        *(Blame.PARAMS, Reason.OUT_OF_MEMORY),
        "gpu-memory-utilization asks for more than an idle GPU has free",
    ),
    Signature(
        r"No available memory for the cache blocks",
        *(Blame.PARAMS, Reason.OUT_OF_MEMORY),
        "the weights leave no room for the KV cache",
    ),
    Signature(
        r"To serve at least one request with the model's (max seq len.*?)(?: Try increasing.*)?$",
        *(Blame.PARAMS, Reason.OUT_OF_MEMORY),
        "the KV cache does not hold one request: lower max-model-len",
    ),
    Signature(
        r"CUDA out of memory occurred when warming up.*",
        *(Blame.PARAMS, Reason.OUT_OF_MEMORY),
        "out of GPU memory in the warm-up: lower max-num-seqs",
    ),
    *PYTHON_ENGINES,
    Signature(
        r"Selected backend .* is not valid for this configuration.*"
        r"|quantization method .* is not supported for the current GPU.*",
        *(Blame.PARAMS, Reason.UNSUPPORTED),
        "this GPU or model cannot do it",
    ),
    Signature(
        r"^[ \t]*Value error, (.+?)(?: \[type=.*)?$",
        *(Blame.PARAMS, Reason.INVALID_ARGUMENTS),
        "the engine refuses this combination",
    ),
    Signature(
        r"^(?:ValueError|NotImplementedError|AssertionError): .+",
        *(Blame.PARAMS, Reason.INVALID_ARGUMENTS),
        "the engine refuses this combination",
        lambda match: "Initializing a V1 LLM engine" not in match.string,
    ),
    *EXCEPTIONS,
    Signature(
        r"EngineCore encountered a fatal error|EngineDeadError",
        *(Blame.PARAMS, Reason.CRASHED),
        "the engine process died",
    ),
)

_TOLD = {
    "parallel_config": "tensor_parallel_size pipeline_parallel_size data_parallel_size",
    "model_config": "max_model_len dtype quantization",
    "scheduler_config": "max_num_seqs max_num_batched_tokens enable_chunked_prefill "
    "async_scheduling policy",
    "cache_config": "gpu_memory_utilization block_size cache_dtype enable_prefix_caching "
    "kv_cache_size_tokens num_gpu_blocks",
    "compilation_config": "mode cudagraph_mode max_cudagraph_capture_size",
    "attention_config": "backend",
    "speculative_config": "method num_speculative_tokens",
}


def _command_line(launch: Launch) -> tuple[str, ...]:
    named = ("--served-model-name", launch.served_name) if launch.served_name else ()
    address = ("--host", launch.host, "--port", str(launch.port))
    # The model comes first: a flag that takes several values would swallow it.
    return (launch.model, *named, *address, *ENGINE.render(launch.args))


def _gpus(args: Args) -> int:
    known = ENGINE.with_defaults(args)
    model_parallel = known["tensor-parallel-size"] * known["pipeline-parallel-size"]
    return int(
        model_parallel * known["prefill-context-parallel-size"] * known["data-parallel-size"]
    )


def _effective(args: Args) -> Args:
    """Drops what vLLM ignores beside the other args."""
    idle: set[str] = set()
    if args["enforce-eager"] or args["optimization-level"] == 0:
        idle |= {"cudagraph-capture-sizes", "max-cudagraph-capture-size"}
    if "kv-cache-memory-bytes" in args:
        idle.add("gpu-memory-utilization")
    if "kv-offloading-size" not in args:
        idle.add("kv-offloading-backend")
    if args.get("enable-prefix-caching") is False:
        idle.add("prefix-caching-hash-algo")
    return {name: value for name, value in args.items() if name not in idle}


ENGINE = Engine(
    name="vllm",
    title="vLLM",
    version="0.32.0",
    flags=_FLAGS,
    others=frozenset(_OTHERS.split()),
    families=tuple(_FAMILIES.split()),
    boolean=Boolean.NEGATABLE,
    aliases=pairs(_ALIASES),
    reserved=_RESERVED,
    removed=_REMOVED,
    deprecated=_DEPRECATED,
    rules=_RULES,
    room='params["max-model-len"] == -1 || params["max-model-len"] >= {tokens}',
    command_line=_command_line,
    served_name=lambda launch: launch.served_name or launch.model,
    gpus=_gpus,
    effective=_effective,
    signatures=_SIGNATURES,
    ready_line=r"Starting vLLM server on|Application startup complete",
    programs=(("vllm", "serve"),),
    container_command=("vllm", "serve"),
    image_pattern="vllm/vllm-openai:v{version}",
    api_backend="vllm",
    config_path="/server_info?config_format=json",
    config_values={"version": "system_env.vllm_version"}
    | {
        name.replace("_", "-"): f"vllm_config.{section}.{name}"
        for section, names in _TOLD.items()
        for name in names.split()
    },
    log_values={
        "version": r"Initializing a V1 LLM engine \(v([^)]{1,40})\)",
        "kv-cache-tokens": r"KV cache size: ([\d,]+) tokens",
        "max-concurrency": r"Maximum concurrency for [\d,]+ tokens per request: ([\d.]+)x",
        "non-default-args": r"non-default args: (\{.{0,1000})",
    },
    flush_path="/reset_prefix_cache",
    trial_environment={"VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1"},
    search_space={
        "max-num-seqs": [64, 128, 256, 512, 1024],
        "max-num-batched-tokens": [2048, 4096, 8192, 16384, 32768],
        "gpu-memory-utilization": [0.85, 0.9, 0.95],
        "performance-mode": ["balanced", "interactivity", "throughput"],
        "long-prefill-token-threshold": [0, 1024, 4096],
        "spec-method": ["none", "ngram"],
        "spec-tokens": {"values": [1, 3, 5], "when": 'params["spec-method"] != "none"'},
    },
)
