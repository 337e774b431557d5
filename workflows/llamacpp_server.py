"""llama.cpp's server as a program: `python -m inference_autotuner.workflows.llamacpp_server`.

xllamacpp has llama.cpp's server in it but no command line. This one takes llama-server's own
flags and behaves as llama-server does: the same defaults, the cause of a refusal on stderr, exit
code 1. It changes no environment variable: what OpenMP does is the task's business.

Leave SIGTERM alone here. llama.cpp's orderly stop waits for every open request; the default action
ends the process at once, even while the model loads, and gives the port back.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from inference_autotuner.workflows.llamacpp_flags import ArgumentError, read_arguments

DEFAULT_PORT = 8080
AUTO_SLOTS = 4  # llama-server's choice where --parallel is not given
_ENUMERATIONS = {
    "flash_attn_type": ("llama_flash_attn_type", "LLAMA_FLASH_ATTN_TYPE_"),
    "load_mode": ("llama_load_mode", "LLAMA_LOAD_MODE_"),
    "lazy_mode": ("llama_lazy_mode", "LLAMA_LAZY_MODE_"),
    "split_mode": ("llama_split_mode", "LLAMA_SPLIT_MODE_"),
    "rope_scaling_type": ("llama_rope_scaling_type", "LLAMA_ROPE_SCALING_TYPE_"),
    "numa": ("ggml_numa_strategy", "GGML_NUMA_STRATEGY_"),
    "priority": ("ggml_sched_priority", "GGML_SCHED_PRIO_"),
    "reasoning_format": ("common_reasoning_format", "COMMON_REASONING_FORMAT_"),
    "cache_type_k": ("ggml_type", "GGML_TYPE_"),
    "cache_type_v": ("ggml_type", "GGML_TYPE_"),
    "types": ("common_speculative_type", "COMMON_SPECULATIVE_TYPE_"),
}


def main(arguments: Sequence[str]) -> int:
    """Serves until a signal ends the process.

    Returns:
        1 when the arguments or the configuration are refused; it does not return otherwise.
    """
    try:
        _refuse_environment(os.environ)
        fields = read_arguments(arguments)
    except ArgumentError as error:
        return _refuse(str(error))
    return _serve(fields)


def build_params(fields: Sequence[tuple[str, Any]]) -> Any:
    """CommonParams of xllamacpp with llama-server's defaults and these fields."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.port = DEFAULT_PORT
    params.n_parallel = -1
    for field, value in fields:
        _set(xllamacpp, params, field, value)
    if params.n_parallel < 0:
        params.n_parallel, params.kv_unified = AUTO_SLOTS, True
    return params


def _set(xllamacpp: Any, params: Any, field: str, value: Any) -> None:
    *path, name = field.split(".")
    owner = params
    for step in path:
        owner = getattr(owner, step)
    setattr(owner, name, _native(xllamacpp, name, value))
    if field == "n_ctx" and value == 0:
        params.fit_params_min_ctx = -1  # asked for by name: --fit must not make it smaller
    if field == "timeout_read":
        params.timeout_write = value


def _native(xllamacpp: Any, name: str, value: Any) -> Any:
    if name == "tensor_split":
        return value + [0.0] * (len(xllamacpp.CommonParams().tensor_split) - len(value))
    if name not in _ENUMERATIONS:
        return value
    enumeration, prefix = _ENUMERATIONS[name]
    members = getattr(xllamacpp, enumeration)
    if isinstance(value, list):
        return [members[prefix + word] for word in value]
    return members[prefix + value]


def _serve(fields: Sequence[tuple[str, Any]]) -> int:
    params = build_params(fields)
    if not params.model.path:
        return _refuse("error: --model is required")
    if not params.model_alias:
        params.model_alias = {os.path.basename(params.model.path)}
    import xllamacpp

    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:  # its cause is in llama.cpp's own lines above
        return _refuse(f"error: {error}")
    while server.listening_address:
        signal.pause()
    return _refuse("error: the server stopped listening")


def _refuse_environment(environment: Any) -> None:
    """llama-server reads LLAMA_ARG_*; ignoring them would serve something else than asked."""
    names = sorted(name for name in environment if name.startswith("LLAMA_ARG_"))
    if names:
        raise ArgumentError(
            f"error: {', '.join(names)}: this launcher reads no LLAMA_ARG_ variables; "
            "write the flags as engine.args"
        )


def _refuse(message: str) -> int:
    sys.stderr.write(message + "\n")
    return 1


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # llama.cpp's threads may still hold what Python's own exit waits for
