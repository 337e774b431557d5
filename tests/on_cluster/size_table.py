"""A study of 100 trials whose benchmark returns at once: what Argo and the storage bear.

    python tests/on_cluster/size_table.py [TRIALS]

Prints the Workflow's size, writes to the API per trial, and the memory of Argo's controller and of
the storage service. The image `localhost/autotuner-instant:dev` must be there; see `build_instant`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.on_cluster import site

IMAGE = "localhost/autotuner-instant:dev"
TASK = """
apiVersion: inference-autotuner/v1alpha1
kind: TuningTask
metadata: {name: size-NAME}
spec:
  model:
    name: /models/smollm2-135m.gguf
    tokenizer: /models/smollm2-135m.gguf
    servedName: smollm2
  engine: {name: llamacpp, image: "localhost/llamacpp:dev", args: {threads: 1}}
  deployment: {mode: kubernetes, namespace: tuning, gpus: 1, readyTimeout: 5m}
  parameters:
    parallel: [1, 2, 3, 4, 5, 6]
    batch-size: [64, 128, 256, 512]
    ubatch-size: [16, 32, 64, 128, 256]
  workload:
    {scenarios: ["D(32,16)"], concurrency: [2], requests: 8, maxTime: 1m, warmupRequests: 0}
  search: {sampler: random}
  budget: {trials: TRIALS, parallel: 4}
  confirm: {repeats: 0}
"""


def build_instant() -> None:
    """The benchmark's image with the tests' own load generator in it."""
    folder = site.ROOT / "tests/on_cluster/images/instant"
    with tempfile.TemporaryDirectory() as work:
        for path in (*folder.iterdir(), site.ROOT / "tests/workflows/fake_genai_bench.py"):
            (Path(work) / path.name).write_bytes(path.read_bytes())
        subprocess.run([os.environ["AUTOTUNER_CLUSTER"], "image", IMAGE, work], check=True)


def configure(name: str, key: str, value: str) -> None:
    patch = json.dumps({"data": {key: value}})
    words = ("patch", "configmap", name, "--type=merge", "-p", patch)
    site.kubectl("-n", site.NAMESPACE, *words)


def writes() -> int:
    """Requests so far that changed something, as the API server counts them."""
    total = 0.0
    for line in site.kubectl("get", "--raw", "/metrics").splitlines():
        is_request = line.startswith("apiserver_request_total{")
        if is_request and any(f'verb="{v}"' in line for v in ("POST", "PUT", "PATCH", "DELETE")):
            total += float(line.rpartition(" ")[2])
    return int(total)


def memory_mb(pattern: str) -> float:
    """Resident memory of the largest process whose command line has `pattern`."""
    most = 0.0
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            command = (path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if pattern in command and "size_table" not in command:
                kilobytes = next(x for x in path.read_text().splitlines() if "VmRSS" in x).split()
                most = max(most, int(kilobytes[1]) / 1024)
        except (OSError, StopIteration):
            continue
    return most


def sizes(workflow: str) -> tuple[int, int]:
    """Bytes of the Workflow as it is stored, and of its nodes alone when they are packed."""
    found = site.workflow(workflow)
    packed = found["status"].get("compressedNodes") or ""
    found["metadata"].pop("managedFields", None)
    return len(json.dumps(found, separators=(",", ":"))), len(packed)


def main(trials: int) -> None:
    build_instant()
    configure("autotuner-config", "bench-image", IMAGE)
    configure("gpu-pools", "default", "4")
    folder = Path("build/size_table")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "task.yaml"
    text = TASK.replace("NAME", str(int(time.time()) % 100_000)).replace("TRIALS", str(trials))
    file.write_text(text)
    before, began = writes(), time.monotonic()
    submitted = site.answer("submit", "--direct", str(file))
    try:
        follow(submitted["workflow"], submitted["study"], began)
    finally:
        configure("autotuner-config", "bench-image", "localhost/autotuner-bench:dev")
        configure("gpu-pools", "default", "2")
    ended = site.answer("status", submitted["study"])
    count = len(ended["trials"])
    print(f"states: {ended['states']}; {ended['phase']}")
    print(f"writes to the API: {(writes() - before) / count:.0f} a trial (all of the cluster's)")


def follow(workflow: str, study: str, began: float) -> None:
    header = ("minutes", "trials", "workflow KiB", "packed KiB", "controller MB", "storage MB")
    print("".join(f"{title:>15}" for title in header), flush=True)
    while True:
        is_over = site.has_ended(workflow)
        whole, packed = sizes(workflow)
        row = (
            f"{(time.monotonic() - began) / 60:.1f}",
            str(len(site.answer("status", study)["trials"])),
            f"{whole / 1024:.0f}",
            f"{packed / 1024:.0f}",
            f"{memory_mb('workflow-controller --kubeconfig'):.0f}",
            f"{memory_mb('autotuner storage'):.0f}",
        )
        print("".join(f"{cell:>15}" for cell in row), flush=True)
        if is_over:
            return
        time.sleep(60)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
