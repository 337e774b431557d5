"""Measures a server that serves: a warm-up that counts for nothing, then every point."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inference_autotuner.optimizer.benchmarks.genai_bench import (
    Run,
    shell_command,
    workload_mistakes,
)
from inference_autotuner.optimizer.benchmarks.genai_bench_output import load_seconds
from inference_autotuner.optimizer.benchmarks.genai_bench_runs import (
    build_point,
    check_run,
    seconds_of,
)
from inference_autotuner.optimizer.errors import BenchmarkError, TaskError
from inference_autotuner.optimizer.metrics import Measurement, Point
from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.workflows.load_generator import Load, Watch, generate_load
from inference_autotuner.workflows.run_folder import on_disk

COMMAND_FILE = "command.txt"
BUSY_CLIENT_CORES = 0.8  # genai-bench sends from one core; near it, latencies are its own


def measure(
    spec: Spec,
    *,
    url: str,
    served_name: str,
    tokenizer: str,
    api_backend: str,
    folder: Path,
    owner: str,
    on_line: Callable[[str], None],
    on_point: Callable[[int, int], None],
    is_alive: Callable[[], bool],
    is_cancelled: Callable[[], bool],
) -> Measurement:
    """Loads the server with the task's traffic.

    Args:
        spec: The task's spec.
        url: The server's address, without `/v1`.
        served_name: The model name in requests.
        tokenizer: Folder or hub id that genai-bench counts tokens with.
        api_backend: genai-bench's name for the engine.
        folder: Where the raw files go; each invocation makes a new folder in it.
        owner: `<study>/<trial>`, the mark of genai-bench's process.
        on_line: Hears each line of genai-bench's output.
        on_point: Hears how many points are done, of how many.
        is_alive: Whether the server still runs; asked every second.
        is_cancelled: Whether everything is to end now.

    Returns:
        The points, in the order of the task: by scenario, then by concurrency.

    Raises:
        BenchmarkError: No valid measurement; never a guess.
        TaskError: genai-bench cannot run this workload.
        StudyError: genai-bench is not installed.
    """
    if mistakes := workload_mistakes(spec.workload):
        raise TaskError(mistakes)
    traffic = Traffic(spec, url, served_name, tokenizer, api_backend, folder)
    watch = Watch(owner, on_line, is_alive, is_cancelled)
    if spec.workload.warmupRequests:
        _load("the warm-up", traffic.warm_up(), watch)
    wanted = traffic.points()
    seen: dict[tuple[str, int], _Seen] = {}
    for scenario, concurrency in _mixed(wanted, spec.search.seed):
        run = traffic.run(scenario, concurrency)
        seen[scenario, concurrency] = _measure_point(spec, run, watch)
        on_point(len(seen), len(wanted))
    in_order = [seen[each] for each in wanted]
    notes = tuple(note for each in in_order for note in each.notes)
    return Measurement(tuple(each.point for each in in_order), notes)


@dataclass(frozen=True)
class Traffic:
    """The runs of genai-bench that measure one server."""

    spec: Spec
    url: str
    served_name: str
    tokenizer: str
    api_backend: str
    folder: Path

    def points(self) -> list[tuple[str, int]]:
        """Scenario and concurrency of each point, in the order of the task."""
        workload = self.spec.workload
        assert isinstance(workload.concurrency, list)
        return [(s.scenario, c) for s in workload.scenarios for c in workload.concurrency]

    def run(self, scenario: str, concurrency: int) -> Run:
        """The run that measures one point."""
        name = f"{_plain(scenario)}-c{concurrency}"
        return self._run(name, (scenario,), concurrency, self.spec.workload.requests)

    def warm_up(self) -> Run:
        """The run before anything counts: every scenario, at the highest concurrency."""
        workload = self.spec.workload
        scenarios = tuple(s.scenario for s in workload.scenarios)
        requests = -(-workload.warmupRequests // len(scenarios))
        return self._run("warm-up", scenarios, max(c for _, c in self.points()), requests)

    def _run(self, name: str, scenarios: tuple[str, ...], concurrency: int, requests: int) -> Run:
        workload = self.spec.workload
        return Run(
            api_base=self.url.rstrip("/"),
            served_name=self.served_name,
            tokenizer=self.tokenizer,
            api_backend=self.api_backend,
            scenarios=scenarios,
            concurrency=concurrency,
            requests=requests,
            max_time_s=workload.maxTime,
            base_folder=str(self.folder.absolute()),
            folder_name=_free_name(self.folder, name),
            request_params=workload.requestParams,
            shared_prefix=workload.sharedPrefix,
        )


@dataclass(frozen=True)
class _Seen:
    point: Point
    notes: tuple[str, ...]


def _measure_point(spec: Spec, run: Run, watch: Watch) -> _Seen:
    title = f"{run.scenarios[0]} at concurrency {run.concurrency}"
    load = _load(title, run, watch)
    file = load.files[0]
    to_last = load_seconds(load.spans, len(file.successes))
    try:
        notes = check_run(file, run=run, max_error_rate=spec.workload.maxErrorRate, to_last=to_last)
        seconds = seconds_of(file, run=run, to_last=to_last)
        point = build_point(file, slos=spec.slos, seconds=seconds)
    except BenchmarkError as error:
        raise BenchmarkError(error.reason, f"{title}: {error}") from error
    if to_last is None:
        notes += ("genai-bench told no times of requests; rates may be up to a second off",)
    if load.client_cores is not None and load.client_cores > BUSY_CLIENT_CORES:
        notes += (f"genai-bench itself took {load.client_cores:.2f} cores; it may be the limit",)
    return _Seen(point, tuple(f"{title}: {note}" for note in notes))


def _load(title: str, run: Run, watch: Watch) -> Load:
    try:
        load = generate_load(run, watch)
    except BenchmarkError as error:
        raise BenchmarkError(error.reason, f"{title}: {error}") from error
    path = Path(run.base_folder, run.folder_name, COMMAND_FILE)
    with on_disk(path.parent):
        path.write_text(shell_command(run) + "\n", "utf-8")
    return load


def _mixed(points: list[tuple[str, int]], seed: int) -> list[tuple[str, int]]:
    """The same order in every trial, and not from light to heavy: drift must not look like load."""
    return random.Random(seed).sample(points, len(points))


def _plain(scenario: str) -> str:
    """`N(480,240)/(300,150)` as part of a folder's name."""
    return "_".join("".join(c if c.isalnum() else " " for c in scenario).split())


def _free_name(folder: Path, name: str) -> str:
    """An earlier attempt's folder is kept: genai-bench would mix its files with ours."""
    names = (name if number == 1 else f"{name}-{number}" for number in range(1, 10_000))
    return next(free for free in names if not (folder / free).exists())
