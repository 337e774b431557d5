"""The flags of a flat task: parameters in all their forms, parallelism, quantization."""

from collections.abc import Mapping
from typing import Any

from inference_autotuner.optimizer.engine import get_engine
from inference_autotuner.optimizer.legacy_notes import Notes
from inference_autotuner.optimizer.legacy_quantization import quantization_flags

Raw = Mapping[str, Any]

# Each engine's word for a flag that people took from the other one.
_TRANSLATED = {
    "sglang": {"max-num-seqs": "max-running-requests"},
    "vllm": {
        "max-running-requests": "max-num-seqs",
        "tp-size": "tensor-parallel-size",
        "pp-size": "pipeline-parallel-size",
        "dp-size": "data-parallel-size",
    },
}
_SHORT_NAMES = {"mem-frac": "mem-fraction-static", "tpsize": "tp-size"}
_PARALLELISM = {
    "sglang": {
        "tp": "tp-size",
        "pp": "pp-size",
        "dp": "dp-size",
        "moe_dense_tp": "moe-dense-tp-size",
    },
    "vllm": {
        "tp": "tensor-parallel-size",
        "pp": "pipeline-parallel-size",
        "dp": "data-parallel-size",
        "dcp": "decode-context-parallel-size",
        "enable_expert_parallel": "enable-expert-parallel",
    },
}
_RANGES = ("integer", "continuous")
_CHOICES = ("choice", "categorical")
_MOST_STEPS = 20
_FEW = 100


def put_flags(notes: Notes, raw: Raw, engine: str | None) -> None:
    """Puts `spec.parameters` and `spec.engine.args`."""
    engine = engine or "sglang"
    parameters = raw.get("parameters")
    if not isinstance(parameters, dict):
        notes.mistake("parameters", "must be a mapping of flags to lists of values")
        return
    notes.put("spec.parameters", {}, "parameters")
    taken: dict[str, str] = {}
    for name, values in parameters.items():
        flag = _flag(notes, engine, str(name))
        if flag in taken:
            notes.mistake(f"parameters.{name}", f"is the same flag as {taken[flag]}; keep one")
            continue
        taken[flag] = name
        _put_parameter(notes, flag, values, f"parameters.{name}")
    _put_parallelism(notes, raw, engine)
    _put_quantization(notes, raw, engine)


def _flag(notes: Notes, engine: str, name: str) -> str:
    """The catalog's name of a flag."""
    known = get_engine(engine)
    dashed = name.strip("-").replace("_", "-")
    dashed = _SHORT_NAMES.get(dashed, dashed)
    if dashed in _TRANSLATED[engine]:
        translated = _TRANSLATED[engine][dashed]
        notes.warn(f"parameters.{name}", f"is {translated} in {known.title}")
        return translated
    return known.canonical(dashed)


def _put_parameter(notes: Notes, flag: str, given: Any, old: str) -> None:
    if isinstance(given, dict):
        given, old = _from_mapping(notes, given, old)
    if given == []:
        notes.warn(old, "is left out: the list of values is empty")
    else:
        notes.task["spec"]["parameters"][flag] = given
        notes.origin(f"spec.parameters.{flag}", old)


def _from_mapping(notes: Notes, given: Raw, old: str) -> tuple[Any, str]:
    """The long form as a list or a range, and where its values stand.

    After a mistake it is any list, so that the flag is there and nothing else is said about it.
    """
    kind = given.get("type", "choice")
    if kind in _CHOICES:
        field = "values" if "values" in given else "choices"
        notes.check_names(given, f"{old}.", ("type", "values", "choices"))
        return given.get(field, []), f"{old}.{field}"
    if kind not in _RANGES:
        known = ", ".join((*_CHOICES, *_RANGES))
        notes.mistake(f"{old}.type", f"'{kind}' is not known; allowed are {known}")
        return [1], old
    notes.check_names(given, f"{old}.", ("type", "low", "high", "log"))
    if not all(_is_number(given.get(bound)) for bound in ("low", "high")):
        notes.mistake(old, "a range needs low and high, both numbers")
        return [1], old
    return _range(notes, given, old), old


def _range(notes: Notes, given: Raw, old: str) -> dict[str, Any]:
    """A range of steps: the first autotuner drew any number in between."""
    low, high = given["low"], given["high"]
    bounds = {"min": low, "max": high}
    if given.get("log"):
        notes.warn(old, f"is searched in doublings from {low}")
        return {**bounds, "log": True}
    if given["type"] == "integer" and high - low <= _FEW:
        return bounds
    if given["type"] == "continuous":
        notes.warn(old, f"is searched in {_MOST_STEPS} steps")
        return (
            bounds
            if isinstance(low, float) or isinstance(high, float)
            else {
                **bounds,
                "step": max((high - low) / _MOST_STEPS, 1e-9),
            }
        )
    step = 1
    while (high - low) / step > _MOST_STEPS:
        step *= 2
    notes.warn(old, f"is searched in steps of {step}")
    return {**bounds, "step": step}


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < 2**53


def _put_parallelism(notes: Notes, raw: Raw, engine: str) -> None:
    known = _PARALLELISM[engine]
    given = notes.section(raw, "parallel_config", (*known, "preset", "presets"), required=False)
    for name, value in given.items():
        old = f"parallel_config.{name}"
        if name in ("preset", "presets"):
            notes.warn(old, "is left out: presets had no effect; list the sizes as parameters")
        elif name in known and known[name] in notes.task["spec"]["parameters"]:
            notes.warn(old, f"is left out: {known[name]} is among the parameters")
        elif name in known:
            values = value if isinstance(value, list) else [value]
            _put_parameter(notes, known[name], values, old)
            _warn_of_replicas(notes, name, values, engine)


def _warn_of_replicas(notes: Notes, name: str, values: list[Any], engine: str) -> None:
    if engine == "sglang" and name == "dp" and values != [1]:
        notes.warn(
            "parallel_config.dp",
            "dp-size counts replicas in newer SGLang (0.5.23), each with GPUs of its own",
        )


def _put_quantization(notes: Notes, raw: Raw, engine: str) -> None:
    if raw.get("quant_config") is None:
        return
    fields = ("gemm_dtype", "kvcache_dtype", "attention_dtype", "moe_dtype", "preset", "presets")
    given = notes.section(raw, "quant_config", fields)
    flags = quantization_flags(notes, given, engine)
    parameters = notes.task["spec"]["parameters"]
    args = {name: v[0] for name, v in flags.items() if len(v) == 1 and name not in parameters}
    if args:
        notes.put("spec.engine.args", args, "quant_config")
        shown = ", ".join(f"{name}={value}" for name, value in args.items())
        notes.warn("quant_config", f"is written out as {shown}")
    for name, values in flags.items():
        if len(values) > 1 and name not in parameters:
            _put_parameter(notes, name, values, "quant_config")
