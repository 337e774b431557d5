"""The cluster of KUBECONFIG, as the tests and tables on it see it."""

import base64
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NAMESPACE = "tuning"
OVERLAY = "manifests/overlays/development"
STUDY = "inference-autotuner/study"
ENGINE_KINDS = ("inferenceservices.ome.io", "deployments.apps", "services", "pods")

STORAGE = ("-n", NAMESPACE, "rollout", "status", "deployment/autotuner-storage", "--timeout=120s")


def install() -> None:
    """The development overlay, as a person would install it; it stays there."""
    executor = str(ROOT / "third_party/argo-workflows/executor.yaml")
    words = ("patch", "configmap", "workflow-controller-configmap", "--patch-file", executor)
    kubectl("-n", "argo", *words)
    kubectl("apply", "-k", OVERLAY)
    subprocess.run([str(ROOT / "manifests/storage_token"), NAMESPACE], check=True)
    kubectl(*STORAGE)


def kubectl(*words: str, stdin: str | None = None, is_checked: bool = True) -> str:
    """What kubectl prints."""
    done = subprocess.run(
        ["kubectl", *words], input=stdin, capture_output=True, text=True, cwd=ROOT, check=False
    )
    if is_checked and done.returncode:
        raise AssertionError(f"kubectl {' '.join(words)}: {done.stderr}")
    return done.stdout


def objects(kind: str, *words: str) -> list[dict[str, Any]]:
    """Objects of a kind in our namespace; none where the cluster does not know the kind."""
    text = kubectl("-n", NAMESPACE, "get", kind, *words, "-o", "json", is_checked=False)
    return list(json.loads(text)["items"]) if text else []


def storage() -> dict[str, str]:
    """The environment that reaches the storage service from the node itself."""
    service = json.loads(
        kubectl("-n", NAMESPACE, "get", "service", "autotuner-storage", "-o", "json")
    )
    secret = json.loads(
        kubectl("-n", NAMESPACE, "get", "secret", "autotuner-storage", "-o", "json")
    )
    token = base64.b64decode(secret["data"]["token"]).decode()
    address = f"grpc://{service['spec']['clusterIP']}:13000"
    return {"AUTOTUNER_STORAGE": address, "AUTOTUNER_STORAGE_TOKEN": token}


def autotuner(
    *words: str, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Our own command, as a person on the node would type it."""
    program = Path(sys.executable).with_name("autotuner")
    return subprocess.run(
        [str(program), *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **storage(), **(env or {})},
        check=False,
    )


def answer(*words: str) -> Any:
    """What a command prints for programs."""
    done = autotuner(*words, "--output", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def workflow(name: str) -> dict[str, Any]:
    """A Workflow; empty when there is none."""
    text = kubectl("-n", NAMESPACE, "get", "workflow", name, "-o", "json", is_checked=False)
    return dict(json.loads(text)) if text else {}


def phase(name: str) -> str:
    """How a Workflow stands; `gone` when there is none."""
    found = workflow(name)
    return str(found.get("status", {}).get("phase") or "Pending") if found else "gone"


def has_ended(name: str) -> bool:
    """Whether a Workflow is over, its sweep included."""
    return phase(name) in ("Succeeded", "Failed", "Error", "gone")


def engines(study: str) -> list[str]:
    """Everything that is still there of the servers of a study."""
    selector = f"{STUDY}={study},inference-autotuner/trial"
    return [
        f"{kind.partition('.')[0]}/{found['metadata']['name']}"
        for kind in ENGINE_KINDS
        for found in objects(kind, "-l", selector)
    ]


def step_pods(study: str, step: str) -> list[dict[str, Any]]:
    """The pods of one step of a study that run."""
    return [
        pod
        for pod in objects("pods", "-l", f"{STUDY}={study},workflows.argoproj.io/workflow")
        if f"-{step}-" in pod["metadata"]["name"] and pod["status"]["phase"] == "Running"
    ]


def until(what: str, is_so: Callable[[], Any], seconds: float) -> Any:
    """Waits for something; says what never came."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := is_so():
            return found
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


def nodes(found: Mapping[str, Any]) -> dict[str, Any]:
    """The nodes of a Workflow; a large one keeps them packed."""
    status = found["status"]
    if packed := status.get("compressedNodes"):
        return dict(json.loads(gzip.decompress(base64.b64decode(packed))))
    return dict(status["nodes"])
