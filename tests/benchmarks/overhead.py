"""What the tool itself costs: a trial's overhead, the command line, a large study, memory.

Run it with `python tests/benchmarks/overhead.py`. Goals: at most 2 s a trial outside engine start
and genai-bench, `--help` within 0.4 s, a study of 1,000 trials opened and listed within 1 s.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from inference_autotuner.optimizer.metrics import Measurement, Metric, Point, Statistic
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.storage import open_storage, storage_url
from inference_autotuner.optimizer.study import Study, open_study
from inference_autotuner.optimizer.trial import Measured, TrialKind
from inference_autotuner.workflows import local
from inference_autotuner.workflows.deployer import Order, Server
from inference_autotuner.workflows.local import Stop, run_study

TRIALS = 40
MANY = 1000


class InstantDeployer:
    """Serves at once, so that only our own time is left."""

    def deploy(self, order: Order, **_: object) -> Server:
        """Up at once."""
        return Server("http://127.0.0.1:1", "m", ("--model", "m"), {"slots": 4})

    def is_alive(self, order: Order) -> bool:
        """Always."""
        return True

    def log_tail(self, order: Order) -> str:
        """Nothing."""
        return ""

    def release(self, study: str, trial: str) -> None:
        """Nothing to do."""

    def sweep(self, study: str | None) -> list[str]:
        """Nothing is left."""
        return []


def task(trials: int, name: str) -> TuningTask:
    """Five flags, one of them conditional."""
    return TuningTask.model_validate(
        {
            "metadata": {"name": name},
            "spec": {
                "model": {"name": "m"},
                "engine": {"name": "vllm"},
                "deployment": {"mode": "process"},
                "parameters": {
                    "max-num-seqs": {"min": 16, "max": 1024, "step": 16},
                    "max-num-batched-tokens": [2048, 4096, 8192, 16384],
                    "gpu-memory-utilization": {"min": 0.8, "max": 0.96, "step": 0.01},
                    "enforce-eager": [True, False],
                    "performance-mode": ["balanced", "throughput"],
                },
                "workload": {"scenarios": ["D(100,100)"], "concurrency": [1, 8, 32]},
                "slos": [{"metric": "ttft", "limit": "500ms"}],
                "budget": {"trials": min(trials, 300)},
                "confirm": {"repeats": 0},
            },
        }
    )


def measurement(number: int) -> Measurement:
    """Three points."""
    rates = {metric: 100.0 + number for metric in Metric if not metric.is_latency}
    latencies = {m: dict.fromkeys(Statistic, 0.1) for m in Metric if m.is_latency}
    points = [Point("D(100,100)", c, 200, 0, 10.0, rates, latencies) for c in (1, 8, 32)]
    return Measurement(tuple(points))


def seconds(action: Callable[[], object], times: int) -> float:
    """Median of several runs."""
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def overhead_per_trial(folder: Path) -> float:
    """A whole study whose engine and benchmark return at once, journal file included."""
    local.check_tools = lambda study: None  # type: ignore[assignment]
    local.steps.tokenizer_of = lambda spec, base: "t"  # type: ignore[attr-defined]
    storage = open_storage(storage_url(folder / "journal.log"))
    study = open_study(storage, task(TRIALS, "overhead"), base="/", now_s=time.time())
    began = time.perf_counter()
    run_study(
        study,
        InstantDeployer(),  # type: ignore[arg-type]
        lambda event: None,
        Stop(),
        measure=lambda spec, **_: measurement(1),
    )
    return (time.perf_counter() - began) / len(study.trials())


def fill(folder: Path) -> Study:
    """A study with very many measured trials."""
    storage = open_storage(storage_url(folder / "journal.log"))
    study = open_study(storage, task(300, "many"), base="/", now_s=0.0)
    os.fsync = lambda descriptor: None  # only the reading is measured
    for number in range(MANY):
        params = {"max-num-seqs": 16 + number}
        trial = study.begin(str(number), TrialKind.EXPLORE, params, now_s=0.0)
        study.tell(trial.number, Measured(measurement(number)), now_s=1.0)
    return study


def command(folder: Path, *arguments: str) -> None:
    """One command of a fresh process."""
    program = str(Path(sys.executable).with_name("autotuner"))
    environment = {**os.environ, "AUTOTUNER_STATE": str(folder)}
    subprocess.run([program, *arguments], check=True, capture_output=True, env=environment)


def main() -> None:
    """Prints the table."""
    folder = Path(tempfile.mkdtemp(prefix="autotuner-overhead-"))
    os.environ["AUTOTUNER_STATE"] = str(folder / "small")
    rows = [
        (
            "overhead per trial, 40 trials, TPE, journal file",
            overhead_per_trial(folder / "small"),
            2.0,
        )
    ]
    rows.append(("autotuner --help", seconds(lambda: command(folder, "--help"), 5), 0.4))
    study = fill(folder / "large")
    size = (folder / "large" / "journal.log").stat().st_size / 2**20
    url = storage_url(folder / "large" / "journal.log")

    def open_and_read() -> None:
        from inference_autotuner.optimizer.study import load_study

        load_study(open_storage(url), study.name).trials()

    rows.append(
        (f"open and read a study of {MANY} trials ({size:.1f} MiB)", seconds(open_and_read, 5), 1.0)
    )
    rows.append(
        (
            "autotuner list of it, a fresh process",
            seconds(lambda: command(folder / "large", "list"), 3),
            1.0,
        )
    )
    rows.append(
        (
            "autotuner status of it, a fresh process",
            seconds(lambda: command(folder / "large", "status", "many"), 3),
            1.0,
        )
    )
    print(f"{'what':<58}{'seconds':>9}{'goal':>7}")
    for what, spent, goal in rows:
        print(f"{what:<58}{spent:>9.3f}{goal:>7.1f}{'' if spent <= goal else '  MISSED'}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"memory at the most: {peak:.0f} MiB in this process, {child:.0f} MiB in a command")


if __name__ == "__main__":
    main()
