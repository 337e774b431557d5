"""The first autotuner's four words of quantization as flags of an engine."""

import itertools
from collections.abc import Mapping
from typing import Any

from inference_autotuner.optimizer.legacy_notes import Notes

Words = Mapping[str, str]

_FIELDS = ("gemm_dtype", "kvcache_dtype", "attention_dtype", "moe_dtype")
_PRESETS = {
    "default": ("auto", "auto", "auto", "auto"),
    "kv-cache-fp8": ("auto", "fp8_e5m2", "auto", "auto"),
    "dynamic-fp8": ("fp8", "fp8_e5m2", "fp8", "fp8"),
    "bf16-stable": ("bfloat16", "fp8_e5m2", "auto", "auto"),
    "aggressive-moe": ("bfloat16", "fp8_e5m2", "fp8", "w4afp8"),
}
_LONGEST = 8
_FLOATS = ("float16", "bfloat16", "float32")
_AUTO = {"kv-cache-dtype": "auto", "dtype": "auto"}
"""Flags with a word for "not set", so that a list of values can hold it."""


def quantization_flags(notes: Notes, given: Mapping[str, Any], engine: str) -> dict[str, list[str]]:
    """Each flag with the values it takes over all alternatives, one for most.

    A flag that only some alternatives set, and that has no word for "not set", is left out with a
    warning.
    """
    choices = _alternatives(notes, given)
    lines = [_flags(words, engine) for words in choices]
    names = sorted({name for line in lines for name in line})
    found: dict[str, list[str]] = {}
    for name in names:
        values = [line.get(name, _AUTO.get(name)) for line in lines]
        if None in values:
            notes.warn(
                "quant_config",
                f"{name} is left out: only some alternatives set it, which a list of values "
                "cannot say; write a task for each",
            )
            continue
        distinct = list(dict.fromkeys(str(value) for value in values))
        if distinct != [_AUTO.get(name)]:
            found[name] = distinct
    return found


def _alternatives(notes: Notes, given: Mapping[str, Any]) -> list[Words]:
    names = given.get("presets", given.get("preset"))
    if names is None:
        lists = [_as_list(given.get(field, "auto")) for field in _FIELDS]
        return [dict(zip(_FIELDS, words, strict=True)) for words in itertools.product(*lists)]
    field = "presets" if "presets" in given else "preset"
    known = [notes.choose(f"quant_config.{field}", n, _PRESETS) for n in _as_list(names)]
    return [dict(zip(_FIELDS, words, strict=True)) for words in known]


def _as_list(value: Any) -> list[str]:
    return [str(item) for item in (value[:_LONGEST] if isinstance(value, list) else [value])]


def _flags(words: Words, engine: str) -> dict[str, str]:
    return _vllm(words) if engine == "vllm" else _sglang(words)


def _vllm(words: Words) -> dict[str, str]:
    flags = {}
    if words["gemm_dtype"] in ("fp8", "int8"):
        flags["quantization"] = words["gemm_dtype"]
    elif words["gemm_dtype"] in _FLOATS:
        flags["dtype"] = words["gemm_dtype"]
    if words["kvcache_dtype"] != "auto":
        flags["kv-cache-dtype"] = words["kvcache_dtype"]
    return flags


def _sglang(words: Words) -> dict[str, str]:
    flags = {}
    if words["moe_dtype"] in ("w4afp8", "mxfp4"):
        flags = {"quantization": words["moe_dtype"], "moe-runner-backend": "flashinfer_mxfp4"}
    elif words["gemm_dtype"] == "fp8":
        flags["quantization"] = "fp8"
    elif words["gemm_dtype"] in _FLOATS:
        flags["dtype"] = words["gemm_dtype"]
    if words["moe_dtype"] == "fp8" and "quantization" not in flags:
        flags["moe-runner-backend"] = "flashinfer_cutlass"
    if words["kvcache_dtype"].startswith("fp8"):
        # A plain fp8 was SGLang's first kind of it.
        exact = words["kvcache_dtype"] != "fp8"
        flags["kv-cache-dtype"] = words["kvcache_dtype"] if exact else "fp8_e5m2"
    if words["attention_dtype"].startswith("fp8"):
        flags["attention-backend"] = "flashinfer"
    return flags
