"""Durations as people write them. Inside the project everything is seconds."""

import re
from decimal import Decimal

# Decimal numbers, so that 42.1ms is 0.0421 s to the last digit and is written back as 42.1ms.
_SECONDS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_PART = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)(ms|s|m|h|d)")
_EXAMPLES = "500ms, 30s, 5m or 2h"
_LONGEST_S = 366 * 86400


def parse_duration(text: object) -> float:
    """Seconds in a duration such as `500ms`, `1.5s` or `1h30m`.

    Raises:
        ValueError: No unit, an unknown unit, longer than a year, or not a duration at all.

    >>> parse_duration("1h30m"), parse_duration("500ms")
    (5400.0, 0.5)
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        raise ValueError(f"{text} has no unit; write a duration such as {_EXAMPLES}")
    if not isinstance(text, str):
        raise ValueError(f"write a duration such as {_EXAMPLES}")
    compact = text.replace(" ", "")
    parts = _PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f"'{text}' is no duration; write one such as {_EXAMPLES}")
    seconds = float(sum(Decimal(number) * _SECONDS[unit] for number, unit in parts))
    if seconds > _LONGEST_S:
        raise ValueError(f"'{text}' is longer than a year")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest exact spelling of a duration, which `parse_duration` reads back.

    >>> format_duration(5400.0), format_duration(0.5), format_duration(90.0)
    ('1h30m', '500ms', '1m30s')
    """
    exact = Decimal(repr(seconds))
    if seconds < 1:
        return f"{_plain(exact * 1000)}ms"
    if exact % 1:
        return f"{_plain(exact)}s"
    parts = []
    whole = int(exact)
    for unit in ("d", "h", "m", "s"):
        count, whole = divmod(whole, int(_SECONDS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def _plain(number: Decimal) -> str:
    """Without an exponent and without zeros at the end."""
    return f"{number.normalize():f}"


def spoken_duration(seconds: float) -> str:
    """A duration for a person, at most two units.

    >>> spoken_duration(220), spoken_duration(7.25), spoken_duration(0.0421), spoken_duration(7300)
    ('3 m 40 s', '7.2 s', '42 ms', '2 h 1 m')
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for big, size, small, part in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "m", 60),
        ("m", 60, "s", 1),
    ):
        if whole >= size:
            return f"{whole // size} {big} {whole % size // part} {small}"
    return f"{whole} s"
