"""Numbers as people read them: sensible digits, a unit, a sign."""

from datetime import UTC, datetime

from inference_autotuner.optimizer.listing import SHORT_NAMES, interval, percent
from inference_autotuner.optimizer.metrics import Direction, Metric, Statistic
from inference_autotuner.optimizer.verdict import Change


def heading(metric: Metric, statistic: Statistic | None = None) -> str:
    """How a metric is called over a column or an axis.

    >>> heading(Metric.TTFT, Statistic.P99), heading(Metric.OUTPUT_THROUGHPUT)
    ('ttft p99', 'output tok/s')
    """
    if metric.is_latency:
        return f"{SHORT_NAMES[metric]} {statistic or Statistic.MEAN}"
    return SHORT_NAMES[metric]


def better_word(direction: Direction) -> str:
    """Which way is good, for an axis.

    >>> better_word(Direction.MINIMIZE)
    'less is better'
    """
    return "less is better" if direction is Direction.MINIMIZE else "more is better"


def hours(seconds: float) -> str:
    """Hours with sensible digits.

    >>> hours(5400), hours(90)
    ('1.50 h', '0.025 h')
    """
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds / 3600:.3f} h"


def moment(unix_s: float) -> str:
    """A moment in UTC.

    >>> moment(0)
    '1970-01-01 00:00 UTC'
    """
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def spell_level(value: object) -> str:
    """A flag's value as people write it; None is the engine's default.

    >>> spell_level(None), spell_level(True), spell_level(0.5)
    ('default', 'true', '0.5')
    """
    if value is None:
        return "default"
    return str(value).lower() if isinstance(value, bool) else str(value)


def cost(change: Change | None) -> str:
    """What something costs: a gain with the sign left out, a dash where it is not known.

    >>> cost(Change(0.47)), cost(Change(-0.002)), cost(None)
    ('47 %', '−0.2 %', '–')
    """
    return percent(change.point).removeprefix("+") if change else "–"


def bounds(change: Change | None) -> str:
    """The interval of a change, or a dash.

    >>> bounds(Change(0.9, 0.84, 0.97)), bounds(Change(0.9))
    ('+84 … +97 %', '–')
    """
    if change is None or change.low is None or change.high is None:
        return "–"
    return interval(change.low, change.high)
