"""How honest and how able the verdict is, on studies whose truth is known.

Run it with `python tests/benchmarks/verdict_honesty.py [studies] [words of the rows]`. Every study
goes through the same ask, tell, plan and verdict as a real one, with Optuna's TPE; only the
measurement is simulated. 200 studies for each row take about half an hour on two cores.
"""

import math
import random
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from inference_autotuner.optimizer.judgment import decide
from inference_autotuner.optimizer.metrics import Measurement, Metric, Point, Statistic
from inference_autotuner.optimizer.plan import Explore, Finished, Run, next_move
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.storage import open_storage
from inference_autotuner.optimizer.study import Study, open_study
from inference_autotuner.optimizer.trial import Measured, Params, TrialKind
from inference_autotuner.optimizer.verdict import Verdict, VerdictKind

STUDIES = 200
TRIAL_S = 60.0
FLAGS = {
    "max-num-seqs": [64, 128, 256, 512],
    "max-num-batched-tokens": [2048, 4096, 8192, 16384],
    "performance-mode": ["balanced", "interactivity", "throughput"],
    "enable-prefix-caching": [True, False],
    "stream-interval": [1, 2, 4, 8],
}


@dataclass(frozen=True)
class World:
    """What really happens on a server: all of it known, so that a verdict can be judged.

    Attributes:
        title: What is different here.
        merit: Logarithm of the throughput that params really give, the baseline's being zero.
        wanted: The flags that matter; None where several answers are right.
        noise: Standard deviation of one run, on the scale of logarithms.
        spread: Factor on the noise for some params.
        drift: How much slower the machine gets over 60 trials.
        outliers: Share of runs in which something takes a third of the machine.
        limit_s: Limit of an SLO on TTFT p99; None for no SLO.
        ttft_s: The TTFT p99 that params really give.
        objective: What is optimized.
    """

    title: str
    merit: Callable[[Params], float]
    wanted: frozenset[str] | None = frozenset()
    noise: float = 0.05
    spread: Callable[[Params], float] = lambda params: 1.0
    drift: float = 0.0
    outliers: float = 0.0
    limit_s: float | None = None
    ttft_s: Callable[[Params], float] = lambda params: 0.1
    objective: Metric = Metric.OUTPUT_THROUGHPUT


def gives(share: float, **levels: Any) -> Callable[[Params], float]:
    """So much more where all of these flags are set so."""
    return lambda p: math.log1p(share) * all(has(p, name, v) for name, v in levels.items())


def gives_any(share: float, **levels: Any) -> Callable[[Params], float]:
    """So much more where one of these flags is set so."""
    return lambda p: math.log1p(share) * any(has(p, name, v) for name, v in levels.items())


def both(*merits: Callable[[Params], float]) -> Callable[[Params], float]:
    """Independent effects."""
    return lambda params: sum(merit(params) for merit in merits)


def has(params: Params, name: str, level: Any) -> bool:
    """Whether a flag is set so; a tuple allows several levels."""
    allowed = level if isinstance(level, tuple) else (level,)
    return params.get(name.replace("_", "-")) in allowed


NOTHING: Callable[[Params], float] = lambda params: 0.0  # noqa: E731
MODE = gives(0.15, performance_mode="throughput")
INTERVAL = gives(0.15, stream_interval=(4, 8))
SLOW = gives(-0.05, enable_prefix_caching=False)
NAME = frozenset({"performance-mode"})

