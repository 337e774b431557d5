"""One spelling for each task: for names, for storage, for people."""

import hashlib
import json

from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.yaml_writer import to_yaml as to_yaml

_UNMEASURED = ("description", "publish")
_HASH_DIGITS = 10


def canonical(task: TuningTask) -> str:
    """The task as JSON in which equal tasks are equal texts.

    Names are sorted and defaults written out; a range is the list of its values. Comments, the
    order of fields, `1.0` for `1`, `0.5s` for `500ms` and short forms are gone with the file.
    Description, labels and `publish` are left out: they change nothing that is measured.
    """
    spec = task.spec.model_dump(mode="json", exclude=set(_UNMEASURED))
    spec["parameters"] = {
        flag: {"values": parameter.expanded(), "when": parameter.when}
        for flag, parameter in task.spec.parameters.items()
    }
    content = {
        "apiVersion": task.apiVersion,
        "kind": task.kind,
        "metadata": {"name": task.metadata.name},
        "spec": spec,
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def study_name(task: TuningTask) -> str:
    """The name of the study that a task makes: `<task>-h<10 hex digits>`."""
    digest = hashlib.sha256(canonical(task).encode()).hexdigest()
    return f"{task.metadata.name}-h{digest[:_HASH_DIGITS]}"
