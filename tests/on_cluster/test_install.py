"""The development overlay on a real cluster: it works, and may do no more than it must.

It stays installed: other tests need it as well.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.on_cluster.site import (
    NAMESPACE,
    OVERLAY,
    ROOT,
    STORAGE,
    autotuner,
    install,
    kubectl,
    objects,
    until,
)

pytestmark = [
    pytest.mark.on_cluster,
    pytest.mark.skipif("KUBECONFIG" not in os.environ, reason="KUBECONFIG names no cluster"),
]

JANITOR = "app.kubernetes.io/name=autotuner-janitor"
# What each account may do of what could hurt, as `kubectl auth can-i` says. It knows no kind that
# the cluster has not, so OME's are left out.
QUESTIONS = (
    "create deployments.apps",
    "delete deployments.apps",
    "create services",
    "delete services",
    "get pods/log",
    "list workflows.argoproj.io",
    "create workflows.argoproj.io",
    "get secrets",
    "create pods",
    "create pods/exec",
    "delete pods",
    "list nodes",
)
ALLOWED = {
    "ask": set(),
    "deploy": {0, 1, 2, 3, 4, 11},
    "benchmark": {1, 3, 4},
    "release": {1, 3, 4},
    "janitor": {1, 3, 4, 5},
    "storage": set(),
}


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    install()


@pytest.mark.parametrize(
    "folder", [".", OVERLAY, "manifests/overlays/ome", "manifests/overlays/postgresql"]
)
def test_the_cluster_takes_every_manifest_to_the_letter(folder: str) -> None:
    text = kubectl("kustomize", folder)
    # What is bound to a volume cannot be given another one, and need not be.
    claimed = "\n---\n".join(
        each for each in text.split("\n---\n") if "kind: PersistentVolumeClaim" not in each
    )
    kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=claimed)


def test_applying_again_changes_nothing_that_runs() -> None:
    before = [pod["metadata"]["uid"] for pod in storage_pods()]
    kubectl("apply", "-k", OVERLAY)
    kubectl(*STORAGE)
    assert [pod["metadata"]["uid"] for pod in storage_pods()] == before


def storage_pods() -> list[dict[str, dict[str, str]]]:
    return objects("pods", "-l", "app.kubernetes.io/name=autotuner-storage")


def test_the_storage_service_answers_to_its_token_alone() -> None:
    assert autotuner("list").returncode == 0
    for wrong in ("", "0" * 64):
        refused = autotuner("list", env={"AUTOTUNER_STORAGE_TOKEN": wrong})
        assert refused.returncode not in (0, 75), refused.stderr
        assert "token" in refused.stderr.lower()


def test_the_journal_outlives_its_pod() -> None:
    written = "date +%s%N > /data/kept && cat /data/kept"
    said = in_storage_pod(written)
    kubectl("-n", NAMESPACE, "delete", "pod", "-l", "app.kubernetes.io/name=autotuner-storage")
    kubectl(*STORAGE)
    assert in_storage_pod("cat /data/kept && rm /data/kept") == said


def in_storage_pod(script: str) -> str:
    return kubectl(
        "-n", NAMESPACE, "exec", "deployment/autotuner-storage", "--", "sh", "-c", script
    )


def test_the_janitor_ends_well() -> None:
    known = {each["metadata"]["name"] for each in objects("workflows", "-l", JANITOR)}

    def newer() -> list[str]:
        return [
            str(each["status"]["phase"])
            for each in objects("workflows", "-l", JANITOR)
            if each["metadata"]["name"] not in known
            and each.get("status", {}).get("phase") in ("Succeeded", "Failed", "Error")
        ]

    assert until("a janitor that ended", newer, 150) == ["Succeeded"]


@pytest.mark.parametrize("step", ALLOWED)
def test_an_account_may_do_what_its_step_must_and_nothing_else(step: str) -> None:
    account = f"system:serviceaccount:{NAMESPACE}:autotuner-{step}"
    answers = {
        number for number, question in enumerate(QUESTIONS) if can(question, account) == "yes"
    }
    assert answers == ALLOWED[step]


def can(question: str, account: str) -> str:
    words = question.split()
    asked = kubectl("-n", NAMESPACE, "auth", "can-i", *words, f"--as={account}", is_checked=False)
    return asked.strip().splitlines()[-1]


def test_a_step_is_refused_what_it_must_not_do() -> None:
    account = f"system:serviceaccount:{NAMESPACE}:autotuner-ask"
    ran = subprocess.run(
        ["kubectl", "-n", NAMESPACE, "delete", "deployment", "autotuner-storage", f"--as={account}",
         "--dry-run=server"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "forbidden" in ran.stderr.lower()


def test_a_pod_that_runs_as_root_is_refused() -> None:
    ran = subprocess.run(
        ["kubectl", "-n", NAMESPACE, "run", "root", "--image=localhost/autotuner:dev",
         "--dry-run=server"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert 'violates PodSecurity "restricted' in ran.stderr


@pytest.fixture
def engine() -> Iterator[str]:
    """The address of the tests' engine, in a pod as strict as ours."""
    name = "install-engine"
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "engine",
                    "image": "localhost/llamacpp:dev",
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["/app/llama-server"],
                    "args": ["--model", "/models/smollm2-135m.gguf", "--host", "0.0.0.0"],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "readinessProbe": {"httpGet": {"path": "/health", "port": 8080}},
                }
            ],
        },
    }
    kubectl("-n", NAMESPACE, "delete", "pod", name, "--ignore-not-found")
    kubectl("-n", NAMESPACE, "apply", "-f", "-", stdin=json.dumps(pod))
    try:
        kubectl("-n", NAMESPACE, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=120s")
        ip = kubectl("-n", NAMESPACE, "get", "pod", name, "-o", "jsonpath={.status.podIP}")
        yield f"http://{ip}:8080"
    finally:
        kubectl("-n", NAMESPACE, "delete", "pod", name)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_image_of_the_engine_completes_a_prompt(engine: str) -> None:
    body = json.dumps({"prompt": "The capital of France is", "max_tokens": 8})
    ran = subprocess.run(
        ["curl", "-sS", "-m", "60", f"{engine}/v1/completions", "-d", body],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(ran.stdout)["choices"][0]["text"].strip()


def test_what_is_missing_in_a_cluster_is_told(tmp_path: Path) -> None:
    ran = subprocess.run(
        [str(ROOT / "third_party/check")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout
    assert "Argo Workflows" in ran.stdout
    nowhere = tmp_path / "kubeconfig"
    nowhere.write_text("")
    ran = subprocess.run(
        [str(ROOT / "third_party/check")],
        capture_output=True, text=True, check=False,
        env={**os.environ, "KUBECONFIG": str(nowhere)},
    )  # fmt: skip
    assert ran.returncode == 1
    assert "KUBECONFIG" in ran.stdout
