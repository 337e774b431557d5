"""Whole tuning tasks for property tests.

`well_formed_tasks` are any that the models take: any flags, odd texts, all fields. `tuning_tasks`
are such as an engine runs: `check` finds no mistake in them.
"""

from typing import Any

from hypothesis import HealthCheck
from hypothesis import strategies as st

from inference_autotuner.optimizer.check import check
from inference_autotuner.optimizer.engine import engine_names
from inference_autotuner.optimizer.metrics import Metric, Statistic
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.units import format_duration

PATIENT = [HealthCheck.too_slow, HealthCheck.filter_too_much]
"""For `suppress_health_check`: whole tasks take a while on a machine with other work."""
LATENCIES = [metric.value for metric in Metric if metric.is_latency]
RATES = [metric.value for metric in Metric if not metric.is_latency]

# Texts that one or the other version of YAML takes for something else, or that need quotes.
ODD = (
    *("on", "off", "yes", "no", "y", "true", "True", "null", "~", "", "=", "<<", "NaN", ".nan"),
    *("1:30", "0o17", "0x1f", "1e3", "08", "8", "1.0", "1_000", "+5", "-1", ".5", ".inf", "-0"),
    *("2024-01-01", "- a", "# c", "a #b", ": x", "a: b", "[x", "{x", "'q'", '"dq"', "a, b", "?"),
    *("  lead", "trail ", "two\nlines", "tab\tx", "é", "\u2028", "\x85", "\ufeffx", "😀", "%x"),
    *("@x", "`x`", "!t", "&a", "*a", "|", ">", "---", "...", "\\", "a" * 200, "{ {", "\U0010ffff"),
)
texts = st.sampled_from(ODD) | st.text(
    st.characters(exclude_categories=("Cc", "Cs")), max_size=30
).filter(lambda text: "{{" not in text)
words = texts.filter(lambda text: text != "" and not text.startswith("-"))
flag_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True)
whole_numbers = st.integers(-(2**53), 2**53)
numbers = whole_numbers | st.floats(-1e15, 1e15, allow_nan=False)
scalars = st.booleans() | numbers | texts
plain_json = st.recursive(
    st.none() | scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts.filter(bool), inner, max_size=3)
    ),
    max_leaves=6,
)
durations = st.integers(1, 10**9).map(lambda n: format_duration(n / 1000))
expressions = st.sampled_from(['params["a"] == 1', "true", 'params.a in ["x", "y"] && 1 < 2'])


def _spelled(value: Any) -> str:
    """As on a command line, where 1.0 is 1."""
    if isinstance(value, bool):
        return str(value).lower()
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) <= 2**53
    return str(int(value) if is_whole else value)


def _lists(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=1, max_size=5, unique_by=_spelled)


ranges = st.builds(
    lambda low, width, step, is_log: (
        {"min": abs(low) + 1, "max": abs(low) + 1 + width, "log": True}
        if is_log
        else {"min": low, "max": low + width, **({"step": step} if step <= width else {})}
    ),
    low=st.integers(-1000, 1000),
    width=st.integers(0, 500),
    step=st.integers(1, 50),
    is_log=st.booleans(),
)
listed = _lists(scalars.filter(lambda value: value != ""))
parameters = listed | st.builds(
    lambda form, when: {**form, **({"when": when} if when else {})},
    form=ranges | listed.map(lambda values: {"values": values}),
    when=st.none() | expressions,
)
arguments = (
    scalars
    | st.lists(scalars, max_size=3)
    | st.dictionaries(texts.filter(bool), plain_json, max_size=2)
)

lengths = st.integers(1, 500)
scenarios = st.builds("D({},{})".format, lengths, st.integers(2, 500)) | st.builds(
    "N({},{})/({},{})".format, lengths, lengths, st.integers(2, 300), lengths
)
weighted = scenarios | st.builds(
    lambda scenario, weight: {"scenario": scenario, "weight": weight},
    scenarios,
    st.floats(0.01, 100) | st.integers(1, 5),
)


def _scenario_of(item: Any) -> str:
    return str(item if isinstance(item, str) else item["scenario"])


workloads = st.fixed_dictionaries(
    {"scenarios": st.lists(weighted, min_size=1, max_size=3, unique_by=_scenario_of)},
    optional={
        "concurrency": st.lists(st.integers(1, 4096), min_size=1, max_size=6, unique=True)
        | st.builds(lambda a, b: {"search": {"min": a, "max": a + b}}, lengths, lengths),
        "requests": st.integers(1, 10_000),
        "maxTime": durations,
        "warmupRequests": st.integers(0, 100),
        "sharedPrefix": st.integers(0, 1000),
        "maxErrorRate": st.floats(0, 0.5),
        "requestParams": st.dictionaries(texts.filter(bool), plain_json, max_size=3),
    },
)
statistics = st.sampled_from([statistic.value for statistic in Statistic])
objectives = st.builds(lambda m: {"metric": m}, st.sampled_from(RATES)) | st.builds(
    lambda m, s: {"metric": m, "statistic": s}, st.sampled_from(LATENCIES), statistics
)
slos = st.builds(
    lambda m, s, limit: {"metric": m, "statistic": s, "limit": limit},
    st.sampled_from(LATENCIES),
    statistics,
    durations,
) | st.builds(
    lambda m, limit: {"metric": m, "limit": limit},
    st.sampled_from(RATES),
    st.floats(0.001, 1e6) | st.integers(1, 1000),
)


