"""SGLang, as of 0.5.23.

Traps that the flags do not show: booleans are bare switches; `dp-size` means replicas, each with
its own GPUs; some combinations are changed with a warning instead of refused; and exit codes say
nothing, for a failed server ends itself with SIGKILL, or with 0 inside a container.

The file is long because it holds every flag there is: a misspelled one costs no trial.
"""

from inference_autotuner.optimizer.engine import Engine, Launch, Rule
from inference_autotuner.optimizer.errors import Blame, Reason
from inference_autotuner.optimizer.failures import EXCEPTIONS, PYTHON_ENGINES, Signature
from inference_autotuner.optimizer.flags import Args, Boolean, Flag, alike, pairs, words

_COUNT = Flag("int", minimum=1)
_SIZE = Flag("size", binary_capitals=False, minimum=1)
_ATTENTION = """
triton torch_native flex_attention dsa nsa qsa dsv4 compressed fa3 fa4 flashinfer flashmla
llada2_cfg_flashinfer trtllm_mla cutedsl_mla tokenspeed_mla trtllm_mha hpc_ops minicpm_flashattn
minicpm_flashinfer aiter wave intel_amx ascend intel_xpu
"""
_QUANTIZATION = """
none awq fp8 mxfp8 gptq gptq_marlin awq_marlin bitsandbytes gguf modelopt modelopt_fp8
modelopt_fp4 modelopt_mixed nvfp4_online petit_nvfp4 w8a8_int8 w8a8_fp8 moe_wna16 w4afp8 mxfp4
auto-round auto-round-int8 compressed-tensors modelslim mxfp_w4a8 quark quark_int4fp8_moe
quark_mxfp4 mlx_q4 mlx_q8 unquant humming
"""
_MOE_RUNNERS = """
auto deep_gemm triton triton_kernel flashinfer_trtllm experimental_sgl_trtllm flashinfer_cutlass
flashinfer_trtllm_routed flashinfer_mxfp4 flashinfer_cutedsl flashinfer_megamoe cutlass aiter
marlin humming experimental_sgl_marlin lora_cutedsl lora_triton lora_marlin hpc_ops megamoe
intel_xpu
"""
_MOE_A2A = """
none deepep mooncake nixl mori ascend_fuseep flashinfer megamoe deepep_v2 pplx ascend_tp
flashinfer_megamoe
"""


_TENSOR_PARALLEL_ONLY = """
disable-custom-all-reduce enable-mscclpp enable-symm-mem enable-torch-symm-mem
"""

