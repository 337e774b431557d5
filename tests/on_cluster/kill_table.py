"""Breaks a study on the cluster in one way after another, and prints what became of it.

    python tests/on_cluster/kill_table.py [ROW...]

Each row submits a small study, does the damage, waits until nothing of the servers is left, and
submits the same task again: the study must go on to its end, with every trial that was told.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.on_cluster import site

_LEFT_S = 120.0  # within which nothing of a broken trial may be left
_STUDY_S = 900.0
TASK = """
apiVersion: inference-autotuner/v1alpha1
kind: TuningTask
metadata: {{name: {name}}}
spec:
  model: {{name: {model}, tokenizer: /models/smollm2-135m.gguf, servedName: smollm2}}
  engine: {engine}
  deployment: {{mode: {mode}, namespace: tuning, gpus: 1, readyTimeout: 2m}}
  parameters: {{threads: [1, 2], parallel: [1, 4]}}
  workload:
    {{scenarios: ["D(32,32)"], concurrency: [2], requests: 24, maxTime: 1m, warmupRequests: 0}}
  search: {{seed: {seed}}}
  budget: {{trials: 2}}
  confirm: {{repeats: 0}}
"""
PLACES = {
    "kubernetes": {
        "model": "/models/smollm2-135m.gguf",
        "engine": '{name: llamacpp, image: "localhost/llamacpp:dev"}',
    },
    "ome": {"model": "smollm2-135m", "engine": "{name: llamacpp, runtime: llama-cpp-cpu}"},
}


@dataclass
class Row:
    """One way to break a study.

    Attributes:
        name: For the table and the command line.
        damage: Breaks the study of that name while it runs.
        mode: `kubernetes` or `ome`.
    """

    name: str
    damage: Callable[[str], None]
    mode: str = "kubernetes"


def delete_pod(step: str) -> Callable[[str], None]:
    def damage(study: str) -> None:
        found = site.until(f"a pod of {step}", lambda: site.step_pods(study, step), 300)
        name = found[0]["metadata"]["name"]
        site.kubectl(
            "-n",
            site.NAMESPACE,
            "delete",
            "pod",
            name,
            "--wait=false",
            "--grace-period=0",
            "--force",
        )

    return damage


def wait_for_server(study: str) -> str:
    """The pod of a server that is being measured."""
    site.until("a benchmark", lambda: site.step_pods(study, "benchmark"), 300)
    time.sleep(5)
    selector = f"{site.STUDY}={study},inference-autotuner/trial"
    return str(site.objects("pods", "-l", selector)[0]["metadata"]["name"])


def stop(*options: str) -> Callable[[str], None]:
    def damage(study: str) -> None:
        wait_for_server(study)
        done = site.autotuner("stop", study, *options)
        assert done.returncode == 0, done.stderr

    return damage


def terminate(study: str) -> None:
    wait_for_server(study)
    patch = json.dumps({"spec": {"shutdown": "Terminate"}})
    site.kubectl("-n", site.NAMESPACE, "patch", "workflow", study, "--type=merge", "-p", patch)


def delete_workflow(study: str) -> None:
    wait_for_server(study)
    site.kubectl("-n", site.NAMESPACE, "delete", "workflow", study, "--wait=false")


def restart_controller(study: str) -> None:
    """As the one-node cluster runs it: a process of the node, which nobody starts again."""
    wait_for_server(study)
    state = Path(os.environ.get("AUTOTUNER_CLUSTER_STATE", "/var/lib/autotuner-cluster"))
    record = state / "workflow-controller.pid"
    process = Path("/proc", record.read_text())
    words = process.joinpath("cmdline").read_text().rstrip("\0").split("\0")
    pairs = process.joinpath("environ").read_text().rstrip("\0").split("\0")
    environment = dict(pair.split("=", 1) for pair in pairs)
    os.kill(int(record.read_text()), 9)
    time.sleep(10)
    with (state / "workflow-controller.log").open("ab") as log:
        again = subprocess.Popen(
            words, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    record.write_text(str(again.pid))


def restart_storage(study: str) -> None:
    wait_for_server(study)
    site.kubectl("-n", site.NAMESPACE, "rollout", "restart", "deployment/autotuner-storage")


def stop_storage(study: str) -> None:
    wait_for_server(study)
    scale = ("-n", site.NAMESPACE, "scale", "deployment/autotuner-storage")
    site.kubectl(*scale, "--replicas=0")
    time.sleep(60)
    site.kubectl(*scale, "--replicas=1")
    wait = ("rollout", "status", "deployment/autotuner-storage", "--timeout=120s")
    site.kubectl("-n", site.NAMESPACE, *wait)


def delete_service(study: str) -> None:
    wait_for_server(study)
    kind = "inferenceservices.ome.io"
    site.kubectl(
        "-n", site.NAMESPACE, "delete", kind, "-l", f"{site.STUDY}={study}", "--wait=false"
    )


def crash_engine(study: str) -> None:
    pod = wait_for_server(study)
    words = ("sh", "-c", "kill -9 $(pgrep -f llamacpp_server | head -1) || kill -9 1")
    site.kubectl("-n", site.NAMESPACE, "exec", pod, "--", *words, is_checked=False)
    kill_on_node(pod, 9)


def kill_on_node(pod: str, signal: int) -> None:
    """A process of a container, from the node: process 1 of a container ignores its own."""
    for pid in processes_of(pod):
        os.kill(pid, signal)


def processes_of(pod: str) -> list[int]:
    """The engine's processes, on this node."""
    uid = next(p for p in site.objects("pods") if p["metadata"]["name"] == pod)["metadata"]["uid"]
    found = []
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            is_ours = uid in path.read_text() or uid.replace("-", "_") in path.read_text()
            if is_ours and b"llamacpp_server" in (path.parent / "cmdline").read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def exhaust_memory(study: str) -> None:
    """Many small processes fill the container: the engine is its largest, which the kernel ends."""
    pod = wait_for_server(study)
    for pid in processes_of(pod):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
    one = "import time; held = bytearray(60 << 20); time.sleep(20)"
    script = f"for i in $(seq 20); do python3 -c '{one}' & done; wait"
    site.kubectl("-n", site.NAMESPACE, "exec", pod, "--", "sh", "-c", script, is_checked=False)


