"""The kinds of fields that a tuning task is made of; `spec` puts them together.

A number is a number and a text is a text here: nothing is converted in silence, for `trials: "30"`
or `concurrency: [true]` is more often a slip than a wish.
"""

import json
import math
import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    Strict,
    StringConstraints,
    WithJsonSchema,
)

from inference_autotuner.optimizer.expressions import check_expression
from inference_autotuner.optimizer.ranges import LARGEST, Value, tidy
from inference_autotuner.optimizer.units import format_duration, parse_duration

_UNWRITABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_FLAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class TaskModel(BaseModel):
    """What all parts of a task have in common: no unknown fields, and no change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def plain_text(text: str) -> str:
    """Text that may stand in a manifest and on a command line.

    Raises:
        ValueError: It holds a template (OME and Argo would run it), or characters that no
            manifest can hold.
    """
    if "{{" in text:
        raise ValueError("'{{' begins a template, and a task holds none; leave it out")
    if found := _UNWRITABLE.search(text):
        raise ValueError(f"the character {json.dumps(found[0])} cannot be passed on")
    return text


def _no_dash(text: str) -> str:
    if text.startswith("-"):
        raise ValueError(f"'{text}' would be read as an option: it begins with a dash")
    return text


def _flag_name(name: str) -> str:
    if name.startswith("-") and name.strip("-"):
        raise ValueError(f"write '{name.lstrip('-')}', without the leading dashes")
    if not _FLAG.fullmatch(name):
        raise ValueError(f"'{name}' is no flag; letters, digits, '-', '_' and '.' make one")
    return name


def _variable_name(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ValueError(
            f"'{name}' cannot name an environment variable; letters, digits and _ can, "
            "and no digit first"
        )
    return name


def _relative_folder(path: str) -> str:
    if path.startswith(("/", "-")) or ".." in path.split("/"):
        raise ValueError(f"'{path}' leaves the repository; write a folder in it, such as results")
    return path


def expression(text: str) -> str:
    """Text that compiles as CEL.

    Raises:
        ValueError: It does not.
    """
    check_expression(plain_text(text))
    return text


def _scalar(value: Any) -> Any:
    if not isinstance(value, bool | int | float | str):
        raise ValueError("give a number, a text, true or false")
    return value if isinstance(value, bool | str) else _bounded(value)


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("give a number")
    return _bounded(value)


def _bounded(number: int | float) -> Value:
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError("numbers must be finite")
    if isinstance(number, int) and abs(number) > LARGEST:
        raise ValueError(f"the number is too large; at most {LARGEST}")
    return tidy(number)


def _json(value: Any) -> Any:
    """Numbers, texts, lists and mappings, down to the leaves."""
    if value is None:
        return None
    if isinstance(value, list):
        return [_json(item) for item in value]
    if isinstance(value, dict):
        return {_json_name(name): _json(item) for name, item in value.items()}
    checked = _scalar(value)
    return plain_text(checked) if isinstance(checked, str) else checked


def _json_name(name: Any) -> str:
    if not isinstance(name, str):
        raise ValueError(f"the name {name} must be a text")
    return plain_text(name)


def _argument(value: Any) -> Any:
    """What one flag may be given: a value, a list of values, or an object for JSON flags."""
    if isinstance(value, list):
        return [_json(_scalar(item)) for item in value]
    if value is None:
        raise ValueError("null is no value; leave the flag out to keep the engine's default")
    return _json(value)


Text = Annotated[str, AfterValidator(plain_text)]
Name = Annotated[str, StringConstraints(min_length=1), AfterValidator(plain_text)]
Word = Annotated[Name, AfterValidator(_no_dash)]
FlagName = Annotated[
    str,
    AfterValidator(_flag_name),
    WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$"}),
]
VariableName = Annotated[
    str,
    AfterValidator(_variable_name),
    WithJsonSchema({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}),
]
Folder = Annotated[Name, AfterValidator(_relative_folder)]
Expression = Annotated[str, AfterValidator(expression)]

Bool = Annotated[bool, Strict()]
Int = Annotated[int, Strict()]
Float = Annotated[float, Strict(), AllowInfNan(False)]
Number = Annotated[int | float, BeforeValidator(_number), WithJsonSchema({"type": "number"})]

_SCALAR_SCHEMA = {"type": ["boolean", "number", "string"]}
Scalar = Annotated[
    Value, BeforeValidator(_scalar), AfterValidator(_json), WithJsonSchema(_SCALAR_SCHEMA)
]
Argument = Annotated[
    Any,
    BeforeValidator(_argument),
    WithJsonSchema(
        {
            "anyOf": [
                _SCALAR_SCHEMA,
                {"type": "array", "items": _SCALAR_SCHEMA},
                {"type": "object"},
            ]
        }
    ),
]
Json = Annotated[Any, BeforeValidator(_json)]

Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\s*(\d+(\.\d+)?\s*(ms|s|m|h|d)\s*)+$"}),
]
