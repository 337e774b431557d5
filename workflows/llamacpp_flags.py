"""llama.cpp's own flag names, as fields of xllamacpp's CommonParams.

A table and a reader for it: nothing is started here and xllamacpp is not imported, so that the
same names can be compared with the engine's catalog. Names, short forms and refusals follow
llama-server's --help of the build that xllamacpp wraps.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Parse = Callable[[str], Any]


@dataclass(frozen=True)
class Option:
    """One spelling of a flag.

    Attributes:
        field: Dotted path below CommonParams.
        parse: The value's text to what the field takes; None for a flag without a value.
        value: What a flag without a value sets.
    """

    field: str
    parse: Parse | None = None
    value: Any = None


class ArgumentError(Exception):
    """An argument that llama-server refuses too; the text is what it prints."""


def read_arguments(arguments: Sequence[str]) -> list[tuple[str, Any]]:
    """Fields and their values, in the order given: the last one wins, as in llama-server.

    Raises:
        ArgumentError: An unknown flag, a missing value, or one that is not allowed.

    >>> read_arguments(["--threads", "2", "--no-mmap"])
    [('cpuparams.n_threads', 2), ('load_mode', 'NONE')]
    """
    rest = iter(arguments)
    return [_read_one(name, rest) for name in rest]


def _read_one(written: str, rest: Iterator[str]) -> tuple[str, Any]:
    name = written.replace("_", "-") if written.startswith("--") else written
    option = OPTIONS.get(name)
    if option is None:
        raise ArgumentError(f"error: invalid argument: {written}")
    if option.parse is None:
        return option.field, option.value
    text = next(rest, None)
    if text is None:
        raise ArgumentError(f"error: expected value for argument {written}")
    try:
        return option.field, option.parse(text)
    except (ValueError, OSError) as error:
        raise ArgumentError(f'error while handling argument "{written}": {error}') from error


def _words(table: Mapping[str, Any]) -> Parse:
    def parse(text: str) -> Any:
        if text not in table:
            raise ValueError(f"'{text}' is not one of {', '.join(table)}")
        return table[text]

    return parse


def _whole(minimum: int | None = None, maximum: int | None = None) -> Parse:
    def parse(text: str) -> int:
        value = _integer(text)
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            raise ValueError(f"{value} is outside {minimum} to {maximum}")
        return value

    return parse


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"'{text}' is no whole number") from None


def _threads(text: str) -> int:
    """llama-server takes every core for zero and less; xllamacpp aborts on zero."""
    count = _integer(text)
    return count if count > 0 else os.cpu_count() or 1


def _slots(text: str) -> int:
    """llama-server refuses zero; xllamacpp starts and hangs every request."""
    slots = _integer(text)
    if slots == 0:
        raise ValueError("error: invalid value for n_parallel")
    return slots


def _layers(text: str) -> int:
    return {"auto": -1, "all": -2}[text] if text in ("auto", "all") else _integer(text)


def _list(parse: Parse) -> Parse:
    return lambda text: [parse(part) for part in text.split(",") if part]


def _names(text: str) -> set[str]:
    return {part.strip() for part in text.split(",") if part.strip()}


def _file(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _template_values(text: str) -> dict[str, str]:
    """Each value stays JSON, which is how CommonParams keeps them."""
    return {name: json.dumps(value) for name, value in dict(json.loads(text)).items()}


_INT = _whole()
_YES = ("on", "enabled", "true", "1")
_NO = ("off", "disabled", "false", "0")
_ON_OFF = {word: True for word in _YES} | {word: False for word in _NO}
_FLASH = {**{w: "ENABLED" for w in _YES}, **{w: "DISABLED" for w in _NO}, "auto": "AUTO"}
_KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
_LOAD = {
    "auto": "AUTO",
    "none": "NONE",
    "mmap": "MMAP",
    "mlock": "MLOCK",
    "mmap+mlock": "MMAP_MLOCK",
    "dio": "DIRECT_IO",
}
_SPECULATIVE = (
    *("none", "draft-simple", "draft-eagle3", "draft-mtp", "draft-dflash", "draft-dspark"),
    *("ngram-simple", "ngram-map-k", "ngram-map-k4v", "ngram-mod", "ngram-cache"),
)


def _upper(*words: str) -> Parse:
    """Words that name a member of a llama.cpp enumeration, whose prefix the launcher adds."""
    return _words({word: word.upper().replace("-", "_") for word in words})


_VALUES: tuple[tuple[str, str, Parse], ...] = (
    # Model
    ("-m --model", "model.path", str),
    ("-a --alias", "model_alias", _names),
    ("--chat-template", "chat_template", str),
    ("--chat-template-file", "chat_template", _file),
    ("--chat-template-kwargs", "default_template_kwargs", _template_values),
    (
        "--reasoning-format",
        "reasoning_format",
        _upper("none", "auto", "deepseek-legacy", "deepseek"),
    ),
    ("-mm --mmproj", "mmproj.path", str),
    ("-ot --override-tensor", "tensor_buft_overrides", str),
    # Where it listens
    ("--host", "hostnames", _list(str)),
    ("--port", "port", _whole(0, 65535)),
    ("--path", "public_path", str),
    ("--api-prefix", "api_prefix", str),
    ("--api-key", "api_keys", _list(str)),
    ("--ssl-key-file", "ssl_file_key", str),
    ("--ssl-cert-file", "ssl_file_cert", str),
    ("-to --timeout", "timeout_read", _INT),
    ("--threads-http", "n_threads_http", _INT),
    # Processor
    ("-t --threads", "cpuparams.n_threads", _threads),
    ("-tb --threads-batch", "cpuparams_batch.n_threads", _threads),
    ("--poll", "cpuparams.poll", _whole(0, 100)),
    ("--poll-batch", "cpuparams_batch.poll", _whole(0, 100)),
    (
        "--prio",
        "cpuparams.priority",
        _words(
            dict(
                zip(
                    ("-1", "0", "1", "2", "3"),
                    ("LOW", "NORMAL", "MEDIUM", "HIGH", "REALTIME"),
                    strict=True,
                )
            )
        ),
    ),
    ("--numa", "numa", _upper("distribute", "isolate", "numactl")),
    # Batching and context
    ("-np --parallel", "n_parallel", _slots),
    ("-c --ctx-size", "n_ctx", _INT),
    ("-b --batch-size", "n_batch", _INT),
    ("-ub --ubatch-size", "n_ubatch", _INT),
    ("-n --predict --n-predict", "n_predict", _INT),
    ("--keep", "n_keep", _INT),
    ("-fa --flash-attn", "flash_attn_type", _words(_FLASH)),
    ("--kv-unified-per-slot", "kv_unified_per_slot", _whole(0)),
    ("-ctxcp --ctx-checkpoints --swa-checkpoints", "n_ctx_checkpoints", _INT),
    ("-cms --checkpoint-min-step", "checkpoint_min_step", _whole(0)),
    # Caches
    ("-ctk --cache-type-k", "cache_type_k", _upper(*_KV_TYPES)),
    ("-ctv --cache-type-v", "cache_type_v", _upper(*_KV_TYPES)),
    ("-cram --cache-ram", "cache_ram_mib", _INT),
    ("--cache-reuse", "n_cache_reuse", _INT),
    ("-sps --slot-prompt-similarity", "slot_prompt_similarity", float),
    ("--slot-save-path", "slot_save_path", str),
    ("--sleep-idle-seconds", "sleep_idle_seconds", _INT),
    # Loading and devices
    ("-lm --load-mode", "load_mode", _words(_LOAD)),
    ("-lzm --lazy-mode", "lazy_mode", _upper("on", "auto", "off")),
    ("-ngl --gpu-layers --n-gpu-layers", "n_gpu_layers", _layers),
    ("-sm --split-mode", "split_mode", _upper("none", "layer", "row", "tensor")),
    ("-ts --tensor-split", "tensor_split", _list(float)),
    ("-mg --main-gpu", "main_gpu", _INT),
    ("--moe-cache-mib", "moe_cache_size", _whole(0)),
    ("-fit --fit", "fit_params", _words(_ON_OFF)),
    ("-fitc --fit-ctx", "fit_params_min_ctx", _whole(0)),
    # Position encoding
    ("--rope-scaling", "rope_scaling_type", _upper("none", "linear", "yarn")),
    ("--rope-freq-base", "rope_freq_base", float),
    ("--rope-freq-scale", "rope_freq_scale", float),
    ("--yarn-orig-ctx", "yarn_orig_ctx", _INT),
    ("--yarn-ext-factor", "yarn_ext_factor", float),
    ("--yarn-attn-factor", "yarn_attn_factor", float),
    ("--yarn-beta-slow", "yarn_beta_slow", float),
    ("--yarn-beta-fast", "yarn_beta_fast", float),
    # Speculation
    ("--spec-type", "speculative.types", _list(_upper(*_SPECULATIVE))),
    ("-md --model-draft --spec-draft-model", "speculative.draft.mparams.path", str),
    ("--spec-draft-n-max", "speculative.draft.n_max", _whole(0)),
    ("--spec-draft-n-min", "speculative.draft.n_min", _whole(0)),
    ("--spec-draft-p-min", "speculative.draft.p_min", float),
    ("--spec-draft-p-split", "speculative.draft.p_split", float),
    ("-ngld --spec-draft-ngl", "speculative.draft.n_gpu_layers", _layers),
    ("-ctkd --spec-draft-type-k", "speculative.draft.cache_type_k", _upper(*_KV_TYPES)),
    ("-ctvd --spec-draft-type-v", "speculative.draft.cache_type_v", _upper(*_KV_TYPES)),
    # Sampling defaults of requests that name none
    ("-s --seed", "sampling.seed", lambda text: int(text) & 0xFFFFFFFF),
    ("--temp --temperature", "sampling.temp", float),
    ("--top-k", "sampling.top_k", _INT),
    ("--top-p", "sampling.top_p", float),
    ("--min-p", "sampling.min_p", float),
    ("--repeat-penalty", "sampling.penalty_repeat", float),
    ("--presence-penalty", "sampling.penalty_present", float),
    ("--frequency-penalty", "sampling.penalty_freq", float),
    # Log
    ("-lv --verbosity --log-verbosity", "verbosity", _INT),
)

_SWITCHES: tuple[tuple[str, str, Any], ...] = (
    ("-cb --cont-batching", "cont_batching", True),
    ("-nocb --no-cont-batching", "cont_batching", False),
    ("-kvu --kv-unified", "kv_unified", True),
    ("-no-kvu --no-kv-unified", "kv_unified", False),
    ("--context-shift", "ctx_shift", True),
    ("--no-context-shift", "ctx_shift", False),
    ("--cache-prompt", "cache_prompt", True),
    ("--no-cache-prompt", "cache_prompt", False),
    ("--cache-idle-slots", "cache_idle_slots", True),
    ("--no-cache-idle-slots", "cache_idle_slots", False),
    ("--warmup", "warmup", True),
    ("--no-warmup", "warmup", False),
    ("--swa-full", "swa_full", True),
    ("--repack", "no_extra_bufts", False),
    ("-nr --no-repack", "no_extra_bufts", True),
    ("--no-host", "no_host", True),
    ("-kvo --kv-offload", "no_kv_offload", False),
    ("-nkvo --no-kv-offload", "no_kv_offload", True),
    ("--op-offload", "no_op_offload", False),
    ("--no-op-offload", "no_op_offload", True),
    ("--mmproj-offload", "mmproj_use_gpu", True),
    ("--no-mmproj-offload", "mmproj_use_gpu", False),
    ("--mlock", "load_mode", "MLOCK"),
    ("--mmap", "load_mode", "MMAP"),
    ("--no-mmap", "load_mode", "NONE"),
    ("-dio --direct-io", "load_mode", "DIRECT_IO"),
    ("-ndio --no-direct-io", "load_mode", "NONE"),
    ("--check-tensors", "check_tensors", True),
    ("--perf", "no_perf", False),
    ("--no-perf", "no_perf", True),
    ("--metrics", "endpoint_metrics", True),
    ("--props", "endpoint_props", True),
    ("--slots", "endpoint_slots", True),
    ("--no-slots", "endpoint_slots", False),
    ("--ui --webui", "ui", True),
    ("--no-ui --no-webui", "ui", False),
    ("--jinja", "use_jinja", True),
    ("--no-jinja", "use_jinja", False),
    ("-sp --special", "special", True),
    ("--embedding --embeddings", "embedding", True),
    ("--reuse-port", "reuse_port", True),
    ("--offline", "offline", True),
    ("-v --verbose --log-verbose", "verbosity", 2**31 - 1),
)

OPTIONS: Mapping[str, Option] = {
    name: Option(field, parse) for names, field, parse in _VALUES for name in names.split()
} | {
    name: Option(field, value=value) for names, field, value in _SWITCHES for name in names.split()
}
