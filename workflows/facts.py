"""What a measurement rests on: the machine or cluster, and the versions of everything that ran."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from inference_autotuner.workflows.cluster import Cluster

_GPU = "nvidia.com/gpu"
_GPU_LABEL = "nvidia.com/gpu.product"  # NVIDIA's feature discovery sets it
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


def cluster_facts(cluster: "Cluster") -> dict[str, str]:
    """The same of a cluster, as far as whoever submits may see it."""
    facts = {"cluster": f"Kubernetes {cluster.version()}"}
    nodes = cluster.list("Node", None) if cluster.can("list", "Node", None) else []
    products = {node["metadata"].get("labels", {}).get(_GPU_LABEL) for node in nodes}
    gpus = sum(int(node["status"].get("capacity", {}).get(_GPU, 0)) for node in nodes)
    if nodes:
        facts["nodes"] = str(len(nodes))
        facts["gpus"] = " ".join([str(gpus), *sorted(filter(None, products))])
    return facts | {name: version for name in _PACKAGES[:2] if (version := _version(name))}


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
