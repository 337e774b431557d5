"""CEL expressions over `params`, as in `params["tp-size"] <= 4`. Never `eval`."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cel_expr_python import cel

Params = Mapping[str, Any]

_NAMES = re.compile(r"""params\s*(?:\[\s*(?:"([^"]+)"|'([^']+)')\s*\]|\.([A-Za-z_]\w*))""")
_PLACE = re.compile(r"INVALID_ARGUMENT: ERROR: <input>:\d+:(\d+):")
_LENGTH_LIMIT = 2000


@lru_cache(maxsize=1)
def _environment() -> cel.Env:
    return cel.NewEnv(variables={"params": cel.Type.Map(cel.Type.STRING, cel.Type.DYN)})


@lru_cache(maxsize=256)
def _compiled(source: str) -> cel.Expression:
    if len(source) > _LENGTH_LIMIT:
        raise ValueError(f"the expression is longer than {_LENGTH_LIMIT} characters")
    try:
        return _environment().compile(source)
    except RuntimeError as error:
        raise ValueError(f"'{source}' is not a CEL expression: {_first_line(error)}") from error


def _first_line(error: object) -> str:
    line = str(error).splitlines()[0].split(" expecting ")[0].replace("'<EOF>'", "the end")
    return _PLACE.sub(r"at character \1:", line).strip()


def check_expression(source: str) -> None:
    """Raises ValueError when `source` does not compile."""
    _compiled(source)


def names_in(source: str) -> set[str]:
    """The params that an expression reads.

    >>> sorted(names_in('params["tp-size"] * params.dp <= 8'))
    ['dp', 'tp-size']
    """
    return {a or b or c for a, b, c in _NAMES.findall(source)}


def evaluate(source: str, params: Params) -> Any:
    """The value of an expression, or None when it reads a param that is not there.

    Raises:
        ValueError: It does not compile, or its types do not fit (CEL mixes no integers with
            floating-point numbers in arithmetic: write `double(params["x"]) * 0.5`).

    >>> evaluate('params["a"] + 1', {"a": 2}), evaluate('params["b"]', {})
    (3, None)
    """
    result = _compiled(source).eval(data={"params": dict(params)})
    if result.type() != cel.Type.ERROR:
        return result.plain_value()
    text = str(result.value())
    if text.startswith("NOT_FOUND"):
        return None
    hint = ""
    if "No matching overloads" in text:
        hint = '; in arithmetic write double(params["x"]) where the other number has a fraction'
    raise ValueError(f"'{source}' cannot be evaluated: {text.split(' : ')[-1]}{hint}")


def holds(source: str, params: Params) -> bool:
    """Whether a condition is true; one that reads an absent param says nothing, and holds.

    Raises:
        ValueError: The expression is wrong, or its value is no boolean.
    """
    value = evaluate(source, params)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"'{source}' gives {value!r}, not true or false")
    return value is not False
