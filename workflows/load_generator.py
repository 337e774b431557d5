"""One invocation of genai-bench: started apart, watched, ended as soon as its data is complete.

It is judged by its files, never by its exit code, and it is never imported: it patches sockets.
"""

import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from inference_autotuner.optimizer.benchmarks.genai_bench import (
    LOAD_BEGINS,
    PROGRAM,
    Run,
    command_line,
    environment,
    scrub,
)
from inference_autotuner.optimizer.benchmarks.genai_bench_output import Span, Transcript
from inference_autotuner.optimizer.benchmarks.genai_bench_runs import RunFile
from inference_autotuner.optimizer.errors import BenchmarkError, Reason, StudyError
from inference_autotuner.workflows.marks import mark_environment
from inference_autotuner.workflows.processes import Identity, end, family, identify
from inference_autotuner.workflows.processor_meter import ProcessorMeter
from inference_autotuner.workflows.run_folder import (
    LOG_FILE,
    complete_files,
    explain,
    on_disk,
    prepare,
    tidy,
)

PROGRAM_VARIABLE = "AUTOTUNER_GENAI_BENCH"
# Its start takes 4 s, on a busy machine 10 s; what takes longer than this is stuck.
START_UP_S = 120.0
_POLL_S = 0.1
_ALIVE_S = 1.0
_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Watch:
    """What is heard and asked while genai-bench runs.

    Attributes:
        owner: `<study>/<trial>`, the mark of its process.
        on_line: Hears each line of its output.
        is_alive: Whether the server still runs.
        is_cancelled: Whether everything is to end now.
    """

    owner: str
    on_line: Callable[[str], None]
    is_alive: Callable[[], bool]
    is_cancelled: Callable[[], bool]


@dataclass(frozen=True)
class Load:
    """What one invocation left.

    Attributes:
        files: A run file for each scenario, complete but not checked.
        spans: Begin and end of each response, seconds.
        client_cores: Cores that genai-bench itself took during the load; None where unknown.
    """

    files: list[RunFile]
    spans: list[Span]
    client_cores: float | None


def find_program() -> str:
    """The genai-bench that is named, that of this environment, or the one on PATH.

    Raises:
        StudyError: There is none.
    """
    beside = Path(sys.executable).parent / PROGRAM
    chosen = os.environ.get(PROGRAM_VARIABLE) or (str(beside) if beside.exists() else PROGRAM)
    found = shutil.which(chosen)
    if found is None:
        raise StudyError(
            f"{chosen} is not installed: pip install 'inference-autotuner[bench]', or name the "
            f"program of another environment in {PROGRAM_VARIABLE}"
        )
    return found


def generate_load(run: Run, watch: Watch) -> Load:
    """Runs genai-bench once, in a new folder that keeps its data and its output.

    Raises:
        BenchmarkError: It was cancelled, the server died, or there is no data; says why.
        StudyError: genai-bench is not installed.
    """
    program = find_program()
    folder = Path(run.base_folder, run.folder_name)
    with on_disk(folder):
        prepare(folder)
    try:
        with _started(program, run, folder, watch.owner) as child:
            code = _follow(child, run, watch)
            _finish(child, watch)
        files = complete_files(folder, len(run.scenarios))
        if files is None:
            raise explain(folder, code)
        return Load(files, child.transcript.spans, child.meter.cores())
    finally:
        tidy(folder)


@dataclass(frozen=True)
class _Child:
    process: subprocess.Popen[str]
    identity: Identity | None
    folder: Path
    log: IO[str]
    meter: ProcessorMeter
    transcript: Transcript = field(default_factory=Transcript)
    lines: "queue.Queue[str | None]" = field(default_factory=queue.Queue)


