"""llama.cpp's server, as of build 11549.

Traps that the flags do not show: OpenMP threads spin, so that as many threads as cores collapse
when anything else runs; the context is shared out to the slots; and requests may ask for any
model name.
"""

import re

from inference_autotuner.optimizer.engine import Engine, Launch, Rule
from inference_autotuner.optimizer.errors import Blame, Reason
from inference_autotuner.optimizer.failures import PYTHON_ENGINES, Signature
from inference_autotuner.optimizer.flags import Args, Boolean, Flag, alike, pairs, words

_ON = Flag("bool", True, boolean=Boolean.NEGATABLE)
_COUNT = Flag("int", minimum=1)
_LAYERS = Flag("int", words={"auto": -1, "all": -2}, minimum=0)
_CACHE_TYPES = "f32 f16 bf16 q8_0 q4_0 q4_1 iq4_nl q5_0 q5_1"

_FLAGS = {
    # Processor
    "threads": _COUNT,
    "threads-batch": _COUNT,
    "threads-http": _COUNT,
    "poll": Flag("int", 50, minimum=0, maximum=100),
    "prio": Flag("int", 0, minimum=-1, maximum=3),
    "numa": words("distribute isolate numactl"),
    # Batching and context
    "parallel": Flag("int", minimum=1, maximum=256),
    "ctx-size": Flag("int", 0, minimum=0),
    "batch-size": Flag("int", 2048, minimum=1),
    "ubatch-size": Flag("int", 512, minimum=1),
    "flash-attn": Flag("str", "auto", ("on", "off", "auto"), boolean=Boolean.WORD),
    "kv-unified": Flag("bool", boolean=Boolean.NEGATABLE),
    "kv-unified-per-slot": _COUNT,
    **alike("cont-batching repack kv-offload op-offload warmup slots ui jinja", _ON),
    **alike("context-shift perf ui-mcp-proxy", Flag("bool", False, boolean=Boolean.NEGATABLE)),
    **alike(
        "cache-idle-slots mmproj-auto mmproj-offload cors-credentials models-autoload agent escape "
        "reasoning-preserve skip-chat-parsing prefill-assistant spec-draft-backend-sampling "
        "log-jsonl log-prefix log-timestamps",
        Flag("bool", boolean=Boolean.NEGATABLE),
    ),
    # Caches
    "cache-type-k": words(_CACHE_TYPES, "f16", is_lossy=True),
    "cache-type-v": words(_CACHE_TYPES, "f16", is_lossy=True),
    "cache-prompt": Flag("bool", True, boolean=Boolean.NEGATABLE, needs_shared_prefix=True),
    "cache-ram": Flag("int", 8192, minimum=-1, needs_shared_prefix=True),
    "cache-reuse": Flag("int", 0, minimum=0, needs_shared_prefix=True),
    "slot-prompt-similarity": Flag("float", 0.1, minimum=0, maximum=1, needs_shared_prefix=True),
    "swa-full": Flag("bool", False),
    # Loading and devices
    "load-mode": words("auto none mmap mlock mmap+mlock dio", "auto"),
    "lazy-mode": Flag("str", "auto", ("on", "off", "auto"), boolean=Boolean.WORD),
    "gpu-layers": _LAYERS,
    "split-mode": words("none layer row tensor", "layer"),
    "tensor-split": Flag("float", is_list=True, repeats_value=False, minimum=0),
    "main-gpu": Flag("int", 0, minimum=0),
    "device": Flag("str", is_list=True, repeats_value=False),
    "fit": Flag("str", "on", ("on", "off"), boolean=Boolean.WORD),
    "n-cpu-moe": Flag("int", minimum=0),
    "n-cpu-ffn": Flag("int", minimum=0),
    **alike("cpu-moe no-host metrics props check-tensors offline", Flag("bool", False)),
    # Speculation
    "spec-type": Flag("str", "none", is_list=True, repeats_value=False),
    "spec-draft-model": Flag("str"),
    "spec-draft-n-max": Flag("int", 3, minimum=0),
    "spec-draft-n-min": Flag("int", 0, minimum=0),
    "spec-draft-p-min": Flag("float", 0.0, minimum=0, maximum=1),
    "spec-draft-p-split": Flag("float", 0.1, minimum=0, maximum=1),
    "spec-draft-ngl": _LAYERS,
    # Sampling
    "temp": Flag("float", 0.8, is_lossy=True, minimum=0),
    "seed": Flag("int", -1, minimum=-1),
    "chat-template-kwargs": Flag("json"),
}