WORLDS = (
    *(World(f"nothing differs, noise {n:.0%}", NOTHING, noise=n) for n in (0.02, 0.05, 0.1)),
    *(World(f"one word +15 %, noise {n:.0%}", MODE, NAME, noise=n) for n in (0.02, 0.05, 0.1)),
    World("one number +15 %", INTERVAL, frozenset({"stream-interval"})),
    World("one word +50 %", gives(0.5, performance_mode="throughput"), NAME),
    World("one word +5 %, noise 2%", gives(0.05, performance_mode="throughput"), NAME, noise=0.02),
    World("one +15 %, another -5 %", both(MODE, SLOW), NAME),
    World(
        "two flags +8 % each",
        both(gives(0.08, performance_mode="throughput"), gives(0.08, stream_interval=(4, 8))),
        frozenset({"performance-mode", "stream-interval"}),
    ),
    World(
        "two flags +15 % only together",
        gives(0.15, performance_mode="throughput", stream_interval=(4, 8)),
        frozenset({"performance-mode", "stream-interval"}),
    ),
    World(
        "two flags +15 %, one is enough",
        gives_any(0.15, performance_mode="throughput", stream_interval=(4, 8)),
        None,
    ),
    World("nothing differs, 15 % slower by the end", NOTHING, drift=0.15),
    World("one word +15 %, 15 % slower by the end", MODE, NAME, drift=0.15),
    World("nothing differs, one run in ten disturbed", NOTHING, outliers=0.1),
    World(
        "nothing differs, one flag triples the noise",
        NOTHING,
        spread=lambda p: 3.0 if has(p, "performance_mode", "throughput") else 1.0,
    ),
    World("nothing differs, latency", NOTHING, objective=Metric.E2E_LATENCY),
    World("one word 13 % less latency", MODE, NAME, objective=Metric.E2E_LATENCY),
    World("nothing differs, SLO at its limit", NOTHING, limit_s=0.1),
    World(
        "baseline misses its SLO by 25 %, one word mends it",
        NOTHING,
        NAME,
        limit_s=0.1,
        ttft_s=lambda p: 0.08 if has(p, "performance_mode", "interactivity") else 0.125,
    ),
    World(
        "+15 % only where the SLO is missed by 5 %",
        MODE,
        limit_s=0.1,
        ttft_s=lambda p: 0.105 if has(p, "performance_mode", "throughput") else 0.08,
    ),
)


@dataclass(frozen=True)
class Ending:
    """What became of one study."""

    kind: VerdictKind
    named: frozenset[str]
    true_gain: float
    is_winner_covered: bool | None
    are_finalists_covered: bool | None
    proof_trials: int


def task(world: World) -> TuningTask:
    """Five flags, 30 trials, everything else by default."""
    slos = [{"metric": "ttft", "limit": f"{world.limit_s}s"}] if world.limit_s else []
    return TuningTask.model_validate(
        {
            "metadata": {"name": "honesty"},
            "spec": {
                "model": {"name": "some/model"},
                "engine": {"name": "vllm"},
                "deployment": {"mode": "process"},
                "parameters": FLAGS,
                "workload": {"scenarios": ["D(100,100)"], "concurrency": [8]},
                "objectives": [{"metric": world.objective}],
                "slos": slos,
            },
        }
    )


def measure(world: World, params: Params, number: int, rng: random.Random) -> Measurement:
    """One run: the truth, times noise."""
    noise = world.noise * world.spread(params)
    luck = rng.gauss(0, noise) - world.drift * number / 60
    if rng.random() < world.outliers:
        luck -= math.log(1.5)
    rate = 100 * math.exp(world.merit(params) + luck)
    latencies = {
        Metric.TTFT: world.ttft_s(params) * math.exp(rng.gauss(0, noise)),
        Metric.TPOT: 1 / rate,
        Metric.E2E_LATENCY: 100 / rate,
    }
    return Measurement(
        (
            Point(
                "D(100,100)",
                8,
                200,
                0,
                60.0,
                {metric: rate for metric in Metric if not metric.is_latency},
                {metric: dict.fromkeys(Statistic, value) for metric, value in latencies.items()},
            ),
        )
    )


def run_study(world: World, seed: int) -> Study:
    """A whole study, from the first ask to the last tell."""
    study = open_study(open_storage("memory://"), seeded(task(world), seed), base="/", now_s=0)
    rng = random.Random(f"{world.title}/{seed}")
    exhausted = False
    while True:
        trials = study.trials()
        now_s = TRIAL_S * len(trials)
        move = next_move(study.space, trials, now_s=now_s, is_exhausted=exhausted)
        if isinstance(move, Explore):
            params = study.propose(trials)
            exhausted = params is None
            if params is None:
                continue
            move = Run(TrialKind.EXPLORE, params)
        if isinstance(move, Finished):
            return study
        assert isinstance(move, Run)
        trial = study.begin(str(len(trials)), move.kind, move.params, now_s=now_s)
        seen = measure(world, move.params, trial.number, rng)
        study.tell(trial.number, Measured(seen), now_s=now_s + TRIAL_S)


