"""Trials of 3 and of 2 GPUs side by side on a node of 4: prints who held how many, and when.

python tests/on_cluster/gpu_table.py
"""

import time
from pathlib import Path

from tests.on_cluster import site

TASK = """
apiVersion: inference-autotuner/v1alpha1
kind: TuningTask
metadata: {name: gpus-NAME}
spec:
  model:
    name: /models/smollm2-135m.gguf
    tokenizer: /models/smollm2-135m.gguf
    servedName: smollm2
  engine: {name: llamacpp, image: "localhost/llamacpp:dev"}
  deployment:
    {mode: kubernetes, namespace: tuning, gpus: 'params["parallel"] == 1 ? 3 : 2', readyTimeout: 2m}
  parameters: {parallel: [1, 2, 4]}
  workload: {scenarios: ["D(32,16)"], concurrency: [2], requests: 8, maxTime: 1m, warmupRequests: 0}
  search: {baseline: {params: {parallel: 1}}}
  budget: {trials: 3, parallel: 2}
  confirm: {repeats: 0}
"""


def held(study: str) -> dict[str, int]:
    """GPUs of every server that was given a node."""
    selector = f"{site.STUDY}={study},inference-autotuner/trial"
    return {
        pod["metadata"]["labels"]["inference-autotuner/trial"]: int(
            pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
        )
        for pod in site.objects("pods", "-l", selector)
        if pod["spec"].get("nodeName") and pod["status"]["phase"] in ("Pending", "Running")
    }


def waiting(study: str) -> list[str]:
    """Servers without a node."""
    selector = f"{site.STUDY}={study},inference-autotuner/trial"
    return [
        pod["metadata"]["labels"]["inference-autotuner/trial"]
        for pod in site.objects("pods", "-l", selector)
        if not pod["spec"].get("nodeName")
    ]


def main() -> None:
    folder = Path("build/gpu_table")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "task.yaml"
    file.write_text(TASK.replace("NAME", str(int(time.time()) % 100_000)))
    submitted = site.answer("submit", "--direct", str(file))
    study, began, most, last = submitted["study"], time.monotonic(), 0, None
    while not site.has_ended(submitted["workflow"]):
        now, queue = held(study), waiting(study)
        most = max(most, sum(now.values()))
        if (now, queue) != last:
            last = (now, queue)
            shown = ", ".join(f"{trial} holds {count}" for trial, count in sorted(now.items()))
            waits = f"; waiting: {', '.join(queue)}" if queue else ""
            print(
                f"{time.monotonic() - began:6.1f} s  {shown or 'nothing held'}{waits}", flush=True
            )
        time.sleep(0.5)
    print(f"most at once: {most} GPUs of 4")
    for trial in site.answer("status", study)["trials"]:
        print(f"{trial['number']}  {trial['params']:<20} {trial['objective']:>6}  {trial['state']}")
    assert most <= 4


if __name__ == "__main__":
    main()