@contextmanager
def _started(program: str, run: Run, folder: Path, owner: str) -> Iterator[_Child]:
    with on_disk(folder):
        log = (folder / LOG_FILE).open("w", encoding="utf-8")
    with log:
        process = _start(program, run, folder, owner)
        meter = ProcessorMeter(process.pid)
        child = _Child(process, identify(process.pid), folder, log, meter)
        reader = threading.Thread(target=_read, args=(process, child.lines), daemon=True)
        reader.start()
        try:
            yield child
        finally:
            _end(child)
            reader.join(_PATIENCE_S)


def _start(program: str, run: Run, folder: Path, owner: str) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            [program, *command_line(run)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            cwd=folder,
            env=_environment(run, owner),
            start_new_session=True,
        )
    except OSError as error:
        raise _failed(f"{program} cannot be started: {error.strerror}") from error


def _environment(run: Run, owner: str) -> Mapping[str, str]:
    """A proxy that is set on this machine must not stand between genai-bench and the server."""
    host = urlsplit(run.api_base).hostname or ""
    direct = ",".join(filter(None, [os.environ.get("NO_PROXY", ""), host]))
    proxies = {"NO_PROXY": direct, "no_proxy": direct}
    return {**os.environ, **proxies, **environment(run), **mark_environment(owner)}


def _read(process: subprocess.Popen[str], lines: "queue.Queue[str | None]") -> None:
    assert process.stdout is not None
    with process.stdout as output:
        for line in output:
            lines.put(scrub(line.rstrip("\n")))
    lines.put(None)


def _end(child: _Child) -> None:
    """Once the data is written there is nothing to lose, before that nothing to keep."""
    if (identity := child.identity) is not None:
        end(lambda: family(identity), grace_s=0.0, patience_s=_PATIENCE_S)
    child.process.wait()


def _finish(child: _Child, watch: Watch) -> None:
    """What was said before the data was complete is heard to the end: it has the times."""
    _end(child)
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and not _pass_on(child, watch):
        pass


def _follow(child: _Child, run: Run, watch: Watch) -> int | None:
    """Waits until the data is complete (None) or the process has ended (its exit code)."""
    deadline = time.monotonic() + len(run.scenarios) * run.max_minutes * 60 + START_UP_S
    asked = 0.0
    while True:
        has_ended = _pass_on(child, watch)
        if complete_files(child.folder, len(run.scenarios)) is not None:
            child.meter.stop()
            return None
        if has_ended:
            return _exit_code(child)
        now = time.monotonic()
        _give_up_when_late(now, deadline, run)
        if watch.is_cancelled():
            raise BenchmarkError(Reason.INTERRUPTED, "the benchmark was cancelled")
        if now > asked + _ALIVE_S:
            asked = now
            if not watch.is_alive():
                raise _failed("the server died while it was measured")


def _exit_code(child: _Child) -> int:
    """Its output has ended, so it ends now, or closed it for no good reason."""
    with suppress(subprocess.TimeoutExpired):
        return child.process.wait(_PATIENCE_S)
    _end(child)
    return child.process.returncode


def _give_up_when_late(now: float, deadline: float, run: Run) -> None:
    if now > deadline:
        raise _failed(
            f"genai-bench gave no result within {run.max_minutes} min and {START_UP_S:.0f} s more; "
            "does the server leave requests unanswered?"
        )


def _pass_on(child: _Child, watch: Watch) -> bool:
    """Hands on the lines there are, waiting a moment for one; True after the last."""
    wait_s = _POLL_S
    while True:
        try:
            line = child.lines.get(timeout=wait_s)
        except queue.Empty:
            return False
        if line is None:
            child.lines.put(None)  # so that whoever asks again hears the same
            return True
        _hear(child, line, watch)
        wait_s = 0.0


def _hear(child: _Child, line: str, watch: Watch) -> None:
    if LOAD_BEGINS in line:
        child.meter.begin()
    shown = child.transcript.hear(line)
    if shown is not None:
        with on_disk(child.folder):
            child.log.write(shown + "\n")
            child.log.flush()
        watch.on_line(shown)


def _failed(why: str) -> BenchmarkError:
    return BenchmarkError(Reason.BENCHMARK_FAILED, why)
