"""Studies as they come out of a small machine: simulated, realistic, always the same."""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from inference_autotuner.optimizer.errors import Reason
from inference_autotuner.optimizer.judgment import decide
from inference_autotuner.optimizer.metrics import Measurement, Metric, Point, Statistic
from inference_autotuner.optimizer.objective import objective_values, violations
from inference_autotuner.optimizer.plan import Explore, Run, next_move
from inference_autotuner.optimizer.space import Space, build_space
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.trial import (
    Infeasible,
    Params,
    Trial,
    TrialKind,
    TrialState,
)
from inference_autotuner.optimizer.verdict import Verdict

BEGAN_S = 1_790_000_000.0
FACTS = {
    "processor": "Example CPU with 2 cores",
    "cores": "2",
    "memory": "15.6 GiB",
    "system": "Linux 6.1",
    "python": "3.11.9",
    "genai-bench": "0.0.5",
    "xllamacpp": "2026.10.11549",
}

Server = Callable[[Params, random.Random], Measurement | Infeasible]


def task_document(**spec: Any) -> dict[str, Any]:
    """The demo's task, with some fields of its spec replaced."""
    return {
        "apiVersion": "inference-autotuner/v1alpha1",
        "kind": "TuningTask",
        "metadata": {"name": "smollm2-chat", "labels": {"team": "search"}},
        "spec": {
            "description": "Short chats with a small model on two cores",
            "model": {"name": "models/smollm2-135m-q4_1.gguf"},
            "engine": {"name": "llamacpp", "args": {"ctx-size": 4096}},
            "deployment": {"mode": "process", "readyTimeout": "90s"},
            "parameters": {
                "threads": [1, 2],
                "parallel": [1, 2, 4, 8],
                "batch-size": [256, 2048],
                "ubatch-size": [32, 128, 512],
                "flash-attn": ["on", "off"],
                "cache-type-v": ["f16", "q8_0"],
            },
            "workload": {"scenarios": ["D(100,50)"], "concurrency": [1, 4], "requests": 40},
            "slos": [
                {"metric": "ttft", "statistic": "p99", "limit": "6s"},
                {"metric": "tpot", "statistic": "p99", "limit": "400ms"},
            ],
            "search": {"seed": 7},
            "budget": {"trials": 16},
            **spec,
        },
    }


def sample_task(**spec: Any) -> TuningTask:
    """The demo's task as a model."""
    return TuningTask.model_validate(task_document(**spec))


def small_server(params: Params, noise: random.Random) -> Measurement | Infeasible:
    """Two threads fight over two cores, more slots help under load, one combination crashes."""
    if params.get("parallel") == 8 and params.get("batch-size") == 2048:
        return Infeasible(
            Reason.OUT_OF_MEMORY,
            "out of memory: failed to allocate buffer for kv cache",
            "load: loading model\nE alloc_buffer: failed to allocate buffer for kv cache\n"
            "E srv: failed to create context with model",
        )
    gain = 1.9 if params.get("threads") == 1 else 1.0
    gain *= {1: 0.93, 8: 1.12}.get(int(params.get("parallel", 4)), 1.0)
    gain *= 0.82 if params.get("cache-type-v") == "q8_0" else 1.0
    wait = {32: 1.5, 128: 1.0, 512: 1.15}.get(int(params.get("ubatch-size", 512)), 1.0)
    wait *= {1: 2.2, 8: 0.8}.get(int(params.get("parallel", 4)), 1.0)
    return steady_server(gain, wait=wait)(params, noise)


def steady_server(gain: float = 1.0, scatter: float = 0.02, wait: float = 1.0) -> Server:
    """A server on which no flag does anything."""

    def serve(params: Params, noise: random.Random) -> Measurement | Infeasible:
        luck = gain * math.exp(noise.gauss(0, scatter))
        return Measurement((point(1, 21 * luck, wait=wait), point(4, 23 * luck, wait=wait)))

    return serve


def point(
    concurrency: int, tokens_per_s: float, scenario: str = "D(100,50)", wait: float = 1.0
) -> Point:
    """A point of a closed loop whose latencies follow from its throughput."""
    tpot = concurrency / tokens_per_s * 0.8
    ttft = tpot * 10 * concurrency**0.5 * wait
    spread = {"mean": 1.0, "p50": 0.97, "p90": 1.15, "p95": 1.25, "p99": 1.5}
    e2e = ttft + 49 * tpot
    requests = tokens_per_s / 50
    return Point(
        scenario=scenario,
        concurrency=concurrency,
        requests=40,
        errors=0,
        duration_s=40 / requests,
        rates={
            Metric.OUTPUT_THROUGHPUT: tokens_per_s,
            Metric.INPUT_THROUGHPUT: tokens_per_s * 2,
            Metric.TOTAL_THROUGHPUT: tokens_per_s * 3,
            Metric.REQUEST_THROUGHPUT: requests,
            Metric.GOODPUT: requests * 0.97,
            Metric.TOKEN_GOODPUT: tokens_per_s * 0.97,
        },
        latencies={
            metric: {Statistic(s): base * factor for s, factor in spread.items()}
            for metric, base in (
                (Metric.TTFT, ttft),
                (Metric.TPOT, tpot),
                (Metric.E2E_LATENCY, e2e),
            )
        },
    )