_FLAGS = {
    **alike(
        "tp-size pp-size dp-size attn-dp-size attn-cp-size moe-dp-size ep-size dcp-size nnodes "
        "tokenizer-worker-num",
        Flag("int", 1, minimum=1),
    ),
    **alike(
        "enable-prefill-cp enable-priority-scheduling enable-mixed-chunk disable-overlap-schedule "
        "enable-deterministic-inference disable-cuda-graph-padding enable-torch-compile "
        "enable-two-batch-overlap enable-single-batch-overlap speculative-adaptive"
        + _TENSOR_PARALLEL_ONLY,
        Flag("bool", False),
    ),
    **alike(
        "max-running-requests max-queued-requests prefill-max-requests min-free-slots-delay "
        "page-size cuda-graph-max-bs-decode cuda-graph-max-bs-prefill speculative-num-steps "
        "speculative-eagle-topk speculative-num-draft-tokens",
        _COUNT,
    ),
    **alike("cuda-graph-bs-decode cuda-graph-bs-prefill", Flag("int", is_list=True, minimum=1)),
    **alike(
        "enable-tf32-matmul enable-decoder-swa-bounded-replay enable-fused-qk-norm-rope "
        "enable-dsa-fused-indexer dcp-replicate-q-proj enable-tp-lm-head-all-to-all "
        "ple-offload-embedding dllm-fdfo experts-shared-outer-loras lora-strict-loading "
        "mm-enable-dp-encoder speculative-enable-w4a4-mxfp4-megamoe",
        Flag("bool", boolean=Boolean.NEGATABLE),
    ),
    **alike("cuda-graph-config json-model-override-args model-loader-extra-config", Flag("json")),
    # Memory and scheduling
    "mem-fraction-static": Flag("float", minimum=0.01, maximum=1),
    "max-total-tokens": _SIZE,
    "context-length": _SIZE,
    "max-prefill-tokens": Flag("size", 16384, binary_capitals=False, minimum=1),
    "chunked-prefill-size": Flag("int", minimum=-1),
    "schedule-policy": words(
        "lpm random fcfs dfs-weight lof priority routing-key hrrn shortest-prefill-first", "fcfs"
    ),
    "schedule-conservativeness": Flag("float", 1.0, minimum=0),
    "retraction-policy": words("length priority", "length"),
    "stream-interval": Flag("int", 1, minimum=1, groups_tokens=True),
    "allow-auto-truncate": Flag("bool", False, is_lossy=True),
    "random-seed": Flag("int"),
    "cpu-offload-gb": Flag("int", 0, minimum=0),
    # Prefix cache
    **alike(
        "disable-radix-cache enable-hierarchical-cache",
        Flag("bool", False, needs_shared_prefix=True),
    ),
    "radix-eviction-policy": words("lru lfu slru priority tlru", "lru", needs_shared_prefix=True),
    "hicache-ratio": Flag("float", minimum=0, needs_shared_prefix=True),
    "hicache-size": Flag("int", 0, minimum=0, needs_shared_prefix=True),
    "hicache-write-policy": words(
        "write_back write_through write_through_selective",
        "write_through",
        needs_shared_prefix=True,
    ),
    "hicache-io-backend": words("direct kernel kernel_ascend", "kernel"),
    # Kernels and graphs
    **alike(
        "attention-backend prefill-attention-backend decode-attention-backend", words(_ATTENTION)
    ),
    **alike(
        "cuda-graph-backend-decode cuda-graph-backend-prefill", words("full breakable disabled")
    ),
    "torch-compile-max-bs": Flag("int", 32, minimum=1),
    "moe-runner-backend": words(_MOE_RUNNERS, "auto"),
    "moe-a2a-backend": words(_MOE_A2A, "none"),
    "flashinfer-allreduce-fusion-backend": words(
        "none auto trtllm mnnvl cutedsl", "none", omits_default=True
    ),
    "sampling-backend": words("flashinfer pytorch ascend intel_xpu"),
    "cp-strategy": words("zigzag interleave"),
    # Numbers
    "dtype": words("auto half float16 bfloat16 float float32", "auto", is_lossy=True),
    "kv-cache-dtype": words(
        "auto fp8_e5m2 fp8_e4m3 mxfp8 bf16 bfloat16 nvfp4 fp4_mx_block16", "auto", is_lossy=True
    ),
    "quantization": words(_QUANTIZATION, "none", omits_default=True, is_lossy=True),
    # Speculation
    "speculative-algorithm": words(
        "none EAGLE EAGLE3 NEXTN STANDALONE NGRAM DFLASH DSPARK UNO FROZEN_KV_MTP",
        "none",
        omits_default=True,
    ),
    **alike(
        "speculative-accept-threshold-single speculative-accept-threshold-acc",
        Flag("float", 1.0, is_lossy=True, minimum=0, maximum=1),
    ),
    # Out of scope for a search, but read by rules
    "disaggregation-mode": words("null prefill decode", "null"),
}

