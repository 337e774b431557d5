"""As much of JSON Schema (draft 2020-12) as the task's schema uses; any other word is an error."""

import math
import re
from collections.abc import Callable
from typing import Any

Schema = Any
_TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda v: v is None,
    "boolean": lambda v: isinstance(v, bool),
    "string": lambda v: isinstance(v, str),
    "array": lambda v: isinstance(v, list),
    "object": lambda v: isinstance(v, dict),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "integer": lambda v: (
        isinstance(v, int | float) and not isinstance(v, bool) and math.floor(v) == v
    ),
}
_WORDS_FOR_PEOPLE = {"$schema", "$defs", "title", "description", "default"}


def problems(value: Any, schema: Schema, root: Schema, where: str = "task") -> list[str]:
    """Why a value does not fit a schema; empty when it does."""
    if schema is True:
        return []
    if schema is False:
        return [f"{where}: not allowed"]
    found = []
    for word, meaning in schema.items():
        if word not in _WORDS_FOR_PEOPLE:
            found += _CHECKS[word](value, meaning, schema, root, where)
    return found


def _type(value: Any, names: Any, schema: Schema, root: Schema, where: str) -> list[str]:
    wanted = names if isinstance(names, list) else [names]
    return [] if any(_TYPES[n](value) for n in wanted) else [f"{where}: is no {names}"]


def _reference(value: Any, target: str, schema: Schema, root: Schema, where: str) -> list[str]:
    return problems(value, root["$defs"][target.removeprefix("#/$defs/")], root, where)


def _any_of(value: Any, forms: Any, schema: Schema, root: Schema, where: str) -> list[str]:
    tried = [problems(value, form, root, where) for form in forms]
    return [] if [] in tried else [f"{where}: fits no form: {tried}"]


def _one_of(value: Any, forms: Any, schema: Schema, root: Schema, where: str) -> list[str]:
    fitting = sum(not problems(value, form, root, where) for form in forms)
    return [] if fitting == 1 else [f"{where}: fits {fitting} forms"]


def _properties(value: Any, fields: Any, schema: Schema, root: Schema, where: str) -> list[str]:
    if not isinstance(value, dict):
        return []
    pairs = [(name, fields[name]) for name in value if name in fields]
    return [p for n, s in pairs for p in problems(value[n], s, root, f"{where}.{n}")]


def _others(value: Any, other: Any, schema: Schema, root: Schema, where: str) -> list[str]:
    if not isinstance(value, dict):
        return []
    rest = [name for name in value if name not in schema.get("properties", {})]
    return [p for name in rest for p in problems(value[name], other, root, f"{where}.{name}")]


def _names(value: Any, form: Any, schema: Schema, root: Schema, where: str) -> list[str]:
    names = value if isinstance(value, dict) else {}
    return [p for name in names for p in problems(name, form, root, f"{where}<{name}>")]


def _items(value: Any, form: Any, schema: Schema, root: Schema, where: str) -> list[str]:
    items = value if isinstance(value, list) else []
    return [p for i, item in enumerate(items) for p in problems(item, form, root, f"{where}[{i}]")]


def _bound(kind: type | tuple[type, ...], holds: Callable[[Any, Any], bool]) -> Callable[..., Any]:
    def check(value: Any, bound: Any, schema: Schema, root: Schema, where: str) -> list[str]:
        concerns = isinstance(value, kind) and not isinstance(value, bool)
        return (
            [f"{where}: {value!r} against {bound!r}"]
            if concerns and not holds(value, bound)
            else []
        )

    return check


_CHECKS: dict[str, Callable[[Any, Any, Schema, Schema, str], list[str]]] = {
    "type": _type,
    "$ref": _reference,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "properties": _properties,
    "additionalProperties": _others,
    "propertyNames": _names,
    "items": _items,
    "required": _bound(dict, lambda v, names: set(names) <= v.keys()),
    "minItems": _bound(list, lambda v, n: len(v) >= n),
    "minProperties": _bound(dict, lambda v, n: len(v) >= n),
    "minLength": _bound(str, lambda v, n: len(v) >= n),
    "maxLength": _bound(str, lambda v, n: len(v) <= n),
    "pattern": _bound(str, lambda v, form: re.search(form, v) is not None),
    "minimum": _bound((int, float), lambda v, n: v >= n),
    "maximum": _bound((int, float), lambda v, n: v <= n),
    "exclusiveMinimum": _bound((int, float), lambda v, n: v > n),
    "exclusiveMaximum": _bound((int, float), lambda v, n: v < n),
    "enum": lambda v, words, *rest: [] if v in words else [f"{rest[-1]}: {v!r} not in {words}"],
    "const": lambda v, word, *rest: [] if v == word else [f"{rest[-1]}: {v!r} is not {word!r}"],
}
