"""The folder of one genai-bench invocation: whether its data is complete, and if not, why not."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from inference_autotuner.optimizer.benchmarks.genai_bench import scrub
from inference_autotuner.optimizer.benchmarks.genai_bench_runs import RunFile, parse_run
from inference_autotuner.optimizer.errors import BenchmarkError, Reason

RUN_FILES = "*_time_*s.json"
DEBUG_FILES = "debug_for_run_*.json"
METADATA_FILE = "experiment_metadata.json"
LOG_FILE = "output.log"
SECOND_LOG_FILE = "genai_bench.log"


def prepare(folder: Path) -> None:
    """Makes the folder; the program's second log, with all that the model answers, goes nowhere.

    Raises:
        OSError: It is there already, or cannot be made.
    """
    folder.mkdir(parents=True)
    (folder / SECOND_LOG_FILE).symlink_to(os.devnull)


def complete_files(folder: Path, count: int) -> list[RunFile] | None:
    """The run files, once `count` of them can be read.

    genai-bench writes a run file in one go when the load has ended, and draws plots afterwards.
    """
    paths = sorted(folder.glob(RUN_FILES))
    if len(paths) < count:
        return None
    try:
        return [parse_run(path.read_text("utf-8")) for path in paths]
    except (BenchmarkError, OSError, UnicodeDecodeError):
        return None


def explain(folder: Path, code: int | None) -> BenchmarkError:
    """Why an invocation that ended with `code` left no complete data."""
    log = _text(folder / LOG_FILE)
    if os.strerror(errno.ENOSPC) in log:
        return BenchmarkError(Reason.DISK_FULL, f"genai-bench could not write into {folder}")
    if code is not None and code < 0:
        return _failed(f"genai-bench was ended by signal {-code}; did the machine lack memory?")
    if list(folder.glob(RUN_FILES)):
        return _invalid(f"the run file in {folder} cannot be read; it is cut off or damaged")
    if failures := _failures(folder):
        return _invalid(failures)
    if code == 0:
        return _invalid("genai-bench ended without a result: no request ended; see its log")
    return _failed(
        f"genai-bench ended with code {code} and no result; its last words: {_last_words(log)} "
        f"(all of them: {folder / LOG_FILE})"
    )


def tidy(folder: Path) -> None:
    """Keeps the data, without keys; plots, sheets and the second log are not worth their room."""
    with suppress(OSError):  # what is kept in vain harms nothing, and a full disk stops no cleaning
        for path in folder.iterdir():
            if path.suffix in (".png", ".xlsx") or path.name == SECOND_LOG_FILE:
                path.unlink(missing_ok=True)
    _scrub_file(folder / METADATA_FILE)


@contextmanager
def on_disk(folder: Path) -> Iterator[None]:
    """Says in one sentence that the benchmark's files cannot be written.

    Raises:
        BenchmarkError: DiskFull, or BenchmarkFailed for every other reason.
    """
    try:
        yield
    except OSError as error:
        reason = Reason.DISK_FULL if error.errno == errno.ENOSPC else Reason.BENCHMARK_FAILED
        message = f"the benchmark's files in {folder} cannot be written: {error.strerror}"
        raise BenchmarkError(reason, message) from error


def _scrub_file(path: Path) -> None:
    """A file that cannot be freed of its keys is not kept."""
    try:
        path.write_text(scrub(path.read_text("utf-8", "replace")), "utf-8")
    except FileNotFoundError:
        return
    except OSError:
        path.unlink(missing_ok=True)


def _failures(folder: Path) -> str | None:
    """What the server said, from the file that genai-bench leaves when every request failed."""
    for path in folder.glob(DEBUG_FILES):
        with suppress(BenchmarkError):
            file = parse_run(_text(path))
            if file.failures:
                return file.describe_failures()
    return None


def _last_words(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line or "Aborted" in line]
    return (telling or lines or ["none"])[-1][:300]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _failed(why: str) -> BenchmarkError:
    return BenchmarkError(Reason.BENCHMARK_FAILED, why)


def _invalid(why: str) -> BenchmarkError:
    return BenchmarkError(Reason.BENCHMARK_INVALID, why)