_FAMILIES = """
bucket- constrained-json- debug-tensor-dump- decoupled-spec- deepep- disaggregation- dllm- dsa-
dsv4- dynamic-batch-tokenizer- elastic-ep- encoder- eplb- expert- export-metrics-
forward-pass-metrics- hicache-storage- http2- kt- kv-canary linear- log-requests lora- mamba- mm-
modelopt- offload- paged-experts- ple- prefill-delayer- remote-instance-weight-loader-
speculative-dspark- speculative-ngram- tokenizer-metrics- unified-cache- weight-
"""
_OTHERS = """
abort-on-priority-when-disabled allowed-media-domains asr-max-buffer-seconds
asr-max-concurrent-sessions base-gpu-id batch-notify-size bf16-gemm-backend boundary-reduction
c128-page-size chat-template checkpoint-engine-wait-weights-before-ready completion-template
crash-dump-folder cuda-graph-max-seq-len-prefill cuda-graph-prefill-max-context
custom-weight-loader dcp-comm-backend debug-cuda-graph decode-log-interval decrypted-config-file
decrypted-draft-config-file default-chat-template-kwargs default-priority-value
delete-ckpt-after-loading detokenizer-worker-num device disable-aiter-allreduce-fusion-in-decode
disable-aiter-allreduce-fusion-in-prefill disable-attn-tp-gather disable-chunked-prefix-cache
disable-decode-cuda-graph disable-fast-image-processor disable-flashinfer-autotune
disable-flashinfer-cutlass-moe-fp4-allgather disable-hybrid-swa-memory disable-outlines-disk-cache
disable-prefill-cuda-graph disable-priority-preemption disable-shared-experts-fusion
disable-tokenizer-batch-decode dist-init-addr dist-timeout download-dir dwdp-size
enable-adaptive-dispatch-to-encoder enable-aiter-allreduce-fusion enable-amd-monokernel
enable-attn-tp-input-scattered enable-broadcast-mm-inputs-process enable-cache-report
enable-cp-decode-attn-tp enable-cudagraph-gc enable-custom-logit-processor
enable-deepseek-v4-fp4-indexer enable-dense-mlp-attn-tp
enable-dp-attention-local-control-broadcast enable-dp-lm-head enable-draft-weights-cpu-backup
enable-dsa-cache-layer-split enable-dynamic-batch-tokenizer enable-dynamic-chunking
enable-elastic-expert-backup enable-encoder-swa-bounded-replay enable-eplb enable-flexkv
enable-forward-pass-metrics enable-fp32-lm-head enable-fused-moe-sum-all-reduce enable-hisparse
enable-http-worker-reuseport enable-http2 enable-int8-mamba-checkpoint enable-kv-cache-sharding
enable-layernorm-sp enable-layerwise-nvtx-marker enable-lean-attention enable-linear-replayssm
enable-linear-replayssm-spec enable-linker-mla-dedup enable-lmcache enable-lora
enable-lora-overlap-loading enable-mamba-cache-stochastic-rounding enable-megamoe-for-layernorm-sp
enable-memory-saver enable-metrics enable-metrics-for-all-schedulers enable-mfu-metrics enable-mis
enable-mm-global-cache enable-multi-layer-eagle enable-multimodal enable-nccl-nvls
enable-nvidia-megakernel enable-p2p-check enable-page-major-kv-layout enable-paged-experts
enable-pd-role-switch enable-pdmux enable-precise-embedding-interpolation enable-prefill-delayer
enable-prefix-mm-cache enable-profile-cuda-graph enable-quant-communications
enable-request-time-stats-logging enable-response-store enable-return-aux-hidden-states
enable-return-hidden-states enable-return-indexer-topk enable-return-routed-experts
enable-scattered-sconv enable-session-radix-cache enable-shared-experts-attn-tp enable-ssl-refresh
enable-streaming-session enable-strict-thinking enable-tokenizer-batch-encode
enable-torch-compile-debug-mode enable-trace enable-unified-cache-external-linker
enable-unified-memory enable-w4a4-mxfp4-megamoe enable-waterfill enable-watermark
enable-weights-cpu-backup enforce-disable-flashinfer-allreduce-fusion
enforce-shared-experts-fusion engine-info-bootstrap-port ep-dispatch-algorithm
ep-num-redundant-experts extra-metric-labels fastapi-root-path file-storage-path
flashinfer-a2a-dispatch-type flashinfer-autotune-skip-ops flashinfer-mla-disable-ragged
flashinfer-mxfp4-moe-precision flexkv-config-file forward-hooks fp4-gemm-backend fp8-gemm-backend
fuseep-mode gated-launch-port gc-threshold gc-warning-threshold-secs generation-tokens-buckets
gpu-id-step grammar-backend grpc-port grpc-response-timeout-secs hf-chat-template-name
hicache-host-memory-fraction hicache-host-memory-mode hicache-mem-layout hisparse-config
image-processor-backend incremental-streaming-output init-expert-location int8-mamba-ckpt-size
is-embedding kv-events-config language-model-only language-only limit-mm-data-per-request
lmcache-config-file load-balance-method load-format load-publish-endpoint
load-snapshot-publish-interval log-level log-level-http max-ep-size max-loaded-loras
max-lora-chunk-size max-lora-rank max-loras-per-batch max-mamba-cache-size
media-url-max-file-size-mb mlx-enable-sampling model-checksum model-config-parser model-impl
modelexpress-config moe-dense-tp-size mooncake-ib-device msprobe-dump-config nccl-port node-rank
num-reserved-decode-tokens numa-node optimistic-prefill-attempts otlp-service-name
otlp-traces-endpoint pdmux-config-path pp-async-batch-depth pp-max-micro-batch-size pre-warm-nccl
preferred-sampling-params prefill-decode-interval prefill-decode-interval-min-bs
prefill-kv-cache-dequant-dtype prefill-only-disable-kv-cache
priority-scheduling-preemption-threshold prompt-tokens-buckets qsa-indexer-dtype
quantization-param-path quantize-and-serve radix-cache-backend radix-eviction-policy-config
reasoning-parser return-aux-hidden-state-layer-ids return-hidden-states-mode return-input-ids
return-output-ids revision rl-on-policy-target rl-quant-profile sampling-defaults
sampling-mask-max-tokens schedule-low-priority-values-first scheduler-recv-interval
shared-experts-tp-size show-time-cost sidecar sidecar-args skip-server-warmup skip-tokenizer-init
sleep-on-idle sm-group-num smg-http-sidecar-port soft-watchdog-timeout speculative-adaptive-config
speculative-attention-mode speculative-dflash-block-size speculative-domino-candidate-pool-size
speculative-draft-attention-backend speculative-draft-kv-cache-dtype speculative-draft-load-format
speculative-draft-model-path speculative-draft-model-quantization speculative-draft-model-revision
speculative-draft-sink-size speculative-draft-window-size speculative-dsa-topk-backend
speculative-moe-a2a-backend speculative-moe-runner-backend speculative-token-map
speculative-use-block-verification speculative-use-rejection-sampling ssl-ca-certs
ssl-keyfile-password startup-weight-load-mode stream-response-default-include-usage
strip-thinking-cache swa-full-tokens-ratio swa-prefix-tails tbo-token-distribution-threshold
tokenizer-backend tokenizer-mode tokenizer-path tool-call-parser tool-server trace-modules
triton-attention-num-kv-splits triton-attention-split-tile-size trust-mm-content-hashes
trust-remote-code trust-request-chat-template uno-lora-path use-ray
uvicorn-access-log-exclude-prefixes warmups watchdog-timeout watermark-config
"""

