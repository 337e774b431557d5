"""What a flag's values may be: ranges spelled out, and values that say the same thing twice."""

import math
from collections.abc import Sequence

Number = int | float
Value = bool | int | float | str

VALUES_LIMIT = 1000
LARGEST = 2**53
"""The largest whole number that every reader of JSON and YAML agrees on."""


def tidy(value: Value) -> Value:
    """A whole number without a fraction: `1.0` and `1` are the same value of a flag.

    >>> tidy(8192.0), tidy(0.5), tidy(True)
    (8192, 0.5, True)
    """
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST
    return int(value) if is_whole else value


def step_of(low: Number, high: Number, step: Number | None) -> Number:
    """The step of a range: 1 for whole numbers, a twentieth of the range else."""
    if step is not None:
        return step
    whole = isinstance(low, int) and isinstance(high, int)
    return 1 if whole else (high - low) / 20 or 1


def check_range(low: Number, high: Number, step: Number | None, *, is_log: bool) -> None:
    """Raises ValueError when a range has no values, or too many."""
    if low > high:
        raise ValueError(f"min {low} is above max {high}")
    if is_log:
        if low <= 0 or step is not None:
            raise ValueError("a log range doubles from min: min must be above 0, and no step")
    elif step is not None and low < high < low + step:
        raise ValueError(f"step {step} is larger than the range from {low} to {high}")
    elif (high - low) / step_of(low, high, step) > VALUES_LIMIT:
        raise ValueError(f"more than {VALUES_LIMIT} values; choose a larger step")


def spell_out(low: Number, high: Number, step: Number | None, *, is_log: bool) -> list[Number]:
    """Every value of a range, in order.

    >>> spell_out(0.7, 0.9, 0.1, is_log=False), spell_out(1, 8, None, is_log=True)
    ([0.7, 0.8, 0.9], [1, 2, 4, 8])
    """
    if is_log:
        doublings = int(math.log2(high / low) + 1e-9) + 1
        return [_rounded(low * 2**n) for n in range(doublings)]
    width = step_of(low, high, step)
    count = int((high - low) / width + 1e-9) + 1
    return [_rounded(low + n * width) for n in range(count)]


def _rounded(value: Number) -> Number:
    """0.1 + 2 * 0.1 is 0.3 to a person."""
    return value if isinstance(value, int) else float(f"{value:.12g}")


def check_values(values: Sequence[Value]) -> None:
    """Raises ValueError when a list of values is empty, too long, or says one thing twice."""
    if not values:
        raise ValueError("the list of values is empty; give at least one")
    if len(values) > VALUES_LIMIT:
        raise ValueError(f"more than {VALUES_LIMIT} values")
    seen: dict[str, Value] = {}
    for value in values:
        text = _on_a_command_line(value)
        if text == "":
            raise ValueError("an empty text is no value; leave a flag out with `when`")
        if text in seen:
            raise ValueError(_twice(seen[text], value))
        seen[text] = value


def _on_a_command_line(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _twice(first: Value, second: Value) -> str:
    if type(first) is type(second):
        return f"{_in_yaml(second)} is given twice"
    return f"{_in_yaml(first)} and {_in_yaml(second)} are the same on a command line; keep one"


def _in_yaml(value: Value) -> str:
    return f'"{value}"' if isinstance(value, str) else _on_a_command_line(value)
