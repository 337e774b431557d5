"""The JSON Schema of a task file, for editors, and what it says about one place in a file."""

from collections.abc import Iterator
from copy import deepcopy
from functools import lru_cache
from typing import Any

from inference_autotuner.optimizer.paths import Path
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.units import format_duration

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> Schema:
    """The schema of a task file (draft 2020-12), short forms included."""
    return deepcopy(_schema())


@lru_cache(maxsize=1)
def _schema() -> Schema:
    raw = TuningTask.model_json_schema()
    definitions = raw["$defs"]
    for definition in (*definitions.values(), raw):
        for name, field in definition.get("properties", {}).items():
            definition["properties"][name] = _tidy(field)
            _describe(definition["properties"][name], definitions)
    return {"$schema": DIALECT, **raw, "title": "TuningTask"}


def _tidy(node: Any) -> Any:
    """What pydantic says, in the words of the standard alone.

    Titles that repeat a name go, and so do bounds on texts; a mapping says how its names look in
    `propertyNames`; a duration has its default as people write it.
    """
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    tidied = {k: _tidy(v) for k, v in node.items() if k not in ("title", "gt")}
    if "patternProperties" in tidied:
        [(pattern, values)] = tidied.pop("patternProperties").items()
        tidied |= {"propertyNames": {"pattern": pattern}, "additionalProperties": values}
    if _is_duration(tidied) and isinstance(tidied.get("default"), float):
        tidied["default"] = format_duration(tidied["default"])
    return tidied


def _describe(field: Schema, definitions: Schema) -> None:
    if "description" not in field and "$ref" in field:
        field["description"] = definitions[_name(field)]["description"]


def _name(reference: Schema) -> str:
    return str(reference["$ref"]).rsplit("/", 1)[-1]


def _is_duration(field: Schema) -> bool:
    return "(ms|s|m|h|d)" in field.get("pattern", "")


def field_names(path: Path) -> list[str]:
    """The fields that may stand in the mapping at `path`.

    >>> field_names(("spec", "search"))
    ['sampler', 'seed', 'baseline']
    """
    return [name for node in _nodes_at(path) for name in node.get("properties", {})]


def describe_field(path: Path) -> str:
    """What a field means, one sentence or two; empty when there is no such field."""
    for parent in _nodes_at(path[:-1]):
        found = parent.get("properties", {}).get(path[-1] if path else "", {})
        if "description" in found:
            return str(found["description"])
    return ""


def default_of(path: Path) -> Any:
    """The default of a field; None when it has none, or none that is a constant."""
    for parent in _nodes_at(path[:-1]):
        found = parent.get("properties", {}).get(path[-1] if path else "", {})
        if "default" in found:
            return found["default"]
    return None


def places_of(name: str) -> list[Path]:
    """Where a field of this name may stand, mappings and lists left out.

    >>> places_of("trials")
    [('spec', 'budget', 'trials')]
    """
    return [path for path in _all_paths(_schema(), ()) if path[-1] == name]


def _all_paths(node: Schema, path: Path) -> Iterator[Path]:
    for name, field in node.get("properties", {}).items():
        here = (*path, name)
        yield here
        for inner in _alternatives(field):
            yield from _all_paths(inner, here)


def _nodes_at(path: Path) -> list[Schema]:
    """Every schema that may govern the value at `path`."""
    nodes = [_schema()]
    for part in path:
        steps = [_step(node, part) for node in nodes]
        nodes = [inner for step in steps if step for inner in _alternatives(step)]
    return nodes


def _step(node: Schema, part: str | int) -> Schema | None:
    if isinstance(part, int):
        found = node.get("items")
    else:
        found = node.get("properties", {}).get(part) or node.get("additionalProperties")
    return found if isinstance(found, dict) else None


def _alternatives(node: Schema) -> list[Schema]:
    """A schema, its references followed, one for each form that a value may have."""
    if "$ref" in node:
        return [_schema()["$defs"][_name(node)]]
    forms = node.get("anyOf") or node.get("oneOf")
    if forms:
        return [inner for form in forms for inner in _alternatives(form)]
    return [node]
