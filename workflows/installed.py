"""What is installed for a run: Python, engines, the load generator."""

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from inference_autotuner.optimizer.engine import Engine, engine_names, get_engine
from inference_autotuner.optimizer.errors import Failure, StudyError
from inference_autotuner.workflows import launching, load_generator
from inference_autotuner.workflows.finding import Finding, State

_VERSION_S = 30.0  # engines in Python load half of their libraries before they say it
_HAS_VERSION = re.compile(r"\d+\.\d+|\bb?\d{3,}\b")
_PYTHONS = ((3, 11), (3, 12))


def examine_programs() -> list[Finding]:
    """Python, each engine, and what measures them; programs are asked side by side."""
    looks: list[Callable[[], Finding]] = [_python, _genai_bench, _xllamacpp]
    engines = [get_engine(name) for name in engine_names()]
    with ThreadPoolExecutor() as pool:
        others = [pool.submit(look) for look in looks]
        found = list(pool.map(_engine, engines))
    return [*(other.result() for other in others), *found, *_any_engine(found)]


def version_of(program: tuple[str, ...]) -> str | None:
    """What a program says of its version; None when it does not say it in time."""
    asked = _asked_for_version(program)
    try:
        answer = subprocess.run(
            asked,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_VERSION_S,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = [line.strip() for line in answer.stdout.splitlines() if _HAS_VERSION.search(line)]
    return lines[-1][:80] if lines and answer.returncode == 0 else None


def _asked_for_version(program: tuple[str, ...]) -> list[str]:
    """A module is asked for by its package, without running it."""
    if program[1:2] == ("-m",):
        package = program[2].partition(".")[0]
        ask = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
        return [program[0], "-c", ask, package]
    return [program[0], "--version"]


def _python() -> Finding:
    found = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info[:2] in _PYTHONS:
        return Finding("python", State.OK, found)
    return Finding("python", State.WARN, found, "use Python 3.11 or 3.12: genai-bench needs one")


def _engine(engine: Engine) -> Finding:
    path = os.environ.get("PATH", os.defpath)
    program = launching.find_program(engine, None, path=path, base=os.getcwd())
    if isinstance(program, Failure):
        return Finding(engine.title, State.WARN, "not installed", program.message)
    if engine.fallback_module in program:
        return Finding(engine.title, State.OK, f"our launcher over {_package('xllamacpp')}")
    version = version_of(program)
    if version is None and program[1:2] == ("-m",):
        remedy = f"install {engine.title}, or name its program in spec.engine.binary"
        return Finding(engine.title, State.WARN, f"not installed in {program[0]}", remedy)
    return Finding(engine.title, State.OK, f"{program[0]}, {version or 'version unknown'}")


def _any_engine(found: list[Finding]) -> list[Finding]:
    if any(finding.state is State.OK for finding in found):
        return []
    remedy = "pip install 'inference-autotuner[bench]' brings llama.cpp"
    return [Finding("engines", State.BAD, "none is installed", remedy)]


def _genai_bench() -> Finding:
    try:
        program = load_generator.find_program()
    except StudyError as error:
        remedy = "pip install 'inference-autotuner[bench]'"
        return Finding("genai-bench", State.BAD, str(error), remedy)
    is_beside = Path(program).parent == Path(sys.executable).parent
    version = _package("genai-bench") if is_beside else version_of((program,))
    return Finding("genai-bench", State.OK, f"{program}, {version or 'version unknown'}")


def _xllamacpp() -> Finding:
    if found := _package("xllamacpp"):
        return Finding("xllamacpp", State.OK, found)
    remedy = "pip install 'inference-autotuner[bench]', or put llama-server on PATH"
    return Finding("xllamacpp", State.WARN, "not installed", remedy)


def _package(name: str) -> str | None:
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return None
