"""What is wrong with a field, in words that say what to write instead."""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from inference_autotuner.optimizer.errors import Mistake
from inference_autotuner.optimizer.paths import Path, show_path
from inference_autotuner.optimizer.schema import (
    default_of,
    describe_field,
    field_names,
    places_of,
)

Error = Mapping[str, Any]

_LONGEST = 240
_FORMS = ("<list>", "<search>", "<true>", "<params>", "[key]")
"""What pydantic puts into a path for one form of a value, or for a name."""
_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "a mapping (name: value)",
    "model_type": "a mapping (name: value)",
}
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}
_YES = {"yes": True, "on": True, "y": True, "no": False, "off": False, "n": False}


def to_mistakes(errors: Iterable[Error], raw: Any, written: Mapping[Path, str]) -> list[Mistake]:
    """Pydantic's errors as mistakes; a field that is there, misspelled, is not missing as well.

    Args:
        errors: As pydantic's `ValidationError.errors()` lists them.
        raw: The whole task as it was read.
        written: Numbers, booleans and nulls as they stand in the file.
    """
    placed = [(_path_in(raw, error["loc"]), error) for error in errors]
    misspelled = {
        (*path[:-1], nearest(str(path[-1]), field_names(path[:-1])))
        for path, error in placed
        if error["type"] == "extra_forbidden"
    }
    return [
        Mistake(show_path(path), shorten(_message(error, path, written.get(path))))
        for path, error in placed
        if not (error["type"] == "missing" and path in misspelled)
    ]


