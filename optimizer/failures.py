"""What an engine's log means when it does not serve: signatures, and how they are read.

Exit codes come last, for some engines give any code for any end: SGLang ends itself with SIGKILL
after an exception, and as the first process of a container it ends with 0.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from inference_autotuner.optimizer.errors import Blame, Failure, Reason

MESSAGE_LIMIT = 300
_HALF = 400_000  # characters of a huge log's head and tail: causes are early, ends are late
_LINE_LIMIT = 2_000

_TIME_AND_SOURCE = re.compile(
    r"\x1b\[[0-9;]*m"
    r"|^\d{4}-\d\d-\d\dT\S+Z\s"  # a container's log
    r"|^\([\w .-]+ pid=\d+\)\s?"  # vLLM: which process
    r"|^(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\]\s?"
    r"|^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[^\]]*\]\s?"  # SGLang: time and rank
    r"|^\d+(?:\.\d{2,3}){3} (?=[A-Z] )"  # llama.cpp: time since start
)


@dataclass(frozen=True)
class Signature:
    """Something that a log says, and what it means.

    Attributes:
        pattern: A regular expression, `^` and `$` at lines; the message quotes its first group,
            or the whole line where it has none.
        blame: Who is at fault.
        reason: One word of the closed list.
        meaning: What it means, as the beginning of a sentence.
        when: What must also be true of the match, whose `string` is the whole log.
    """

    pattern: str
    blame: Blame
    reason: Reason
    meaning: str
    when: Callable[[re.Match[str]], bool] = lambda match: True


def diagnose(
    signatures: Iterable[Signature], ready_line: str, log: str, exit_code: int | None
) -> Failure:
    """What became of an engine that does not serve.

    Args:
        signatures: The most telling first: the first one that is in the log decides.
        ready_line: A pattern of the line with which it says that it serves.
        log: Everything it wrote.
        exit_code: Negative for a signal; None while it lives.
    """
    text = _plain(log)
    was_ready = re.search(ready_line, text) is not None
    found = next((f for s in signatures if (f := _found(s, text))), None)
    failure = found or _by_exit_code(text, exit_code, was_ready)
    if was_ready and failure.reason is Reason.CRASHED:
        return Failure(failure.blame, Reason.CRASHED_UNDER_LOAD, failure.message)
    return failure


def _plain(log: str) -> str:
    """The log without colors, times and process names, so that lines begin with what they say."""
    if len(log) > 2 * _HALF:
        log = log[:_HALF] + "\n" + log[-_HALF:]
    return "\n".join(_plain_line(line) for line in log.splitlines())


def _plain_line(line: str) -> str:
    before = None
    while before != line:
        before, line = line, _TIME_AND_SOURCE.sub("", line[:_LINE_LIMIT])
    return line


def _found(signature: Signature, text: str) -> Failure | None:
    for match in re.finditer(signature.pattern, text, re.M):
        if signature.when(match):
            line = match[1] if match.re.groups and match[1] else _line_around(match)
            message = _sentence(signature.meaning, line)
            return Failure(signature.blame, signature.reason, message)
    return None


def _line_around(match: re.Match[str]) -> str:
    start = match.string.rfind("\n", 0, match.start()) + 1
    end = match.string.find("\n", match.start())
    return match.string[start : None if end < 0 else end]


def _sentence(meaning: str, line: str) -> str:
    whole = f"{meaning}: {' '.join(line.split())}" if line.strip() else meaning
    return whole if len(whole) <= MESSAGE_LIMIT else whole[: MESSAGE_LIMIT - 1] + "…"


def _by_exit_code(text: str, exit_code: int | None, was_ready: bool) -> Failure:
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "it wrote nothing")
    if exit_code is None:
        meaning = "it said that it was ready" if was_ready else "it lives"
        blame, reason = Blame.PARAMS, Reason.NEVER_READY
        return Failure(blame, reason, _sentence(f"{meaning} but completed no request", last))
    for codes, blame, reason, meaning in _CODES:
        if exit_code in codes:
            return Failure(blame, reason, _sentence(meaning, last))
    return Failure(
        Blame.PARAMS, Reason.CRASHED, _sentence(f"it ended with exit code {exit_code}", last)
    )


_CODES = (
    ((2,), Blame.PARAMS, Reason.INVALID_ARGUMENTS, "it refused its arguments (exit code 2)"),
    ((127,), Blame.TASK, Reason.ENGINE_NOT_FOUND, "there is no such program (exit code 127)"),
    (
        (-9, 137),
        Blame.WORLD,
        Reason.HOST_OUT_OF_MEMORY,
        "the system killed it, most likely because the machine ran out of memory",
    ),
    ((-15, 143), Blame.WORLD, Reason.INTERRUPTED, "somebody else stopped it (SIGTERM)"),
    ((-6, 134), Blame.PARAMS, Reason.CRASHED, "it aborted"),
)


def _is_loading(match: re.Match[str]) -> bool:
    before = match.string[: match.start()]
    return (
        "Load weight begin" in before and "Load weight end" not in before  # SGLang
    ) or ("Starting to load model" in before and "Model loading took" not in before)  # vLLM


_GPU_MEMORY = r"(?:CUDA|HIP) out of memory|OutOfMemoryError|CUDA error: out of memory"

PYTHON_ENGINES = (
    Signature(
        r"(?i)No space left on device|\[Errno 28\]|Disk quota exceeded",
        Blame.WORLD,
        Reason.DISK_FULL,
        "the disk is full",
    ),
    Signature(
        # vLLM says so as well when it simply tries the next of its inner ports.
        r"(?i)address already in use(?!\. Retrying)|port\w* at \d+ is not available",
        Blame.WORLD,
        Reason.PORT_IN_USE,
        "the port is taken",
    ),
    Signature(
        r"error: (?:unrecognized arguments|ambiguous option|argument )",
        Blame.PARAMS,
        Reason.INVALID_ARGUMENTS,
        "the engine refuses a flag",
    ),
    Signature(
        r"No module named '?(?:vllm|sglang)\b(?!\.)|error while loading shared libraries",
        Blame.TASK,
        Reason.ENGINE_NOT_FOUND,
        "the engine is not installed",
    ),
    Signature(
        r"No CUDA GPUs are available|no CUDA-capable device is detected"
        r"|Failed to infer device type|CUDA driver version is insufficient",
        Blame.TASK,
        Reason.UNSUPPORTED,
        "the engine finds no GPU that it can use",
    ),
    Signature(
        r"We couldn't connect to|Max retries exceeded with url|LocalEntryNotFoundError",
        Blame.WORLD,
        Reason.NETWORK_FAULT,
        "the model hub does not answer",
    ),
    Signature(
        r"Repo id must be in the form|Invalid repository ID or local directory specified"
        r"|is not a local folder and is not a valid model identifier"
        r"|Can't load (?:tokenizer|the configuration|the model) (?:for|of)"
        r"|does not appear to have a file named|Could not detect config format"
        r"|RepositoryNotFoundError|GatedRepoError|No such file or directory: '[^']*config\.json'",
        Blame.TASK,
        Reason.MODEL_NOT_FOUND,
        "the model cannot be read",
    ),
    Signature(
        r"CUDA-capable device\(s\) is/are busy|RuntimeError: The memory capacity is unbalanced",
        Blame.WORLD,
        Reason.DEVICE_BUSY,
        "something else holds the GPU",
    ),
    Signature(
        r"is larger than the number of available GPUs|invalid device ordinal",
        Blame.PARAMS,
        Reason.UNSUPPORTED,
        "it needs more GPUs than there are",
    ),
    Signature(
        _GPU_MEMORY,
        Blame.PARAMS,
        Reason.OUT_OF_MEMORY,
        "out of GPU memory while loading the weights",
        _is_loading,
    ),
    Signature(_GPU_MEMORY, Blame.PARAMS, Reason.OUT_OF_MEMORY, "out of GPU memory"),
    Signature(
        r"can't allocate memory|Cannot allocate memory|std::bad_alloc|^MemoryError",
        Blame.PARAMS,
        Reason.OUT_OF_MEMORY,
        "out of memory",
    ),
    Signature(
        r"NCCL error|DistBackendError|Watchdog caught collective operation timeout",
        Blame.WORLD,
        Reason.NETWORK_FAULT,
        "GPUs or nodes lost each other",
    ),
)
"""What SGLang and vLLM, PyTorch and Python under both, say alike."""

EXCEPTIONS = (
    Signature(
        r"^[ \t]*(assert .+)\n(?:[ ~^]+\n)?AssertionError *$",
        Blame.PARAMS,
        Reason.CRASHED,
        "the engine raised AssertionError",
    ),
    Signature(
        r"^(?:[\w.]+\.)?(?:ValueError|RuntimeError|AssertionError|NotImplementedError): .*",
        Blame.PARAMS,
        Reason.CRASHED,
        "the engine raised an exception",
    ),
    Signature(
        r"^(?:[\w.]+\.)?\w+(?:Error|Exception): .*",
        Blame.PARAMS,
        Reason.CRASHED,
        "the engine raised an exception",
    ),
)
"""Whatever Python says; the first exception of a log is the cause, the last one its echo."""
