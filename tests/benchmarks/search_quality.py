"""Share of the true optimum after 10, 20 and 40 trials, beside random with the same budget.

Run it with `python tests/benchmarks/search_quality.py [seeds]`. Every study goes through the
same ask and tell as a real one; only the measurement is simulated, with 5 % noise.
"""

import math
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inference_autotuner.optimizer.errors import Reason
from inference_autotuner.optimizer.metrics import Measurement, Metric, Point, Statistic
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.storage import open_storage
from inference_autotuner.optimizer.study import Study, open_study
from inference_autotuner.optimizer.trial import (
    Infeasible,
    Measured,
    Params,
    TrialKind,
    TrialResult,
)

NOISE = 0.05
CHECKPOINTS = (10, 20, 40)
SLO_S = 0.5


@dataclass(frozen=True)
class Truth:
    """What a server with these params really does."""

    throughput: float
    ttft_s: float = 0.1
    crash: Reason | None = None


@dataclass(frozen=True)
class Surface:
    """A search problem whose optimum is known by enumeration."""

    title: str
    engine: str
    parameters: dict[str, Any]
    constraints: list[str]
    truth: Callable[[Params], Truth]


def bump(value: float, best: float, width: float) -> float:
    """1 at `best`, falling off on a log scale."""
    return math.exp(-((math.log2(value / best) / width) ** 2))


def memory_edge(params: Params) -> Truth:
    """The best params lie beside the region that runs out of memory: a quarter of the space."""
    seqs, tokens = params.get("max-num-seqs", 256), params.get("max-num-batched-tokens", 2048)
    memory = params.get("gpu-memory-utilization", 0.92)
    need = 0.62 + 0.03 * math.log2(seqs / 16) + 0.035 * math.log2(tokens / 1024)
    if need + (memory - 0.8) * 0.75 > 0.92:
        return Truth(0, crash=Reason.OUT_OF_MEMORY)
    gain = 1 + 0.5 * bump(seqs, 256, 3) + 0.3 * bump(tokens, 8192, 2.5) + 1.2 * (memory - 0.8)
    eager = 0.7 if params.get("enforce-eager", False) else 1
    return Truth(1000 * gain * eager)


def speculation(params: Params) -> Truth:
    """Three flags exist only while speculation is on, and only the right ones pay."""
    gain = 1 + 0.25 * bump(params.get("chunked-prefill-size", 8192), 4096, 2)
    gain += 0.15 if params.get("schedule-policy", "fcfs") == "lpm" else 0
    gain -= 0.3 * abs(params.get("schedule-conservativeness", 1.0) - 0.6)
    kind = params.get("speculative-algorithm", "none")
    if kind != "none":
        steps = params.get("speculative-num-steps", 5)
        topk = params.get("speculative-eagle-topk", 4)
        draft = params.get("speculative-num-draft-tokens", 8)
        fit = bump(steps, 3, 1.2) * bump(topk, 4, 2) * bump(draft, 8, 1.5)
        gain *= 0.75 + (0.75 if kind == "EAGLE3" else 0.35) * fit
    return Truth(1000 * gain)


def cliff(params: Params) -> Truth:
    """Throughput grows with batching until, at a sharp edge, the TTFT limit is missed."""
    seqs = params.get("max-num-seqs", 256)
    tokens = params.get("max-num-batched-tokens", 2048)
    load = seqs / 16 * (1 + tokens / 8192)
    ttft = 0.1 + 0.35 * (load / 30) ** 3
    mode = {"balanced": 1.0, "interactivity": 0.9, "throughput": 1.12}
    style = mode[str(params.get("performance-mode", "balanced"))]
    caching = 1.05 if params.get("enable-prefix-caching", True) else 1.0
    return Truth(400 * load**0.4 * style * caching, ttft * style**2)


SURFACES = (
    Surface(
        "memory edge (infeasible)",
        "vllm",
        {
            "max-num-seqs": [16, 32, 64, 128, 256, 512, 1024],
            "max-num-batched-tokens": [1024, 2048, 4096, 8192, 16384, 32768],
            "gpu-memory-utilization": {"min": 0.8, "max": 0.96, "step": 0.02},
            "enforce-eager": [True, False],
        },
        ['params["max-num-batched-tokens"] >= params["max-num-seqs"]'],
        memory_edge,
    ),
    Surface(
        "conditional flags",
        "sglang",
        {
            "chunked-prefill-size": [1024, 2048, 4096, 8192, 16384],
            "schedule-policy": ["fcfs", "lpm", "lof"],
            "schedule-conservativeness": {"min": 0.3, "max": 1.3, "step": 0.1},
            "speculative-algorithm": ["none", "NGRAM", "EAGLE3"],
            "speculative-num-steps": {
                "values": [1, 2, 3, 5, 7],
                "when": 'params["speculative-algorithm"] != "none"',
            },
            "speculative-eagle-topk": {
                "values": [1, 2, 4, 8],
                "when": 'params["speculative-algorithm"] == "EAGLE3"',
            },
            "speculative-num-draft-tokens": {
                "values": [2, 4, 8, 16],
                "when": 'params["speculative-algorithm"] == "EAGLE3"',
            },
        },
        [],
        speculation,
    ),
    Surface(
        "SLO cliff",
        "vllm",
        {
            "max-num-seqs": [16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024],
            "max-num-batched-tokens": [1024, 2048, 4096, 8192, 16384],
            "performance-mode": ["balanced", "interactivity", "throughput"],
            "enable-prefix-caching": [True, False],
        },
        ['params["max-num-batched-tokens"] >= params["max-num-seqs"]'],
        cliff,
    ),
)