ROWS = [
    *(
        Row(f"{step} pod deleted", delete_pod(step))
        for step in ("ask", "deploy", "benchmark", "tell", "release")
    ),
    Row("stop", stop()),
    Row("stop --now", stop("--now")),
    Row("terminated", terminate),
    Row("Workflow deleted", delete_workflow),
    Row("controller restarted", restart_controller),
    Row("storage restarted", restart_storage),
    Row("storage away for a minute", stop_storage),
    Row("InferenceService deleted", delete_service, "ome"),
    Row("engine crashed under load", crash_engine),
    Row("engine killed for memory", exhaust_memory, "ome"),
]


def told(study: str) -> dict[int, str]:
    """Trials that have an end, with it."""
    trials = site.answer("status", study)["trials"]
    return {each["number"]: each["state"] for each in trials if each["state"] != "running"}


def run(row: Row, seed: int, folder: Path) -> str:
    name = f"kill-{seed}"
    text = TASK.format(name=name, mode=row.mode, seed=seed, **PLACES[row.mode])
    file = folder / f"{name}.yaml"
    file.write_text(text)
    study = str(site.answer("submit", "--direct", str(file))["study"])
    row.damage(study)
    began = time.monotonic()
    before = told(study)
    until_quiet(study)
    left_s = time.monotonic() - began
    resubmit(study, file)
    after = site.answer("status", study)
    kept = {n: s for n, s in told(study).items() if n in before}
    ends = [
        f"{t['number']}:{t['state']}" + (f" {t['why'][:40]}" if t["why"] else "")
        for t in after["trials"]
    ]
    is_well = (
        kept == before
        and not site.engines(study)
        and all(t["state"] != "running" for t in after["trials"])
        and after["phase"] == "finished"
        and after["verdict"] is not None
    )
    well = "yes" if is_well else "NO "
    shown = "; ".join(ends)
    return f"{well}  {row.name:<28} {left_s:5.0f} s  {after['phase']:<9} {shown}"


def until_quiet(study: str) -> None:
    """Either the study went on by itself, or nothing of it is left within the time."""
    broken_at = time.monotonic()
    while not site.has_ended(study):
        time.sleep(2)
        assert time.monotonic() - broken_at < _STUDY_S, f"{study} does not end"
    site.until("no server left", lambda: not site.engines(study), _LEFT_S)


def resubmit(study: str, file: Path) -> None:
    deadline = time.monotonic() + _STUDY_S
    while time.monotonic() < deadline:
        submitted: Any = site.answer("submit", "--direct", str(file))
        if submitted["workflow"] is None:
            return
        ended = partial(site.has_ended, submitted["workflow"])
        site.until("the Workflow's end", ended, _STUDY_S)
    raise AssertionError(f"{study} is not finished")


def main(wanted: Sequence[str]) -> None:
    folder = Path("build/kill_table")
    folder.mkdir(parents=True, exist_ok=True)
    print("well damage                       servers gone  study     trials", flush=True)
    first = int(time.time()) % 100_000
    for number, row in enumerate(ROWS):
        if wanted and row.name not in wanted:
            continue
        try:
            print(run(row, first + number, folder), flush=True)
        except AssertionError as error:
            print(f"NO   {row.name:<28} {error}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