_ALIASES = """
tp=tp-size tensor-parallel-size=tp-size pipeline-parallel-size=pp-size dp=dp-size
data-parallel-size=dp-size attention-data-parallel-size=attn-dp-size ep=ep-size
attention-context-parallel-size=attn-cp-size moe-data-parallel-size=moe-dp-size
expert-parallel-size=ep-size decode-context-parallel-size=dcp-size nccl-init-addr=dist-init-addr
enable-hicache=enable-hierarchical-cache speculative-draft-model=speculative-draft-model-path
context-bucket=cuda-graph-prefill-max-context grpc-http-sidecar-port=smg-http-sidecar-port
hierarchical-sparse-attention-extra-config=hisparse-config model=model-path
"""

_RESERVED = {
    "model-path": "spec.model.name",
    "served-model-name": "spec.model.servedName",
    "config": "the flags themselves, so that they can be checked",
    **dict.fromkeys(("host", "port"), "nothing: the tuner chooses it"),
    **dict.fromkeys(("api-key", "admin-api-key"), "nothing: a trial's server takes no key"),
    **dict.fromkeys(
        ("ssl-keyfile", "ssl-certfile", "grpc-mode", "smg-grpc-mode"),
        "nothing: a trial's server speaks plain HTTP",
    ),
}

