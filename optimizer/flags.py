"""A launch flag: what its values look like, when two are the same, how it is written."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Args = Mapping[str, Any]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)(k|m|g|t|K|M|G|T|Ki|Mi|Gi|Ti)")
_POWER = {"k": 1, "m": 2, "g": 3, "t": 4}


class Boolean(StrEnum):
    """How a flag says yes and no."""

    SWITCH = "switch"
    """`--x` or nothing."""
    NEGATABLE = "negatable"
    """`--x` or `--no-x`."""
    WORD = "word"
    """`--x on` or `--x off`, as with any value; YAML reads a bare `on` as true."""


@dataclass(frozen=True)
class Flag:
    """One launch flag, under the engine's own name without dashes.

    Attributes:
        type: `bool`, `int`, `float`, `str`, `size` (a whole number, or a text such as 8k) or
            `json`; what a value must look like.
        default: The engine's default where it is a constant; None where it is computed.
        choices: The words allowed; empty for any.
        boolean: How a boolean is written.
        is_list: Whether it takes several values.
        repeats_value: A list is `--x a b` (True) or `--x a,b` (False).
        omits_default: Whether the default is a word of ours, written by leaving the flag out.
        words: Words allowed beside numbers, each with the number that it stands for.
        binary_capitals: Whether a size of 8K is 8192 and 8m is 8,000,000 (vLLM), or 8M is
            8,000,000 and 8Ki is 8192 (SGLang).
        is_lossy: Whether it may change what the model answers, beyond rounding.
        groups_tokens: Whether tokens leave the server in groups, which distorts TPOT.
        needs_shared_prefix: Whether it does something only where prompts begin alike.
        minimum: Smallest number allowed.
        maximum: Largest number allowed.
    """

    type: str
    default: Any = None
    choices: tuple[str, ...] = ()
    boolean: Boolean = Boolean.SWITCH
    is_list: bool = False
    repeats_value: bool = True
    omits_default: bool = False
    words: Mapping[str, int] = field(default_factory=dict)
    binary_capitals: bool = True
    is_lossy: bool = False
    groups_tokens: bool = False
    needs_shared_prefix: bool = False
    minimum: float | None = None
    maximum: float | None = None


def words(
    text: str,
    default: str | None = None,
    *,
    is_lossy: bool = False,
    omits_default: bool = False,
    needs_shared_prefix: bool = False,
) -> Flag:
    """A flag that takes one of some words, given as one text."""
    return Flag(
        "str",
        default,
        tuple(text.split()),
        omits_default=omits_default,
        is_lossy=is_lossy,
        needs_shared_prefix=needs_shared_prefix,
    )


def alike(names: str, flag: Flag) -> dict[str, Flag]:
    """Flags that differ in their name alone; the names are given as one text."""
    return dict.fromkeys(names.split(), flag)


def pairs(text: str) -> dict[str, str]:
    """Other spellings, as in `tp=tp-size dp=dp-size`."""
    return dict(pair.split("=") for pair in text.split())


def complaint(flag: Flag, value: Any) -> str | None:
    """What is wrong with a value, and what is allowed; None when nothing is.

    >>> complaint(Flag("int", minimum=1), 0)
    '0 is below 1'
    """
    if isinstance(value, list | tuple):
        if not flag.is_list:
            return f"it takes one value, not the list {list(value)}"
        if not value:
            return "the list is empty"
        return next((text for item in value if (text := complaint(flag, item))), None)
    if flag.type == "json":
        return _json_complaint(value)
    if isinstance(value, Mapping):
        return "it takes no {key: value} object"
    if flag.type == "bool":
        return None if isinstance(value, bool) else f"'{value}' is not true or false"
    if flag.type == "str":
        return _word_complaint(flag, value)
    return _number_complaint(flag, value)


def _json_complaint(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return None
    try:
        parsed = json.loads(value) if isinstance(value, str) else None
    except ValueError:
        parsed = None
    return None if isinstance(parsed, dict | list) else "it takes a {key: value} object, or JSON"


def _word_complaint(flag: Flag, value: Any) -> str | None:
    word = normalize(flag, value)
    if isinstance(word, bool):
        return f"'{str(word).lower()}' is no word; put it in quotes if it was meant as one"
    if not flag.choices or word in flag.choices:
        return None
    return f"'{word}' is not one of {', '.join(flag.choices)}"


def _number_complaint(flag: Flag, value: Any) -> str | None:
    number = normalize(flag, value)
    if isinstance(number, bool) or not isinstance(number, int | float):
        beside = f", or one of {', '.join(flag.words)}" if flag.words else ""
        return f"'{str(value).lower()}' is not {_NUMBERS[flag.type]}{beside}"
    if isinstance(number, float) and not math.isfinite(number):
        return f"{number} is not finite"
    if flag.type != "float" and not isinstance(number, int):
        return f"{number} is not {_NUMBERS[flag.type]}"
    if value in flag.words:
        return None
    if abs(number) >= 2**63:
        return f"{number} is larger than any engine counts"
    if flag.minimum is not None and number < flag.minimum:
        return f"{number} is below {flag.minimum:g}"
    if flag.maximum is not None and number > flag.maximum:
        return f"{number} is above {flag.maximum:g}"
    return None


_NUMBERS = {
    "int": "a whole number",
    "size": "a whole number or a size such as 8k",
    "float": "a number",
}


def normalize(flag: Flag | None, value: Any) -> Any:
    """A value in the one spelling in which equal values are equal; odd ones stay as they are.

    >>> normalize(Flag("float"), 1), normalize(Flag("size"), "8k")
    (1.0, 8000)
    """
    if flag is None:
        return value
    if isinstance(value, list | tuple):
        return [normalize(flag, item) for item in value]
    if isinstance(value, bool):
        return ("off", "on")[value] if flag.boolean is Boolean.WORD else value
    if isinstance(value, str):
        return _normalize_text(flag, value)
    if flag.type == "float" and isinstance(value, int) and abs(value) < 2**63:
        return float(value)
    return value


def _normalize_text(flag: Flag, text: str) -> Any:
    if text in flag.words:
        return flag.words[text]
    if flag.type == "size":
        size = _parse_size(text, binary_capitals=flag.binary_capitals)
        return text if size is None else size
    if flag.type == "json":
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _parse_size(text: str, *, binary_capitals: bool) -> int | None:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    number, unit = match.groups()
    if binary_capitals:
        is_known, is_binary = len(unit) == 1, unit.isupper()
    else:
        is_known, is_binary = unit not in ("K", "m", "g", "t"), len(unit) == 2
    if not is_known or (is_binary and "." in number):
        return None
    return int(float(number) * (1024 if is_binary else 1000) ** _POWER[unit[0].lower()])


def render_args(
    args: Args, flags: Mapping[str, Flag], boolean: Boolean = Boolean.SWITCH
) -> tuple[str, ...]:
    """Args as a command line, sorted by flag: the same args give the same line.

    A flag that the catalog does not know is written as its value suggests: a boolean in the form
    `boolean`, an object as JSON, a list as repeated values.

    >>> render_args({"b": True, "a": [1, 2], "c": False}, {})
    ('--a', '1', '2', '--b')
    """
    line: list[str] = []
    for name in sorted(args):
        flag = flags.get(name)
        if flag is not None and flag.omits_default and args[name] == flag.default:
            continue
        line += _render_flag(name, args[name], flag, flag.boolean if flag else boolean)
    return tuple(line)


def _render_flag(name: str, value: Any, flag: Flag | None, form: Boolean) -> Sequence[str]:
    option = f"--{name}"
    if isinstance(value, bool) and form is not Boolean.WORD:
        if value:
            return (option,)
        return (f"--no-{name}",) if form is Boolean.NEGATABLE else ()
    if isinstance(value, list | tuple) and not (flag and flag.type == "json"):
        words = [_word(item, form) for item in value]
        if flag and not flag.repeats_value:
            return (option, ",".join(words))
        return (option, *words)
    return (option, _word(value, form))


def _word(value: Any, form: Boolean = Boolean.SWITCH) -> str:
    if isinstance(value, bool):
        return ("off", "on")[value] if form is Boolean.WORD else str(value).lower()
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    return str(value)