_FAMILIES = """
adaptive- control-vector cors- cpu- dry- dynatemp- grammar image- json-schema log- lookup-cache-
lora mcp-servers- mirostat mmproj models- reasoning rope- sampl spec- tools ui- video- xtc- yarn-
"""
_OTHERS = """
backend-sampling chat-template chat-template-file checkpoint-min-step ctx-checkpoints
embd-normalize embedding fit-ctx fit-target frequency-penalty hf-repo-draft ignore-eos keep
logit-bias media-path min-p moe-cache-mib mtmd-batch-max-tokens n-cpu-moe-draft override-kv
override-tensor override-tensor-draft path poll-batch poll-batch-draft poll-draft pooling predict
presence-penalty prio-batch prio-batch-draft prio-draft repeat-last-n repeat-penalty rerank
reuse-port reverse-prompt rpc sleep-idle-seconds slot-save-path special spm-infill
sse-ping-interval tags timeout top-k top-n-sigma top-nsigma top-p typical typical-p verbose
verbosity webui-config webui-config-file webui-mcp-proxy
"""

_ALIASES = """
t=threads tb=threads-batch np=parallel c=ctx-size b=batch-size ub=ubatch-size fa=flash-attn
kvu=kv-unified cb=cont-batching ctk=cache-type-k ctv=cache-type-v cram=cache-ram lm=load-mode
lzm=lazy-mode ngl=gpu-layers n-gpu-layers=gpu-layers sm=split-mode ts=tensor-split mg=main-gpu
dev=device ot=override-tensor cmoe=cpu-moe ncmoe=n-cpu-moe ncffn=n-cpu-ffn kvo=kv-offload m=model
a=alias mu=model-url hf=hf-repo hfr=hf-repo hff=hf-file hft=hf-token dr=docker-repo s=seed
temperature=temp n-predict=predict n=predict webui=ui embeddings=embedding reranking=rerank
sps=slot-prompt-similarity md=spec-draft-model model-draft=spec-draft-model ngld=spec-draft-ngl
gpu-layers-draft=spec-draft-ngl n-gpu-layers-draft=spec-draft-ngl draft-p-min=spec-draft-p-min
draft-p-split=spec-draft-p-split cache-type-k-draft=spec-draft-type-k ctkd=spec-draft-type-k
cache-type-v-draft=spec-draft-type-v ctvd=spec-draft-type-v device-draft=spec-draft-device
threads-draft=spec-draft-threads threads-batch-draft=spec-draft-threads-batch to=timeout
swa-checkpoints=ctx-checkpoints ctxcp=ctx-checkpoints cms=checkpoint-min-step sp=special
fitc=fit-ctx mm=mmproj lv=verbosity log-verbosity=verbosity v=verbose log-verbose=verbose
"""

_RESERVED = {
    "model": "spec.model.name",
    "alias": "spec.model.servedName",
    **dict.fromkeys(("model-url", "hf-repo", "hf-file", "docker-repo"), "spec.model.name"),
    **dict.fromkeys(("host", "port", "api-prefix"), "nothing: the tuner chooses it"),
    **dict.fromkeys(("api-key", "api-key-file"), "nothing: a trial's server takes no key"),
    **dict.fromkeys(
        ("ssl-key-file", "ssl-cert-file"), "nothing: a trial's server speaks plain HTTP"
    ),
    "hf-token": "HF_TOKEN as a secret of the environment",
}

_REMOVED = {
    **dict.fromkeys(("draft", "draft-n", "draft-max"), "spec-draft-n-max"),
    **dict.fromkeys(("draft-min", "draft-n-min"), "spec-draft-n-min"),
    "spec-ngram-size-n": "spec-ngram-simple-size-n, or that of another method",
    "spec-ngram-size-m": "spec-ngram-simple-size-m, or that of another method",
    "spec-ngram-min-hits": "spec-ngram-simple-min-hits, or that of another method",
    "mmap": "load-mode: mmap",
    "no-mmap": "load-mode: none",
    "mlock": "load-mode: mlock",
    "direct-io": "load-mode: dio",
    "nocb": "cont-batching: false",
    "no-kvu": "kv-unified: false",
    "nr": "repack: false",
    "nkvo": "kv-offload: false",
}

_RULES = (
    Rule(
        'params["flash-attn"] != "off" || params["cache-type-v"] in ["f32", "f16", "bf16"]',
        "a quantized cache-type-v needs flash-attn",
    ),
    Rule(
        'params["flash-attn"] != "off" || params["split-mode"] != "tensor"',
        "split-mode tensor needs flash-attn",
    ),
)

# A slot gets its share, padded to 256 tokens; a unified cache, or slots that were not counted
# out, let any slot use everything.
_ROOM = (
    'params["ctx-size"] == 0 || (params["ctx-size"] / ('
    '!("parallel" in params) || ("kv-unified" in params && params["kv-unified"]) '
    '? 1 : params["parallel"]) + 255) / 256 * 256 >= {tokens}'
)