_DEAD = "nothing: 0.5.23 takes this flag but reads it nowhere, so it can change nothing"
_REMOVED = {
    "num-continuous-decode-steps": _DEAD,
    "triton-attention-reduce-in-fp32": _DEAD,
    "spec-trace-dir": _DEAD,
    "cuda-graph-max-bs": "cuda-graph-max-bs-decode (and cuda-graph-max-bs-prefill)",
    "cuda-graph-bs": "cuda-graph-bs-decode (and cuda-graph-bs-prefill)",
    "enable-ep-moe": "ep-size",
    "enable-deepep-moe": "moe-a2a-backend: deepep",
    "enable-flashinfer-cutlass-moe": "moe-runner-backend: flashinfer_cutlass",
    "enable-flashinfer-trtllm-moe": "moe-runner-backend: flashinfer_trtllm",
    "enable-flashinfer-cutedsl-moe": "moe-runner-backend: flashinfer_cutedsl",
    "enable-flashinfer-mxfp4-moe": "moe-runner-backend: flashinfer_mxfp4",
    "enable-triton-kernel-moe": "moe-runner-backend: triton_kernel",
    "enable-piecewise-cuda-graph": "cuda-graph-backend-prefill",
    "piecewise-cuda-graph-max-tokens": "cuda-graph-max-bs-prefill",
    "piecewise-cuda-graph-tokens": "cuda-graph-bs-prefill",
    "piecewise-cuda-graph-compiler": "cuda-graph-backend-prefill",
    "max-micro-batch-size": "pp-max-micro-batch-size",
    "stream-output": "incremental-streaming-output",
    "torchao-config": "quantization",
    "enable-double-sparsity": "nothing: the feature was removed",
    "hybrid-kvcache-ratio": "nothing: the feature was removed",
}

_DEPRECATED = {
    "disable-cuda-graph": "cuda-graph-backend-decode: disabled, and the same for -prefill",
    "enable-dp-attention": "attn-dp-size",
    "enable-flashinfer-allreduce-fusion": "flashinfer-allreduce-fusion-backend: auto",
    "monokernel-backend": "enable-amd-monokernel",
}