def task(surface: Surface, sampler: str, seed: int) -> TuningTask:
    """A task whose search space is the surface's."""
    return TuningTask.model_validate(
        {
            "metadata": {"name": f"quality-{sampler}-{seed}"},
            "spec": {
                "model": {"name": "m"},
                "engine": {"name": surface.engine},
                "deployment": {"mode": "process"},
                "parameters": surface.parameters,
                "constraints": surface.constraints,
                "workload": {"scenarios": ["D(100,100)"], "concurrency": [8]},
                "slos": [{"metric": "ttft", "statistic": "p99", "limit": "500ms"}],
                "search": {"sampler": sampler, "seed": seed},
                "budget": {"trials": max(CHECKPOINTS)},
            },
        }
    )


def measured(throughput: float, ttft_s: float) -> Measurement:
    """A measurement that says these two numbers."""
    rates = {metric: throughput for metric in Metric if not metric.is_latency}
    latencies = {m: dict.fromkeys(Statistic, ttft_s) for m in Metric if m.is_latency}
    return Measurement((Point("D(100,100)", 8, 200, 0, 10.0, rates, latencies),))


def outcome(truth: Truth, rng: random.Random) -> TrialResult:
    """What one noisy trial would say."""
    if truth.crash:
        return Infeasible(truth.crash, "simulated")
    noise = [math.exp(rng.gauss(0, NOISE)) for _ in range(2)]
    return Measured(measured(truth.throughput * noise[0], truth.ttft_s * noise[1]))


def run_study(surface: Surface, sampler: str, seed: int) -> dict[int, float]:
    """The true throughput of what would be picked, at each checkpoint."""
    study = open_study(open_storage("memory://"), task(surface, sampler, seed), base="/", now_s=0)
    rng = random.Random(f"noise/{seed}")
    picked: dict[int, float] = {}
    for number in range(max(CHECKPOINTS)):
        params = study.space.baseline if number == 0 else study.propose(study.trials())
        if params is not None:
            kind = TrialKind.EXPLORE if number else TrialKind.BASELINE
            trial = study.begin(str(number), kind, params, now_s=0)
            study.tell(trial.number, outcome(surface.truth(params), rng), now_s=0)
        if number + 1 in CHECKPOINTS:
            picked[number + 1] = true_value_of_best(study, surface)
    return picked


def true_value_of_best(study: Study, surface: Surface) -> float:
    """0 when the pick misses the SLO in truth: that is what production would get."""
    holding = [trial for trial in study.trials() if trial.holds_slos]
    if not holding:
        return 0.0
    truth = surface.truth(max(holding, key=lambda trial: trial.values[0]).params)
    return truth.throughput if truth.ttft_s <= SLO_S * (1 + NOISE) else 0.0


def main(seeds: int) -> None:
    """Prints the table."""
    print(f"{seeds} seeds, noise {NOISE:.0%}; share of the true optimum, mean ± standard error")
    heading = "".join(f"{f'{count} trials':>18}" for count in CHECKPOINTS)
    print(f"{'surface':<28}{'sampler':<9}{heading}{'s/study':>9}")
    for surface in SURFACES:
        probe = open_study(open_storage("memory://"), task(surface, "tpe", 0), base="/", now_s=0)
        truths = [surface.truth(params) for params in probe.space.combinations()]
        best = max(t.throughput for t in truths if not t.crash and t.ttft_s <= SLO_S)
        crashing = sum(t.crash is not None for t in truths) / len(truths)
        print(f"{surface.title}: {len(truths)} combinations, {crashing:.0%} infeasible", flush=True)
        for sampler in ("tpe", "random"):
            began = time.perf_counter()
            runs = [run_study(surface, sampler, seed) for seed in range(seeds)]
            spent = (time.perf_counter() - began) / seeds
            cells = ""
            for checkpoint in CHECKPOINTS:
                shares = [run[checkpoint] / best for run in runs]
                error = statistics.stdev(shares) / math.sqrt(seeds)
                cells += f"{statistics.mean(shares):>11.1%} ± {error:.1%}"
            print(f"{'':<28}{sampler:<9}{cells}{spent:>9.2f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