_REFUSED = "llama.cpp refuses this combination"
_SIGNATURES = (
    Signature(
        r"error: invalid argument.*|error while handling .*|error: expected value for .*",
        *(Blame.PARAMS, Reason.INVALID_ARGUMENTS),
        "the engine refuses a flag",
    ),
    Signature(
        r"No module named 'xllamacpp'",
        *(Blame.TASK, Reason.ENGINE_NOT_FOUND),
        "neither llama-server nor xllamacpp is installed",
    ),
    Signature(
        r"couldn't bind HTTP server socket.*",
        *(Blame.WORLD, Reason.PORT_IN_USE),
        "the port is taken",
    ),
    Signature(
        r"failed to open GGUF file.*|invalid magic characters.*|model is corrupted or incomplete"
        r"|unknown model architecture.*",
        *(Blame.TASK, Reason.MODEL_NOT_FOUND),
        "the model cannot be read",
    ),
    Signature(
        r"insufficient memory \(.*|cudaMalloc failed: out of memory"
        r"|(?:failed|unable) to allocate (?!memory for prompt cache).*",
        *(Blame.PARAMS, Reason.OUT_OF_MEMORY),
        "out of memory",
    ),
    Signature(
        r"n_seq_max must be.*|requires flash_attn.*|block size \d+ does not divide.*",
        *(Blame.PARAMS, Reason.INVALID_ARGUMENTS),
        _REFUSED,
    ),
    Signature(
        r"GGML_ASSERT\(.*",
        *(Blame.PARAMS, Reason.CRASHED),
        "an assertion of llama.cpp failed",
    ),
    *PYTHON_ENGINES,
    Signature(
        r"failed to create context with model.*",
        *(Blame.PARAMS, Reason.INVALID_ARGUMENTS),
        _REFUSED,
    ),
    Signature(
        r"failed to load model.*", Blame.TASK, Reason.MODEL_NOT_FOUND, "the model cannot be read"
    ),
    Signature(r"^E \w.*", Blame.PARAMS, Reason.CRASHED, "the engine reported an error"),
)

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


def _command_line(launch: Launch) -> tuple[str, ...]:
    named = ("--alias", launch.served_name) if launch.served_name else ()
    address = ("--host", launch.host, "--port", str(launch.port))
    source = "--hf-repo" if _is_hub_id(launch.model) else "--model"
    return (source, launch.model, *named, *address, *ENGINE.render(launch.args))


def _is_hub_id(model: str) -> bool:
    return bool(_HUB_ID.fullmatch(model)) and not model.endswith(".gguf")


def _served_name(launch: Launch) -> str:
    """Any name is answered; the file's own reads best in a report."""
    return launch.served_name or launch.model.rsplit("/", 1)[-1]


def _gpus(args: Args) -> int:
    """No GPU unless layers are put on one by name: a build for processors is the common case."""
    known = ENGINE.with_defaults(args)
    if known.get("gpu-layers", 0) == 0 or known.get("device") == "none":
        return 0
    if known["split-mode"] == "none":
        return 1
    shares = known.get("tensor-split") or known.get("device") or []
    return max(1, len(shares.split(",") if isinstance(shares, str) else shares))


def _effective(args: Args) -> Args:
    """What llama.cpp makes of the args: it clamps some, and ignores some."""
    idle: set[str] = set()
    if args.get("threads-batch") == args.get("threads"):
        idle.add("threads-batch")
    if not args["cache-prompt"]:
        idle |= {"cache-reuse", "slot-prompt-similarity"}
    if args["spec-type"] == "none" and "spec-draft-model" not in args:
        idle |= {name for name in args if name.startswith("spec-draft-")}
    kept = {name: value for name, value in args.items() if name not in idle}
    return {**kept, "ubatch-size": min(args["ubatch-size"], args["batch-size"])}


ENGINE = Engine(
    name="llamacpp",
    title="llama.cpp",
    version="b11549",
    flags=_FLAGS,
    others=frozenset(_OTHERS.split()),
    families=tuple(_FAMILIES.split()),
    aliases=pairs(_ALIASES),
    reserved=_RESERVED,
    removed=_REMOVED,
    deprecated={"defrag-thold": "nothing: it has no effect"},
    rules=_RULES,
    room=_ROOM,
    command_line=_command_line,
    served_name=_served_name,
    gpus=_gpus,
    effective=_effective,
    signatures=_SIGNATURES,
    ready_line=r"server is listening on|init: listening on|main: model loaded|init: model loaded",
    programs=(("llama-server",),),
    fallback_module="inference_autotuner.workflows.llamacpp_server",
    container_command=("/app/llama-server",),
    image_pattern="ghcr.io/ggml-org/llama.cpp:server-b{version}",
    api_backend="vllm",
    config_path="/props",
    config_values={
        "parallel": "total_slots",
        "slot-ctx-size": "default_generation_settings.n_ctx",
        "model-type": "model_ftype",
        "build": "build_info",
    },
    log_values={
        "threads": r"n_threads = (\d+)",
        "kv-unified": r"kv_unified = '(\w+)'",
    },
    search_space={
        "threads": [1, 2, 4],
        "parallel": [1, 2, 4, 8],
        "batch-size": [256, 512, 2048],
        "ubatch-size": [64, 128, 256, 512],
        "flash-attn": ["on", "off"],
        "repack": [True, False],
    },
)