_RULES = (
    Rule(
        'params["dp-size"] == 1 || params["attn-dp-size"] == 1',
        "replicas (dp-size) cannot be combined with attention data parallelism (attn-dp-size)",
    ),
    Rule(
        'params["dp-size"] == 1 || params["nnodes"] == 1',
        "replicas (dp-size) must be on one node; attn-dp-size spans nodes",
    ),
    Rule(
        'params["tp-size"] % (params["attn-dp-size"] * params["attn-cp-size"]) == 0',
        "attn-dp-size times attn-cp-size must divide tp-size",
    ),
    Rule(
        '(params["tp-size"] * params["pp-size"]) % params["nnodes"] == 0',
        "nnodes must divide tp-size times pp-size",
    ),
    Rule(
        'params["moe-dp-size"] == 1 || (params["pp-size"] == 1 && (params["ep-size"] == 1 || '
        'params["ep-size"] * params["moe-dp-size"] == params["tp-size"]))',
        "ep-size times moe-dp-size must be tp-size, without pipeline parallelism",
    ),
    Rule('params["tp-size"] % params["dcp-size"] == 0', "dcp-size must divide tp-size"),
    Rule(
        'params["dcp-size"] == 1 || !params["enable-prefill-cp"]',
        "dcp-size above 1 excludes enable-prefill-cp",
    ),
    Rule(
        '!params["enable-prefill-cp"] || "cp-strategy" in params',
        "enable-prefill-cp needs cp-strategy",
    ),
    Rule(
        'params["chunked-prefill-size"] <= 0 || '
        'params["chunked-prefill-size"] / params["attn-dp-size"] % params["page-size"] == 0',
        "page-size must divide chunked-prefill-size, after attn-dp-size divided it",
    ),
    Rule(
        'params["pp-size"] == 1 || params["speculative-algorithm"] == "none" || '
        'params["disaggregation-mode"] == "prefill"',
        "pipeline parallelism excludes speculation",
    ),
    Rule(
        'params["pp-size"] == 1 || !("min-free-slots-delay" in params)',
        "pipeline parallelism excludes min-free-slots-delay",
    ),
    Rule(
        '!(params["enable-torch-compile"] && params["disable-cuda-graph-padding"])',
        "enable-torch-compile excludes disable-cuda-graph-padding",
    ),
    Rule(
        '!(params["enable-hierarchical-cache"] && params["disable-radix-cache"])',
        "enable-hierarchical-cache needs the radix cache",
    ),
    Rule(
        '!params["enable-priority-scheduling"] || params["schedule-policy"] in ["fcfs", "lof"]',
        "priority scheduling needs schedule-policy fcfs or lof",
    ),
    Rule(
        'params["retraction-policy"] != "priority" || params["enable-priority-scheduling"]',
        "retraction-policy priority needs enable-priority-scheduling",
    ),
    Rule(
        '!(params["speculative-algorithm"] in ["EAGLE", "EAGLE3", "NEXTN", "STANDALONE"]) || '
        'params["speculative-adaptive"] || "speculative-num-steps" in params || '
        '!("speculative-eagle-topk" in params || "speculative-num-draft-tokens" in params)',
        "speculative-eagle-topk and speculative-num-draft-tokens need speculative-num-steps",
    ),
    Rule(
        'params["speculative-algorithm"] == "none" || '
        'params["attention-backend"] != "trtllm_mha" || params["speculative-eagle-topk"] == 1',
        "attention-backend trtllm_mha speculates with speculative-eagle-topk 1 alone",
    ),
    Rule(
        'params["speculative-algorithm"] == "none" || '
        'params["attention-backend"] != "flex_attention"',
        "attention-backend flex_attention excludes speculation",
    ),
)

_REFUSAL = r'File "[^"]*(?:/arg_groups/\w+|/server_args)\.py", line.*\n'
_SIGNATURES = (
    Signature(
        r"Not enough memory\. Please try to increase --mem-fraction-static.*",
        *(Blame.PARAMS, Reason.OUT_OF_MEMORY),
        "the weights leave no room for the KV pool: raise mem-fraction-static or tp-size",
    ),
    Signature(
        r"Capture cuda graph failed: .*(?:out of memory|OutOfMemory).*",
        *(Blame.PARAMS, Reason.OUT_OF_MEMORY),
        "no GPU memory left for CUDA graphs: lower mem-fraction-static or the graph batch",
    ),
    *PYTHON_ENGINES,
    Signature(
        r"Rank \d+ scheduler died during initialization \(exit code: -9\)",
        *(Blame.WORLD, Reason.HOST_OUT_OF_MEMORY),
        "the system killed a scheduler, most likely because the machine ran out of memory",
    ),
    Signature(r"requires an SM\d+.*GPU", Blame.PARAMS, Reason.UNSUPPORTED, "this GPU cannot do it"),
    Signature(
        _REFUSAL + r"(?:.*\n){0,40}?((?:ValueError|AssertionError|NotImplementedError): .+)",
        *(Blame.PARAMS, Reason.INVALID_ARGUMENTS),
        "the engine refuses this combination",
    ),
    Signature(
        _REFUSAL + r"[ \t]*(assert .+)\n(?:.*\n){0,40}?AssertionError *$",
        *(Blame.PARAMS, Reason.INVALID_ARGUMENTS),
        "the engine refuses this combination",
    ),
    *EXCEPTIONS,
    Signature(
        r"watchdog timeout \(.*soft=False.*",
        *(Blame.WORLD, Reason.CRASHED),
        "a step took longer than the watchdog allows",
    ),
    Signature(
        r"Received sigquit from a child process.*",
        *(Blame.PARAMS, Reason.CRASHED),
        "a child of the engine failed without saying why",
    ),
)

