"""Durations as people write them. Inside the project everything is seconds."""

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(text: object) -> float:
    """Seconds in a duration such as `500ms`, `1.5s` or `1h30m`.

    Raises:
        ValueError: No unit, an unknown unit, or not a duration at all.

    >>> parse_duration("1h30m"), parse_duration("500ms")
    (5400.0, 0.5)
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        raise ValueError(f"{text} has no unit; write a duration such as 500ms, 30s, 5m or 2h")
    if not isinstance(text, str):
        raise ValueError("write a duration such as 500ms, 30s, 5m or 2h")
    compact = text.replace(" ", "")
    parts = _PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f"'{text}' is no duration; write one such as 500ms, 30s, 5m or 2h")
    return float(sum(float(number) * _SECONDS[unit] for number, unit in parts))


def format_duration(seconds: float) -> str:
    """The shortest exact spelling of a duration, which `parse_duration` reads back.

    >>> format_duration(5400.0), format_duration(0.5), format_duration(90.0)
    ('1h30m', '500ms', '1m30s')
    """
    if seconds < 1:
        return f"{round(seconds * 1000, 6):g}ms"
    whole = int(seconds)
    if whole != seconds:
        return f"{seconds:.10g}s"
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def spoken_duration(seconds: float) -> str:
    """A duration for a person, at most two units.

    >>> spoken_duration(220), spoken_duration(7.25), spoken_duration(0.0421), spoken_duration(7300)
    ('3 m 40 s', '7.2 s', '42 ms', '2 h 2 m')
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