def run_study(task: TuningTask, server: Server = small_server, seed: int = 1) -> list[Trial]:
    """Every trial of a whole study, explored in a fixed order, on a simulated server."""
    space = build_space(task.spec)
    proposals = iter(space.combinations(seed))
    noise = random.Random(seed)
    trials: list[Trial] = []
    while True:
        move = next_move(space, trials, now_s=_now(trials), is_stopping=False)
        if isinstance(move, Explore):
            params = next(proposals, None)
            move = (
                next_move(space, trials, now_s=_now(trials), is_stopping=False, is_exhausted=True)
                if params is None
                else Run(TrialKind.EXPLORE, params)
            )
        if not isinstance(move, Run):
            return trials
        trials.append(ended_trial(space, len(trials), move.kind, move.params, server, noise))


def ended_trial(
    space: Space,
    number: int,
    kind: TrialKind,
    params: Params,
    server: Server,
    noise: random.Random,
) -> Trial:
    """One trial with its end."""
    result = server(params, noise)
    spans: Mapping[str, float] = {"deploy": 2.4 + noise.random(), "benchmark": 14 + noise.random()}
    started = BEGAN_S + 20.0 * number
    common: dict[str, Any] = {
        "number": number,
        "kind": kind,
        "params": params,
        "started_s": started,
        "gpus": space.gpus(params),
    }
    if isinstance(result, Infeasible):
        return Trial(
            **common,
            state=TrialState.INFEASIBLE,
            reason=result.reason,
            message=result.message,
            log_tail=result.log_tail,
            spans={"deploy": spans["deploy"]},
            ended_s=started + spans["deploy"],
        )
    return Trial(
        **common,
        state=TrialState.MEASURED,
        values=objective_values(space.spec, result),
        violations=violations(space.spec, result),
        measurement=result,
        spans=spans,
        ended_s=started + sum(spans.values()),
        resolved={"n_ctx": 4096, "build": "b11549"},
    )


def _now(trials: list[Trial]) -> float:
    return trials[-1].ended_s or BEGAN_S if trials else BEGAN_S


def verdict_of(task: TuningTask, trials: list[Trial]) -> Verdict:
    """The answer that the trials allow."""
    return decide(build_space(task.spec), trials)


@dataclass(frozen=True)
class SampleStudy:
    """A study that has ended, and its answer."""

    task: TuningTask
    trials: list[Trial]
    verdict: Verdict


@cache
def sample_study(name: str) -> SampleStudy:
    """A study for each kind of verdict, and some that are awkward to write down.

    Args:
        name: `Better`, `Inconclusive`, `KeepCurrent`, `NothingFeasible`, `crashes`, `empty`,
            `one`, `objectives` (three, the first to minimize, without SLOs).
    """
    task, server = _SAMPLES[name]()
    trials = [] if name == "empty" else run_study(task, server)
    trials = trials[:1] if name == "one" else trials
    return SampleStudy(task, trials, verdict_of(task, trials))


def _slower_than_the_baseline(params: Params, noise: random.Random) -> Measurement | Infeasible:
    return steady_server(0.92 if params else 1.0, scatter=0.01)(params, noise)


def _crashing(params: Params, noise: random.Random) -> Measurement | Infeasible:
    log = "main: loading model\n" * 40 + "GGML_ASSERT(n_threads > 0) failed"
    return Infeasible(Reason.CRASHED, "an assertion of llama.cpp failed", log)


_TOO_STRICT = [
    {"metric": "ttft", "statistic": "p99", "limit": "500ms"},
    {"metric": "tpot", "limit": "20ms"},
    {"metric": "goodput", "limit": 5},
]
_THREE_OBJECTIVES = [
    {"metric": "ttft", "statistic": "p99"},
    {"metric": "output_throughput"},
    {"metric": "tpot", "statistic": "p99"},
]
_SAMPLES: Mapping[str, Callable[[], tuple[TuningTask, Server]]] = {
    "Better": lambda: (sample_task(), small_server),
    "Inconclusive": lambda: (sample_task(), steady_server(scatter=0.05)),
    "KeepCurrent": lambda: (sample_task(), _slower_than_the_baseline),
    "NothingFeasible": lambda: (sample_task(slos=_TOO_STRICT), small_server),
    "crashes": lambda: (sample_task(), _crashing),
    "empty": lambda: (sample_task(), small_server),
    "one": lambda: (sample_task(), small_server),
    "objectives": lambda: (
        sample_task(budget={"trials": 40}, slos=[], objectives=_THREE_OBJECTIVES),
        small_server,
    ),
}
SAMPLES = tuple(_SAMPLES)