_TOLD = """
version tp-size max-total-num-tokens chunked-prefill-size max-prefill-tokens mem-fraction-static
schedule-policy schedule-conservativeness attention-backend prefill-attention-backend
decode-attention-backend page-size kv-cache-dtype quantization dtype enable-mixed-chunk
disable-overlap-schedule disable-radix-cache cuda-graph-max-bs-decode context-length
speculative-algorithm speculative-num-steps speculative-eagle-topk speculative-num-draft-tokens
"""


def _command_line(launch: Launch) -> tuple[str, ...]:
    named = ("--served-model-name", launch.served_name) if launch.served_name else ()
    address = ("--host", launch.host, "--port", str(launch.port))
    return ("--model-path", launch.model, *named, *address, *ENGINE.render(launch.args))


def _gpus(args: Args) -> int:
    known = ENGINE.with_defaults(args)
    # The old spelling --dp-size N --enable-dp-attention stays inside the tensor-parallel group.
    replicas = 1 if known.get("enable-dp-attention") else known["dp-size"]
    return int(known["tp-size"] * known["pp-size"] * replicas)


def _effective(args: Args) -> Args:
    idle = _idle(args)
    return {name: value for name, value in args.items() if name not in idle}


def _idle(args: Args) -> set[str]:
    """Flags that SGLang ignores, or overrides with a warning, beside the other args."""
    idle: set[str] = set()
    if args["speculative-algorithm"] == "none":
        idle |= {name for name in args if name.startswith("speculative-")}
    if args["speculative-algorithm"] in ("STANDALONE", "NGRAM", "UNO", "FROZEN_KV_MTP"):
        idle.add("enable-mixed-chunk")
    if args["tp-size"] == 1:
        idle |= {*_TENSOR_PARALLEL_ONLY.split(), "flashinfer-allreduce-fusion-backend"}
    if args["pp-size"] != 1:
        idle.add("disable-overlap-schedule")
    if not args["enable-hierarchical-cache"]:
        idle |= {name for name in args if name.startswith("hicache-")}
    if args["disable-radix-cache"]:
        idle.add("radix-eviction-policy")
    if not args["enable-torch-compile"]:
        idle.add("torch-compile-max-bs")
    for phase in ("decode", "prefill"):
        sizes = {f"cuda-graph-bs-{phase}", f"cuda-graph-max-bs-{phase}"}
        if args.get(f"cuda-graph-backend-{phase}") == "disabled":
            idle |= sizes
        elif f"cuda-graph-bs-{phase}" in args:
            idle.add(f"cuda-graph-max-bs-{phase}")
    return idle


ENGINE = Engine(
    name="sglang",
    title="SGLang",
    version="0.5.23",
    flags=_FLAGS,
    others=frozenset(_OTHERS.split()),
    families=tuple(_FAMILIES.split()),
    aliases=pairs(_ALIASES),
    reserved=_RESERVED,
    removed=_REMOVED,
    deprecated=_DEPRECATED,
    rules=_RULES,
    room='params["context-length"] >= {tokens}',
    command_line=_command_line,
    served_name=lambda launch: launch.served_name or launch.model,
    forbidden_in_name=":",
    gpus=_gpus,
    effective=_effective,
    signatures=_SIGNATURES,
    ready_line=r"The server is fired up and ready to roll!",
    programs=(("sglang", "serve"), ("python", "-m", "sglang.launch_server")),
    container_command=("python3", "-m", "sglang.launch_server"),
    image_pattern="lmsysorg/sglang:v{version}",
    api_backend="sglang",
    config_path="/server_info",
    config_values={name: name.replace("-", "_") for name in _TOLD.split()}
    | {"max-running-requests": "internal_states.0.effective_max_running_requests_per_dp"},
    flush_path="/flush_cache",
    search_space={
        "chunked-prefill-size": [2048, 4096, 8192, 16384],
        "max-running-requests": [64, 128, 256, 512],
        "mem-fraction-static": [0.8, 0.84, 0.88, 0.92],
        "schedule-conservativeness": [0.3, 0.6, 1.0, 1.3],
        "enable-mixed-chunk": [True, False],
        "cuda-graph-max-bs-decode": [128, 256, 512],
    },
)
