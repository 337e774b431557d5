import errno
import json
import os
import sys
import threading
from pathlib import Path

import psutil
import pytest

from inference_autotuner.optimizer.errors import BenchmarkError, Reason, StudyError, TaskError
from inference_autotuner.optimizer.metrics import Metric, Statistic
from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.workflows import load_generator
from inference_autotuner.workflows.benchmark import measure
from inference_autotuner.workflows.gguf_tokenizer import write_tokenizer
from inference_autotuner.workflows.load_generator import PROGRAM_VARIABLE, find_program
from inference_autotuner.workflows.processor_meter import ProcessorMeter
from inference_autotuner.workflows.run_folder import on_disk
from tests.workflows.real_engine import serving, small_model
from tests.workflows.timing import until

FAKE = Path(__file__).with_name("fake_genai_bench.py")


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path / "state"))


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Makes genai-bench a program that misbehaves in one way."""
    program = tmp_path / "genai-bench"
    program.write_text(f"#!{sys.executable}\n{FAKE.read_text()}")
    program.chmod(0o755)
    monkeypatch.setenv(PROGRAM_VARIABLE, str(program))
    return lambda mode: monkeypatch.setenv("FAKE_GENAI_BENCH", mode)


def a_spec(**workload):
    return Spec.model_validate(
        {
            "model": {"name": "m.gguf"},
            "engine": {"name": "llamacpp"},
            "deployment": {"mode": "process"},
            "parameters": {"threads": [1, 2]},
            "workload": {
                **{"scenarios": ["D(16,8)"], "concurrency": [2], "requests": 4},
                **{"maxTime": "1m", "warmupRequests": 0},
                **workload,
            },
            "slos": [{"metric": "ttft", "limit": "30s"}],
            "search": {"seed": 3},
        }
    )


class Audience:
    def __init__(self):
        self.lines, self.points = [], []
        self.lives, self.stops = True, False

    def measure(self, folder, spec=None, url="http://127.0.0.1:9", tokenizer="/models/t"):
        return measure(
            spec or a_spec(),
            url=url,
            served_name="m",
            tokenizer=str(tokenizer),
            api_backend="vllm",
            folder=folder,
            owner="study-h1/t-0001",
            on_line=self.lines.append,
            on_point=lambda done, total: self.points.append((done, total)),
            is_alive=lambda: self.lives,
            is_cancelled=lambda: self.stops,
        )


def failure(folder, audience=None, spec=None):
    with pytest.raises(BenchmarkError) as caught:
        (audience or Audience()).measure(folder, spec)
    return caught.value.reason, str(caught.value)


def folders(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def test_a_point_is_known_before_genai_bench_has_drawn_its_plots(fake, tmp_path):
    fake("good")
    audience = Audience()
    measurement = audience.measure(tmp_path / "b")
    (point,) = measurement.points
    assert (point.scenario, point.concurrency, point.requests) == ("D(16,8)", 2, 4)
    assert point.duration_s == 2.0
    assert point.value(Metric.OUTPUT_THROUGHPUT) == 16.0
    assert point.value(Metric.TTFT, Statistic.P99) == 0.1
    assert point.value(Metric.GOODPUT) == 2.0
    assert audience.points == [(1, 1)]
    assert measurement.notes == ()


def test_without_times_the_duration_is_genai_benchs_own_and_that_is_noted(fake, tmp_path):
    fake("timeless")
    measurement = Audience().measure(tmp_path / "b")
    assert measurement.points[0].duration_s == 2.6
    assert "told no times" in measurement.notes[0]


def test_what_the_model_answers_is_neither_shown_nor_kept(fake, tmp_path):
    fake("good_but_1")
    audience = Audience()
    audience.measure(tmp_path / "b")
    kept = (tmp_path / "b" / "D_16_8-c2" / "output.log").read_text()
    assert "ValueError: the plot went wrong" in kept
    assert not [line for line in [*audience.lines, kept] if "secret" in line or "DEBUG" in line]


def test_the_data_is_kept_without_keys_and_plots_are_not(fake, tmp_path):
    fake("good_but_1")
    audience = Audience()
    audience.measure(tmp_path / "b")
    kept = {path.name: path.read_text() for path in (tmp_path / "b" / "D_16_8-c2").iterdir()}
    assert {"command.txt", "output.log", "experiment_metadata.json"} <= set(kept)
    assert not {"plot.png", "genai_bench.log"} & set(kept)
    assert any(name.endswith("_time_1s.json") for name in kept)
    assert "--api-key ***" in kept["experiment_metadata.json"]
    assert "api_key: ***" in kept["output.log"]
    assert "api_key: ***" in audience.lines
    assert kept["command.txt"].startswith("env ENABLE_UI=false")


def test_the_process_carries_the_mark_and_speaks_to_the_server_directly(
    fake, tmp_path, monkeypatch
):
    fake("good")
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", "intern.example")
    Audience().measure(tmp_path / "b", url="http://10.1.2.3:8080/")
    seen = json.loads((tmp_path / "b" / "D_16_8-c2" / "environment.json").read_text())
    assert seen["AUTOTUNER_OWNER"] == "study-h1/t-0001"
    assert seen["ENABLE_UI"] == "false"
    assert seen["NO_PROXY"] == seen["no_proxy"] == "intern.example,10.1.2.3"
    arguments = json.loads((tmp_path / "b" / "D_16_8-c2" / "arguments.json").read_text())
    assert arguments[arguments.index("--api-base") + 1] == "http://10.1.2.3:8080"


def test_the_warm_up_takes_every_scenario_and_counts_for_nothing(fake, tmp_path):
    fake("good")
    spec = a_spec(scenarios=["D(16,8)", "D(32,4)"], concurrency=[1, 4], warmupRequests=5)
    measurement = Audience().measure(tmp_path / "b", spec)
    arguments = json.loads((tmp_path / "b" / "warm-up" / "arguments.json").read_text())
    chosen = {name: arguments[arguments.index(name) + 1] for name in arguments if name[:2] == "--"}
    assert arguments.count("--traffic-scenario") == 2
    assert chosen["--num-concurrency"] == "4"
    assert chosen["--max-requests-per-run"] == "3"
    assert len(measurement.points) == 4


def test_points_are_measured_in_a_mixed_order_and_told_in_the_tasks(fake, tmp_path):
    fake("good")
    spec = a_spec(concurrency=[1, 2, 4, 8], requests=8)
    orders = []
    for name in ("one", "other"):
        audience = Audience()
        measurement = audience.measure(tmp_path / name, spec)
        assert [point.concurrency for point in measurement.points] == [1, 2, 4, 8]
        assert audience.points == [(1, 4), (2, 4), (3, 4), (4, 4)]
        runs = [path for path in (tmp_path / name).iterdir()]
        runs.sort(key=lambda path: (path / "output.log").stat().st_mtime_ns)
        orders.append([path.name for path in runs])
    assert orders[0] == orders[1]
    assert orders[0] != [f"D_16_8-c{users}" for users in (1, 2, 4, 8)]


def test_an_earlier_attempts_folder_is_left_alone(fake, tmp_path):
    fake("good")
    Audience().measure(tmp_path / "b")
    before = sorted(path.name for path in (tmp_path / "b" / "D_16_8-c2").iterdir())
    Audience().measure(tmp_path / "b")
    assert folders(tmp_path / "b") == ["D_16_8-c2", "D_16_8-c2-2"]
    assert sorted(path.name for path in (tmp_path / "b" / "D_16_8-c2").iterdir()) == before


def test_good_data_of_a_program_that_failed_afterwards_counts(fake, tmp_path):
    fake("good_but_1")
    assert Audience().measure(tmp_path / "b").points[0].requests == 4


@pytest.mark.parametrize(
    ("mode", "reason", "says"),
    [
        ("half", Reason.BENCHMARK_INVALID, "2 of 4 requests failed; the first said: 500 out of"),
        ("all_failed", Reason.BENCHMARK_INVALID, "4 of 4 requests failed; the first said: 503"),
        ("short", Reason.BENCHMARK_INVALID, "outputs had 3.0 tokens instead of 8"),
        ("vanish", Reason.BENCHMARK_INVALID, "empty streams"),
        ("garbage", Reason.BENCHMARK_INVALID, "cut off or damaged"),
        ("nothing", Reason.BENCHMARK_INVALID, "no request ended"),
        ("killed", Reason.BENCHMARK_FAILED, "ended by signal 9"),
        ("aborted", Reason.BENCHMARK_FAILED, "its last words: Aborted!"),
        ("disk", Reason.DISK_FULL, "could not write"),
    ],
)
def test_what_is_no_valid_run_is_never_a_score(mode, reason, says, fake, tmp_path):
    fake(mode)
    found, message = failure(tmp_path / "b")
    assert found is reason
    assert message.startswith("D(16,8) at concurrency 2: ")
    assert says in message


def test_a_warm_up_that_fails_is_the_end(fake, tmp_path):
    fake("all_failed")
    _, message = failure(tmp_path / "b", spec=a_spec(warmupRequests=4))
    assert message.startswith("the warm-up: 4 of 4 requests failed")
    assert folders(tmp_path / "b") == ["warm-up"]


def test_output_that_is_no_text_and_plenty_harms_nothing(fake, tmp_path):
    fake("noise")
    audience = Audience()
    assert audience.measure(tmp_path / "b").points
    assert len(audience.lines) > 1000


def test_a_program_that_never_ends_is_ended_at_the_deadline(fake, tmp_path, monkeypatch):
    fake("hang")
    monkeypatch.setattr(load_generator, "START_UP_S", -59.0)
    reason, message = failure(tmp_path / "b")
    assert reason is Reason.BENCHMARK_FAILED
    assert "leave requests unanswered" in message


def test_a_server_that_dies_ends_the_run(fake, tmp_path):
    fake("hang")
    audience = Audience()
    audience.lives = False
    reason, message = failure(tmp_path / "b", audience)
    assert (reason, "the server died" in message) == (Reason.BENCHMARK_FAILED, True)


def test_a_cancelled_run_ends_with_all_its_processes(fake, tmp_path):
    fake("family")
    audience = Audience()
    found = []
    waiter = threading.Thread(target=lambda: found.append(failure(tmp_path / "b", audience)))
    waiter.start()
    until(lambda: "the child is there" in audience.lines)
    child = int((tmp_path / "b" / "D_16_8-c2" / "child.pid").read_text())
    assert psutil.pid_exists(child)
    audience.stops = True
    waiter.join(20)
    assert found[0][0] is Reason.INTERRUPTED
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie"


def test_an_audience_that_fails_leaves_no_process(fake, tmp_path):
    fake("family")
    audience = Audience()
    audience.lines = _Breaking()
    with pytest.raises(ZeroDivisionError):
        audience.measure(tmp_path / "b")
    child = int((tmp_path / "b" / "D_16_8-c2" / "child.pid").read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie"


class _Breaking(list):
    def append(self, line):
        if "child" in line:
            raise ZeroDivisionError


def test_a_folder_that_cannot_be_written_is_named(fake, tmp_path):
    fake("good")
    (tmp_path / "b").write_text("a file where a folder should be")
    reason, message = failure(tmp_path / "b")
    assert reason is Reason.BENCHMARK_FAILED
    assert "cannot be written: Not a directory" in message


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, Reason.DISK_FULL), (errno.EACCES, Reason.BENCHMARK_FAILED)],
)
def test_a_full_disk_is_told_from_other_faults(number, reason, tmp_path):
    with pytest.raises(BenchmarkError, match=str(tmp_path)) as caught, on_disk(tmp_path):
        raise OSError(number, os.strerror(number))
    assert caught.value.reason is reason


def test_a_load_generator_at_its_limit_is_noted(fake, tmp_path, monkeypatch):
    fake("good")
    monkeypatch.setattr(ProcessorMeter, "cores", lambda meter: 0.95)
    (note,) = Audience().measure(tmp_path / "b").notes
    assert note == (
        "D(16,8) at concurrency 2: genai-bench itself took 0.95 cores; it may be the limit"
    )


def test_a_workload_that_genai_bench_cannot_run_starts_nothing(fake, tmp_path):
    fake("good")
    with pytest.raises(TaskError, match="sharedPrefix"):
        Audience().measure(tmp_path / "b", a_spec(sharedPrefix=17))
    assert not (tmp_path / "b").exists()


def test_a_program_that_is_not_there_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv(PROGRAM_VARIABLE, "/no/such/genai-bench")
    with pytest.raises(StudyError, match="pip install"):
        Audience().measure(tmp_path / "b")


def test_the_program_of_this_environment_comes_before_the_path(monkeypatch):
    monkeypatch.delenv(PROGRAM_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "/usr/bin")
    assert find_program() == str(Path(sys.executable).parent / "genai-bench")


def test_a_real_server_is_measured_by_the_real_genai_bench(tmp_path):
    tokenizer = write_tokenizer(small_model(), tmp_path / "tokenizers")
    flags = ("--threads", "1", "--parallel", "2", "--ctx-size", "512", "--no-warmup")
    audience = Audience()
    with serving(small_model(), *flags) as (url, server):
        audience.lives = server.poll() is None
        measurement = audience.measure(tmp_path / "b", url=url, tokenizer=tokenizer)
    (point,) = measurement.points
    assert (point.scenario, point.concurrency, point.errors) == ("D(16,8)", 2, 0)
    assert point.requests >= 4
    assert measurement.notes == ()
    assert point.value(Metric.OUTPUT_THROUGHPUT) == pytest.approx(
        8 * point.requests / point.duration_s
    )
    (run_file,) = (tmp_path / "b" / "D_16_8-c2").glob("*_time_*s.json")
    totals = json.loads(run_file.read_text())["aggregated_metrics"]
    assert totals["run_duration"] - 2 < point.duration_s < totals["run_duration"]
    assert point.value(Metric.GOODPUT) == pytest.approx(point.value(Metric.REQUEST_THROUGHPUT))
    assert 0 < point.value(Metric.TTFT) < point.value(Metric.E2E_LATENCY)
    kept = [path.name for path in (tmp_path / "b" / "D_16_8-c2").iterdir()]
    assert sorted(path.rpartition(".")[2] for path in kept) == ["json", "json", "log", "txt"]
