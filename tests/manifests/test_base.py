"""What `kubectl apply -k .` installs, and what the overlays make of it; no cluster is needed."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hera.workflows.models import CronWorkflow

from inference_autotuner.manifests.labels import MANAGED_BY, TRIAL
from inference_autotuner.workflows.installation import (
    CONFIG_MAP,
    POOLS_CONFIG_MAP,
    STORAGE_PORT,
    STORAGE_SECRET,
    Installation,
    parse_installation,
)

ROOT = Path(__file__).parents[2]
BASE = "."
OVERLAYS = (
    "manifests/overlays/development",
    "manifests/overlays/ome",
    "manifests/overlays/postgresql",
)
ALL = (BASE, *OVERLAYS)
STEPS = ("ask", "deploy", "benchmark", "release", "janitor")
# Whoever may do one of these may do anything in the namespace, or read every password in it.
NEVER = {"secrets", "pods/exec", "pods/attach", "serviceaccounts", "serviceaccounts/token", "roles"}

Manifest = dict[str, Any]

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")


@lru_cache
def rendered(folder: str) -> tuple[Manifest, ...]:
    """What kustomize makes of a folder."""
    ran = subprocess.run(
        ["kubectl", "kustomize", str(ROOT / folder)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return tuple(yaml.safe_load_all(ran.stdout))


def of_kind(kind: str, folder: str = BASE) -> Iterator[Manifest]:
    return (each for each in rendered(folder) if each["kind"] == kind)


def named(kind: str, name: str, folder: str = BASE) -> Manifest:
    found = [each for each in of_kind(kind, folder) if each["metadata"]["name"] == name]
    assert len(found) == 1, f"{kind} {name}"
    return found[0]


def pod_specs(folder: str) -> Iterator[tuple[str, Manifest]]:
    """Each pod of ours in the namespace: name, and its spec."""
    for each in of_kind("Deployment", folder):
        yield each["metadata"]["name"], each["spec"]["template"]["spec"]
    for each in of_kind("CronWorkflow", folder):
        spec = each["spec"]["workflowSpec"]
        containers = [template["container"] for template in spec["templates"]]
        yield each["metadata"]["name"], {**spec, "containers": containers}


def containers(folder: str) -> Iterator[Manifest]:
    for _, spec in pod_specs(folder):
        yield from spec["containers"]


def rules(account: str, folder: str = BASE) -> Iterator[Manifest]:
    """The rules of every Role and ClusterRole that an account is bound to."""
    for binding in (*of_kind("RoleBinding", folder), *of_kind("ClusterRoleBinding", folder)):
        if account in {subject["name"] for subject in binding["subjects"]}:
            role = binding["roleRef"]
            yield from named(role["kind"], role["name"], folder)["rules"]


def rights(account: str) -> set[tuple[str, str]]:
    """Pairs of verb and resource."""
    return {
        (verb, resource)
        for rule in rules(account)
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("folder", ALL)
def test_every_pod_fits_pod_security_restricted(folder: str) -> None:
    for name, spec in pod_specs(folder):
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not [volume for volume in spec.get("volumes", ()) if "hostPath" in volume], name
    for container in containers(folder):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("folder", ALL)
def test_the_namespace_enforces_it_but_where_ome_mounts_folders_of_nodes(folder: str) -> None:
    labels = named("Namespace", "tuning", folder)["metadata"]["labels"]
    level = "privileged" if folder.endswith("/ome") else "restricted"
    assert labels["pod-security.kubernetes.io/enforce"] == level
    assert labels["pod-security.kubernetes.io/warn"] == "restricted"


@pytest.mark.parametrize("folder", ALL)
def test_every_container_says_what_it_needs_and_where_it_ends(folder: str) -> None:
    for container in containers(folder):
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("folder", ALL)
def test_every_object_lies_in_the_namespace(folder: str) -> None:
    whole_cluster = {
        "Namespace", "ClusterRole", "ClusterRoleBinding", "PersistentVolume"
    }  # fmt: skip
    for each in rendered(folder):
        if each["kind"] not in whole_cluster and each["metadata"].get("namespace") != "default":
            assert each["metadata"]["namespace"] == "tuning", each["metadata"]["name"]


@pytest.mark.parametrize("folder", ALL)
def test_no_object_carries_the_label_of_what_the_tuner_makes_and_removes(folder: str) -> None:
    for each in rendered(folder):
        assert not MANAGED_BY.items() <= each["metadata"].get("labels", {}).items()


def test_every_account_is_bound_and_every_binding_names_an_account() -> None:
    accounts = {each["metadata"]["name"] for each in of_kind("ServiceAccount")}
    bindings = (*of_kind("RoleBinding"), *of_kind("ClusterRoleBinding"))
    bound = {(s["name"], s["namespace"]) for each in bindings for s in each["subjects"]}
    assert bound == {(name, "tuning") for name in accounts - {"autotuner-storage"}}
    for binding in bindings:
        assert named(binding["roleRef"]["kind"], binding["roleRef"]["name"])


@pytest.mark.parametrize("step", STEPS)
def test_every_step_may_hand_its_outputs_to_argo(step: str) -> None:
    assert {("create", "workflowtaskresults"), ("patch", "workflowtaskresults")} <= rights(
        f"autotuner-{step}"
    )


def test_asking_and_telling_needs_nothing_else() -> None:
    assert {resource for _, resource in rights("autotuner-ask")} == {"workflowtaskresults"}


def test_only_deploy_creates_servers() -> None:
    servers = {"inferenceservices", "deployments", "services"}
    for step in STEPS:
        creates = {resource for verb, resource in rights(f"autotuner-{step}") if verb == "create"}
        assert creates & servers == (servers if step == "deploy" else set()), step


@pytest.mark.parametrize("step", ["deploy", "benchmark", "release", "janitor"])
def test_whoever_removes_servers_sees_whether_they_are_gone(step: str) -> None:
    for resource in ("inferenceservices", "deployments", "services"):
        assert {(verb, resource) for verb in ("get", "list", "delete")} <= rights(
            f"autotuner-{step}"
        )
    assert {("list", "pods"), ("get", "pods/log"), ("list", "events")} <= rights(
        f"autotuner-{step}"
    )


def test_no_role_has_wildcards_or_what_opens_everything_else() -> None:
    for role in (*of_kind("Role"), *of_kind("ClusterRole")):
        for rule in role["rules"]:
            assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
            assert not NEVER & set(rule["resources"]) or rule.get("resourceNames") == [
                STORAGE_SECRET
            ], role["metadata"]["name"]


def test_no_step_reads_secrets() -> None:
    for account in ("storage", *STEPS):
        assert "secrets" not in {resource for _, resource in rights(f"autotuner-{account}")}


def test_only_what_belongs_to_the_whole_cluster_is_read_there() -> None:
    (role,) = of_kind("ClusterRole")
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list"}


def test_the_storage_service_has_no_token_of_the_cluster() -> None:
    spec = dict(pod_specs(BASE))["autotuner-storage"]
    assert spec["automountServiceAccountToken"] is False
    assert not rights("autotuner-storage")


def test_no_secret_is_in_git() -> None:
    for folder in ALL:
        assert not list(of_kind("Secret", folder))


def test_who_needs_the_storage_token_takes_it_from_the_secret() -> None:
    for container in containers(BASE):
        token = next(e for e in container["env"] if e["name"] == "AUTOTUNER_STORAGE_TOKEN")
        assert token["valueFrom"]["secretKeyRef"] == {"name": STORAGE_SECRET, "key": "token"}


def test_the_password_of_the_database_reaches_the_storage_service_alone() -> None:
    folder = "manifests/overlays/postgresql"
    holders = [name for name, spec in pod_specs(folder) if "autotuner-postgresql" in str(spec)]
    assert holders == ["autotuner-storage"]
    (container,) = dict(pod_specs(folder))["autotuner-storage"]["containers"]
    backend = next(e for e in container["env"] if e["name"] == "AUTOTUNER_STORAGE_BACKEND")
    assert set(backend) == {"name", "valueFrom"}
    assert not list(of_kind("PersistentVolumeClaim", folder))


def test_a_journal_has_one_writer() -> None:
    spec = named("Deployment", "autotuner-storage")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_the_storage_service_is_where_the_pods_look_for_it() -> None:
    config = parse_installation(named("ConfigMap", CONFIG_MAP)["data"])
    service = named("Service", "autotuner-storage")
    (port,) = service["spec"]["ports"]
    assert config.storage == f"grpc://{service['metadata']['name']}:{port['port']}"
    (container,) = dict(pod_specs(BASE))["autotuner-storage"]["containers"]
    assert container["ports"] == [{"name": port["targetPort"], "containerPort": STORAGE_PORT}]
    assert f"--port={STORAGE_PORT}" in container["args"]


def test_the_pool_that_studies_use_has_a_size() -> None:
    assert int(named("ConfigMap", POOLS_CONFIG_MAP)["data"][Installation().pool]) > 0


@pytest.mark.parametrize("folder", ALL)
def test_the_services_and_the_steps_run_the_same_image(folder: str) -> None:
    config = parse_installation(named("ConfigMap", CONFIG_MAP, folder)["data"])
    (container,) = dict(pod_specs(folder))["autotuner-storage"]["containers"]
    assert container["image"] == config.image


def test_the_images_are_those_of_this_version() -> None:
    assert parse_installation(named("ConfigMap", CONFIG_MAP)["data"]) == Installation()


def test_the_janitor_says_nothing_that_argo_would_not_understand() -> None:
    found = named("CronWorkflow", "autotuner-janitor")
    read = CronWorkflow.model_validate(found).model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    assert keys(json.loads(json.dumps(found))) <= keys(read)


def keys(value: Any, path: str = "") -> set[str]:
    """The path of every field."""
    if isinstance(value, dict):
        return {
            found
            for name, below in value.items()
            for found in {path, *keys(below, f"{path}.{name}")}
        }
    if isinstance(value, list):
        return {found for below in value for found in keys(below, f"{path}[]")}
    return {path}


def test_a_janitor_that_hangs_makes_room_for_the_next() -> None:
    spec = named("CronWorkflow", "autotuner-janitor")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["workflowSpec"]["activeDeadlineSeconds"] <= 300


def test_nothing_is_reached_from_elsewhere_but_by_a_policy() -> None:
    closed = named("NetworkPolicy", "autotuner-default")["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress"]}


def test_an_engine_does_not_reach_the_storage_service() -> None:
    (rule,) = named("NetworkPolicy", "autotuner-storage")["spec"]["ingress"]
    engine = {**MANAGED_BY, TRIAL: "t-0001"}
    assert not [peer for peer in rule["from"] if selects(peer["podSelector"], engine)]


def test_steps_reach_the_storage_service_and_the_engines() -> None:
    step = {**MANAGED_BY, "workflows.argoproj.io/workflow": "chat-h0123456789"}
    for name in ("autotuner-storage", "autotuner-engines"):
        (rule,) = named("NetworkPolicy", name)["spec"]["ingress"]
        assert [peer for peer in rule["from"] if selects(peer["podSelector"], step)], name


def test_the_janitor_reaches_the_storage_service() -> None:
    spec = named("CronWorkflow", "autotuner-janitor")["spec"]["workflowSpec"]
    (rule,) = named("NetworkPolicy", "autotuner-storage")["spec"]["ingress"]
    labels = spec["podMetadata"]["labels"]
    assert [peer for peer in rule["from"] if selects(peer["podSelector"], labels)]


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """As Kubernetes does, for the two forms that are used."""
    wanted = selector.get("matchLabels", {}).items()
    exist = [e["key"] for e in selector.get("matchExpressions", ()) if e["operator"] == "Exists"]
    return wanted <= labels.items() and set(exist) <= set(labels)


def test_another_namespace_is_one_line_of_an_overlay(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "manifests/base", tmp_path / "base")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/kustomization.yaml").write_text("namespace: mine\nresources: [../base]\n")
    for each in rendered(str(tmp_path / "mine")):
        assert "tuning" not in yaml.safe_dump(each), each["metadata"]["name"]
