"""A cluster as a dictionary: what is created is there, and nothing acts on it by itself."""

import itertools
from collections.abc import Mapping
from typing import Any

from inference_autotuner.workflows.cluster import AlreadyExistsError

Manifest = dict[str, Any]


class FakeCluster:
    """Objects by kind, namespace and name."""

    namespace = "tuning"

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Manifest] = {}
        self.refused: set[tuple[str, str]] = set()
        self.kinds_missing: set[str] = set()
        self._uids = itertools.count(1)

    def add(self, kind: str, name: str, namespace: str = "tuning", **fields: Any) -> Manifest:
        """An object that is there already."""
        metadata = {"name": name, "namespace": namespace, **fields.pop("metadata", {})}
        return self.create({"kind": kind, "metadata": metadata, **fields})

    def get(self, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        return self.objects.get((kind, namespace or "", name))

    def list(
        self, kind: str, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[Manifest]:
        wanted = (labels or {}).items()
        return [
            found
            for (of, place, _), found in self.objects.items()
            if of == kind
            and namespace in (None, place)
            and wanted <= found["metadata"].get("labels", {}).items()
        ]

    def create(self, manifest: Manifest) -> Manifest:
        metadata = manifest["metadata"]
        key = (manifest["kind"], metadata.get("namespace", ""), metadata["name"])
        if key in self.objects:
            raise AlreadyExistsError(f"{key} exists")
        made = {**manifest, "metadata": {**metadata, "uid": f"uid{next(self._uids)}"}}
        self.objects[key] = made
        return made

    def merge_patch(self, kind: str, name: str, namespace: str, patch: Manifest) -> None:
        found = self.objects[kind, namespace, name]
        for part, change in patch.items():
            found[part] = {**found.get(part, {}), **change}

    def delete(self, kind: str, name: str, namespace: str, uid: str | None = None) -> None:
        self.objects.pop((kind, namespace, name), None)

    def can(
        self, verb: str, kind: str, namespace: str | None = None, subresource: str = ""
    ) -> bool:
        return (verb, kind) not in self.refused

    def has(self, kind: str) -> bool:
        return kind not in self.kinds_missing

    def version(self) -> str:
        return "1.34.4"
