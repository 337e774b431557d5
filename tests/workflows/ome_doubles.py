"""A cluster on which OME is: what is created becomes what a recording says it became."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from inference_autotuner.optimizer import spec
from inference_autotuner.optimizer.engine import get_engine
from inference_autotuner.workflows.deployer import Order
from tests.workflows.fake_cluster import FakeCluster

Manifest = dict[str, Any]
NAMESPACE = "tune"


@dataclass(frozen=True)
class Recording:
    """What a cluster had of one InferenceService."""

    service: Manifest
    children: list[Manifest]
    events: list[Manifest]

    @property
    def name(self) -> str:
        return str(self.service["metadata"]["name"])


def read_recording(folder: Path) -> Recording:
    service = yaml.safe_load((folder / "inferenceservice.yaml").read_text())
    children: list[Manifest] = []
    for file in ("children.yaml", "pods.yaml"):
        children += yaml.safe_load((folder / file).read_text())["items"]
    lines = (folder / "events.txt").read_text().splitlines()
    return Recording(service, children, [_event(line) for line in lines])


def _event(line: str) -> Manifest:
    head, _, message = line.partition(" | ")
    _, kind, reason, about, _ = head.split(" ")
    of, _, name = about.partition("/")
    involved = {"kind": of, "name": name}
    return {"type": kind, "reason": reason, "message": message, "involvedObject": involved}


@dataclass
class OmeCluster(FakeCluster):
    """Objects, what the kubelet logged, and what happens to an InferenceService.

    Attributes:
        becomes: What OME makes of one; None: nothing at all.
        log: The engine's.
        deletions: How often pods are seen after their InferenceService was deleted.
    """

    becomes: Recording | None = None
    log: str = ""
    deletions: int = 0
    created: list[Manifest] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def create(self, manifest: Manifest) -> Manifest:
        made = super().create(manifest)
        if manifest["kind"] == "InferenceService":
            self.created.append(manifest)
            if self.becomes is not None:
                made["status"] = self.becomes.service.get("status", {})
                for child in self.becomes.children:
                    super().create(child)
        return made

    def events(self, namespace: str, kind: str, name: str) -> list[Manifest]:
        service = self.get(kind, name, namespace)
        uid = service["metadata"]["uid"] if service else ""
        listed = self.becomes.events if self.becomes else []
        return [
            {**each, "involvedObject": {**each["involvedObject"], "uid": uid}}
            for each in listed
            if each["involvedObject"] == {"kind": kind, "name": name}
        ]

    def delete(self, kind: str, name: str, namespace: str, uid: str | None = None) -> None:
        super().delete(kind, name, namespace, uid)
        for child in self.becomes.children if self.becomes else []:
            if child["kind"] != "Pod" or self.deletions == 0:
                super().delete(child["kind"], child["metadata"]["name"], namespace)

    def pod_log(self, name: str, namespace: str, container: str, **options: Any) -> str:
        return "" if options.get("since") else self.log


def add_setup(cluster: FakeCluster, path: Path) -> None:
    """Model and runtime of the recordings."""
    for manifest in yaml.safe_load_all(path.read_text()):
        cluster.create(manifest)


def make_order(
    name: str, args: Mapping[str, Any], *, gpus: int = 0, ready_s: float = 600, **fields: Any
) -> Order:
    """An order whose server has that name, such as `t-0001`; with a model, served name, args."""
    study, _, trial = name.rpartition("-")
    model = {"name": fields.pop("model", "smollm2-135m"), "servedName": fields.pop("served", None)}
    fixed = fields.pop("fixed", {})
    task = spec.Spec.model_validate(
        {
            "model": model,
            "engine": {"name": "llamacpp", "runtime": "llamacpp-cpu", "args": fixed},
            "deployment": {"mode": "ome", "namespace": NAMESPACE, "readyTimeout": f"{ready_s:g}s"},
            "parameters": {"parallel": [1, 2]},
            "workload": {"scenarios": ["D(32,16)"]},
        }
    )
    return Order(study, trial, task, get_engine("llamacpp"), args, gpus, ".")
