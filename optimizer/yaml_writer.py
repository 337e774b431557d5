"""A task as the YAML that a person would have written: no defaults, short lists in one line."""

import io
from typing import Any

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from inference_autotuner.optimizer.fields import TaskModel
from inference_autotuner.optimizer.goals import Objective, Slo
from inference_autotuner.optimizer.metrics import Statistic
from inference_autotuner.optimizer.parameters import ParameterSpec
from inference_autotuner.optimizer.ranges import tidy
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.workload import WeightedScenario
from inference_autotuner.optimizer.yaml_reader import teach_forms

_WIDTH = 88
_NEVER_FOLDED = 1 << 20
_OPEN = ("spec", "parameters", "workload")
"""Fields that are never put into one line, however short."""
_BREAKS = "\n\x85\u2028\u2029\ufeff"


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or 1.2 would take for something else than text."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> ScalarNode:
    style = '"' if any(character in _BREAKS for character in text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
teach_forms(_Dumper)


def to_yaml(task: TuningTask) -> str:
    """The task as short YAML, in the order of the models; `parse_task` reads it back as equal.

    What is a default is left out, but for the statistic of an SLO, which people look for.
    """
    raw = {"apiVersion": task.apiVersion, "kind": task.kind, **_short(task)}
    node = _Dumper(io.StringIO(), sort_keys=False).represent_data(raw)
    assert isinstance(node, MappingNode)
    node.flow_style = False
    for key, value in node.value:
        _lay_out(value, str(key.value), 0)
    return _written(node)


def _short(model: TaskModel) -> dict[str, Any]:
    """The fields that differ from their defaults."""
    dumped = model.model_dump(mode="json")
    found = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if not field.is_required() and _is_default(model, name, value):
            continue
        found[name] = _plain(value, dumped[name])
    return found


def _is_default(model: TaskModel, name: str, value: Any) -> bool:
    if isinstance(model, Objective) and name in ("statistic", "direction"):
        return value in (None, Statistic.MEAN, model.metric.direction)
    if isinstance(model, Slo) and name == "statistic":
        return value is None
    return bool(value == type(model).model_fields[name].get_default())


def _plain(value: Any, dumped: Any) -> Any:
    """A field's value without the models, in the shortest form that a task may have."""
    if isinstance(value, ParameterSpec) and value.values is not None and value.when is None:
        return value.values
    if isinstance(value, WeightedScenario) and value.weight == 1:
        return value.scenario
    if isinstance(value, TaskModel):
        return _short(value)
    if isinstance(value, dict):
        return {name: _plain(item, dumped[name]) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, plain) for item, plain in zip(value, dumped, strict=True)]
    return tidy(dumped) if isinstance(dumped, float) else dumped


def _lay_out(node: Node, name: str, indent: int) -> None:
    """Puts lists and mappings into one line where they fit."""
    if not isinstance(node, CollectionNode):
        return
    _fold(node)
    is_short = len(_written(node)) + len(name) + indent + 1 <= _WIDTH
    if is_short and name not in _OPEN:
        return
    node.flow_style = False
    for child in node.value:
        if isinstance(node, MappingNode):
            _lay_out(child[1], str(child[0].value), indent + 2)
        else:
            _lay_out(child, "", indent + 4)


def _fold(node: Node) -> None:
    if isinstance(node, MappingNode):
        node.flow_style = True
        for _, value in node.value:
            _fold(value)
    elif isinstance(node, SequenceNode):
        node.flow_style = True
        for item in node.value:
            _fold(item)


def _written(node: Node) -> str:
    return str(yaml.serialize(node, Dumper=_Dumper, allow_unicode=True, width=_NEVER_FOLDED))