def _goal(item: dict[str, Any]) -> tuple[Any, Any]:
    return item["metric"], item.get("statistic")


spendings = st.fixed_dictionaries(
    {},
    optional={
        "objectives": st.lists(objectives, min_size=1, max_size=2, unique_by=_goal),
        "slos": st.lists(slos, max_size=3, unique_by=_goal),
        "search": st.fixed_dictionaries(
            {},
            optional={
                "sampler": st.sampled_from(["auto", "tpe", "grid", "random"]),
                "seed": st.integers(0, 2**32 - 1),
            },
        ),
        "budget": st.fixed_dictionaries(
            {},
            optional={
                "trials": st.integers(1, 300),
                "parallel": st.integers(1, 64),
                "gpuHours": st.floats(0.001, 1000) | st.integers(1, 100),
                "wallTime": durations,
                "patience": st.integers(1, 100),
                "retries": st.integers(0, 10),
            },
        ),
        "confirm": st.fixed_dictionaries(
            {}, optional={"finalists": st.integers(1, 10), "repeats": st.integers(0, 20)}
        ),
        "description": texts,
    },
)
names = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
metadata = st.fixed_dictionaries(
    {"name": names}, optional={"labels": st.dictionaries(texts.filter(bool), texts, max_size=2)}
)


def _document(meta: Any, spec: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": meta, "spec": {**spec, **more}}


well_formed_specs = st.fixed_dictionaries(
    {
        "model": st.fixed_dictionaries(
            {"name": words}, optional={"tokenizer": words, "servedName": words}
        ),
        "engine": st.fixed_dictionaries(
            {"name": st.sampled_from(engine_names())},
            optional={
                "version": words,
                "runtime": words,
                "image": words,
                "binary": words,
                "args": st.dictionaries(flag_names, arguments, max_size=3),
                "env": st.dictionaries(
                    st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), texts, max_size=2
                ),
            },
        ),
        "deployment": st.fixed_dictionaries(
            {"mode": st.sampled_from(["ome", "kubernetes", "docker", "process"])},
            optional={
                "namespace": names,
                "gpus": st.integers(0, 64) | expressions,
                "readyTimeout": durations,
            },
        ),
        "parameters": st.dictionaries(flag_names, parameters, min_size=1, max_size=4),
        "workload": workloads,
    },
    optional={
        "constraints": st.lists(expressions, max_size=2),
        "publish": st.fixed_dictionaries(
            {}, optional={"branch": words, "path": st.sampled_from(["results", "a/b", "é"])}
        ),
    },
)


@st.composite
def well_formed_documents(draw: st.DrawFn) -> dict[str, Any]:
    """The raw form of any task that the models take."""
    return _document(draw(metadata), draw(well_formed_specs), draw(spendings))


well_formed_tasks = well_formed_documents().map(TuningTask.model_validate)

_KNOWN: dict[str, dict[str, list[Any]]] = {
    "llamacpp": {
        "threads": [1, 2, 4, 8],
        "parallel": [1, 2, 4],
        "batch-size": [256, 512, 1024, 2048],
        "ubatch-size": [32, 128, 512],
        "flash-attn": ["on", "off"],
    },
    "sglang": {
        "tp-size": [1, 2, 4],
        "mem-fraction-static": [0.8, 0.85, 0.9],
        "chunked-prefill-size": [2048, 4096, 8192],
        "schedule-conservativeness": [0.3, 0.7, 1.3],
        "schedule-policy": ["fcfs", "lpm", "random"],
    },
    "vllm": {
        "tensor-parallel-size": [1, 2, 4],
        "max-num-seqs": [64, 128, 256],
        "gpu-memory-utilization": [0.85, 0.9, 0.95],
        "enable-prefix-caching": [True, False],
    },
}
_DEPLOYMENTS = {
    "process": {},
    "docker": {"image": "example/engine:1"},
    "kubernetes": {"image": "example/engine:1"},
    "ome": {"runtime": "example-runtime"},
}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """The raw form of a task that is most likely without mistakes."""
    engine = draw(st.sampled_from(sorted(_KNOWN)))
    mode = draw(st.sampled_from(sorted(_DEPLOYMENTS)))
    flags = draw(st.lists(st.sampled_from(sorted(_KNOWN[engine])), min_size=1, unique=True))
    searched = {
        flag: draw(st.lists(st.sampled_from(_KNOWN[engine][flag]), min_size=1, unique=True))
        for flag in flags
    }
    spec = {
        "model": {"name": "models/example"},
        "engine": {"name": engine, **_DEPLOYMENTS[mode]},
        "deployment": {"mode": mode},
        "parameters": searched,
        "workload": draw(workloads),
    }
    return _document(draw(metadata), spec, draw(spendings))


tuning_tasks = (
    documents().map(TuningTask.model_validate).filter(lambda task: not check(task).mistakes)
)