def shorten(message: str) -> str:
    """At most a few lines on a terminal."""
    return message if len(message) <= _LONGEST else f"{message[: _LONGEST - 1]}…"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is written most like this one; None when none is near.

    >>> nearest("ready_timeout", ["readyTimeout", "mode"])
    'readyTimeout'
    """
    names = {_plain(name): name for name in known}
    near = difflib.get_close_matches(_plain(word), names, n=1, cutoff=0.6)
    return names[near[0]] if near else None


def suggest(word: str, known: Iterable[str]) -> str:
    """`did you mean …?` for a word that is not known; empty when nothing is near."""
    meant = nearest(word, known)
    return f"; did you mean {meant}?" if meant else ""


def _plain(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")


def _path_in(raw: Any, loc: Iterable[str | int]) -> Path:
    """Where an error is in the file: without the names of forms that pydantic tells apart."""
    path: list[str | int] = []
    parts = tuple(loc)
    for position, part in enumerate(parts):
        is_last = position + 1 == len(parts)
        if _has(raw, part):
            raw = raw[part]
        elif part in _FORMS or not (is_last and isinstance(raw, dict)):
            continue  # `values` of a list of values, for instance
        path.append(part)
    return tuple(path)


def _has(raw: Any, part: str | int) -> bool:
    if isinstance(raw, list):
        return isinstance(part, int) and part < len(raw)
    return isinstance(raw, dict) and part in raw


def _message(error: Error, path: Path, written: str | None) -> str:
    kind = error["type"]
    if kind in _WANTED:
        return _wrong_type(kind, error["input"], path, written)
    if kind in _BOUNDS:
        word, bound = _BOUNDS[kind]
        shown = written or error["input"]
        return f"{shown} is out of range; it must be {word} {error['ctx'][bound]:g}"
    return _SENTENCES.get(kind, _unknown)(error, path)


def _wrong_type(kind: str, given: Any, path: Path, written: str | None) -> str:
    wanted = _WANTED[kind]
    if kind == "model_type" and field_names(path):
        wanted = f"a mapping with {_listed(field_names(path))}"
    if given is None:
        default = default_of(path)
        rest = ", or leave the line out" if default is not None else ""
        shown = "" if default is None or isinstance(default, dict) else _in_yaml(default)
        return f"is empty; give {wanted}{rest}{f' (default {shown})' if shown else ''}"
    remedy = _remedy(kind, given, written)
    return f"{_shown(given, written)}; {remedy or f'give {wanted}'}"


def _remedy(kind: str, given: Any, written: str | None) -> str:
    """What to write instead, where that can be guessed."""
    if kind in ("int_type", "float_type") and isinstance(given, str):
        digits = given.replace("_", "").replace(",", "").strip()
        return f"write {digits} without quotes" if _is_number(digits, kind) else ""
    if kind == "int_type" and isinstance(given, float) and given.is_integer():
        return f"write {int(given)}"
    if kind == "string_type" and isinstance(given, bool | int | float):
        return f'write "{written or _in_yaml(given)}" in quotes'
    if kind == "bool_type" and str(given).lower() in _YES:
        return f"write {_in_yaml(_YES[str(given).lower()])}"
    if kind == "list_type" and isinstance(given, str | int | float):
        return f"write a list: [{_in_yaml(given)}]"
    return ""


def _is_number(text: str, kind: str) -> bool:
    form = r"[-+]?[0-9]{1,18}" if kind == "int_type" else r"[-+]?[0-9]{1,18}(\.[0-9]{1,18})?"
    return re.fullmatch(form, text) is not None


def _shown(given: Any, written: str | None) -> str:
    if isinstance(given, list | dict):
        return "a list stands here" if isinstance(given, list) else "a mapping stands here"
    if isinstance(given, str):
        return f"{_in_yaml(given)} is a text"
    if isinstance(given, bool):
        return f"{written or _in_yaml(given)} is no number and no text"
    return f"{written or given} is a number"


def _in_yaml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _missing(error: Error, path: Path) -> str:
    meaning = describe_field(path)
    return f"is missing{': ' + meaning if meaning else ''}"


def _no_such_field(error: Error, path: Path) -> str:
    siblings = field_names(path[:-1])
    name = str(path[-1])
    elsewhere = places_of(name)
    if elsewhere and not suggest(name, siblings):
        return f"is no field here; it belongs to {show_path(elsewhere[0])}"
    return f"is no field{suggest(name, siblings)} There are {_listed(siblings)}".replace(
        "field There", "field; there"
    )


def _not_in_list(error: Error, path: Path) -> str:
    words = re.findall(r"'([^']*)'", error["ctx"]["expected"])
    given = error["input"]
    shown = _in_yaml(given) if not isinstance(given, list | dict) else "this"
    if len(words) == 1:
        return f"{shown} is not known; it must be {words[0]}"
    return f"{shown} is not known; allowed are {_listed(words)}{suggest(str(given), words)}"


def _not_a_name(error: Error, path: Path) -> str:
    given = str(error["input"])
    pattern = error["ctx"]["pattern"]
    better = re.sub(r"[^a-z0-9]+", "-", given.lower()).strip("-")
    hint = f"; did you mean {better}?" if re.fullmatch(pattern, better) else ""
    first = "a letter" if pattern.startswith("^[a-z](") else "a letter or digit"
    return (
        f"{_in_yaml(given)} is no name: lower-case letters, digits and dashes make one, {first} "
        f"first and no dash last{hint}"
    )


def _too_few(error: Error, path: Path) -> str:
    return "is empty; give at least one"


def _too_long(error: Error, path: Path) -> str:
    return f"has {len(error['input'])} characters; at most {error['ctx']['max_length']}"


def _said_by_us(error: Error, path: Path) -> str:
    return str(error["ctx"]["error"]) if "error" in error.get("ctx", {}) else str(error["msg"])


def _unknown(error: Error, path: Path) -> str:
    return f"{_shown(error['input'], None)}, which cannot be used here. {describe_field(path)}"


_SENTENCES: Mapping[str, Callable[[Error, Path], str]] = {
    "missing": _missing,
    "extra_forbidden": _no_such_field,
    "enum": _not_in_list,
    "literal_error": _not_in_list,
    "string_pattern_mismatch": _not_a_name,
    "string_too_short": lambda error, path: "is empty; give a text",
    "string_too_long": _too_long,
    "too_short": _too_few,
    "finite_number": lambda error, path: "is no number that can be used here",
    "value_error": _said_by_us,
    "shape": _said_by_us,
}


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)