def seeded(task: TuningTask, seed: int) -> TuningTask:
    """The task with another seed of the sampler."""
    search = task.spec.search.model_copy(update={"seed": seed})
    return task.model_copy(update={"spec": task.spec.model_copy(update={"search": search})})


def judge(world: World, seed: int) -> Ending:
    """Runs a study and compares its verdict with the truth."""
    study = run_study(world, seed)
    trials = study.trials()
    verdict = decide(study.space, trials)
    is_better = verdict.kind is VerdictKind.BETTER
    winner = (verdict.params if is_better else None) or {}
    return Ending(
        kind=verdict.kind,
        named=frozenset(f.flag for f in verdict.flags if f.is_kept) if is_better else frozenset(),
        true_gain=gain(world, winner),
        is_winner_covered=covers(verdict.gain, gain(world, winner)) if is_better else None,
        are_finalists_covered=finalists_covered(world, verdict),
        proof_trials=sum(t.kind in (TrialKind.CONFIRM, TrialKind.UNDO) for t in trials),
    )


def gain(world: World, params: Params) -> float:
    """What params really give over the baseline, as a verdict counts it."""
    merit = world.merit(params) - world.merit({})
    return -math.expm1(-merit) if world.objective.is_latency else math.expm1(merit)


def covers(change: Any, truth: float) -> bool | None:
    """Whether an interval holds the truth; None without an interval."""
    if change is None or change.low is None or change.high is None:
        return None
    return bool(change.low <= truth <= change.high)


def finalists_covered(world: World, verdict: Verdict) -> bool | None:
    """Whether the intervals of all finalists hold the truth at once."""
    found = [covers(f.gain, gain(world, f.params)) for f in verdict.finalists]
    return all(found) if found and None not in found else None


def share(found: Iterable[bool | None]) -> str:
    """Percent of those that say yes or no."""
    known = [value for value in found if value is not None]
    return f"{100 * sum(known) / len(known):5.1f}" if known else "    –"


def row(world: World, endings: list[Ending]) -> str:
    """One line of the table."""
    better = [e for e in endings if e.kind is VerdictKind.BETTER]
    exact = [
        e.kind is VerdictKind.BETTER
        and (len(e.named) == 1 if world.wanted is None else e.named == world.wanted)
        for e in endings
    ]
    gains = 100 * sum(e.true_gain for e in better) / len(better) if better else math.nan
    proof = [e.proof_trials for e in endings]
    cells = (
        f"{world.title:<52}",
        share(e.kind is VerdictKind.BETTER for e in endings),
        share(exact) if world.wanted != frozenset() else "    –",
        f"{gains:+5.1f}" if better else "    –",
        share(e.is_winner_covered for e in better),
        share(e.are_finalists_covered for e in endings),
        f"{sum(proof) / len(proof):5.1f}",
        f"{max(proof):3d}",
    )
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Prints the table, a row at a time."""
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else STUDIES
    words = sys.argv[2:]
    print(f"{studies} studies for each row; noise 5 % unless said otherwise; all but trials in %\n")
    print(
        f"| {'truth':<52} | Better | exactly the right flags | true gain | winner's interval "
        "covers | all finalists' intervals cover | proof trials, mean | max |"
    )
    print("|---|---|---|---|---|---|---|---|")
    began = time.monotonic()
    with ProcessPoolExecutor(2) as pool:
        for number, world in enumerate(WORLDS):
            if all(word in world.title for word in words):
                endings = pool.map(partial(_judge_numbered, number), range(studies), chunksize=5)
                print(row(world, list(endings)), flush=True)
    print(f"\n{time.monotonic() - began:.0f} s")


def _judge_numbered(world: int, seed: int) -> Ending:
    """Worlds hold functions, which do not travel between processes; their numbers do."""
    return judge(WORLDS[world], seed)


if __name__ == "__main__":
    main()
