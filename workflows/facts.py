"""What a measurement rests on: the machine and the versions of everything that ran."""

import importlib.metadata
import os
import platform
from pathlib import Path

import psutil

_PACKAGES = ("inference-autotuner", "optuna", "genai-bench", "xllamacpp", "vllm", "sglang")


def machine_facts() -> dict[str, str]:
    """Names and values for a person, e.g. `cores: 2`."""
    gigabytes = psutil.virtual_memory().total / 2**30
    facts = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{gigabytes:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    return facts | {name: version for name in _PACKAGES if (version := _version(name))}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
