"""What is measured: metrics, statistics, points and measurements, in one set of units.

Definitions follow genai-bench 0.0.5 (request metrics collector); other load generators are
converted to these at their adapter. Times are seconds, rates are per second.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any


class Statistic(StrEnum):
    """How the latencies of all requests of a point become one number."""

    MEAN = "mean"
    P50 = "p50"
    P90 = "p90"
    P95 = "p95"
    P99 = "p99"


class Direction(StrEnum):
    """Whether more or less of a metric is better."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"


class Metric(StrEnum):
    """A number that a point of a measurement has."""

    OUTPUT_THROUGHPUT = "output_throughput"
    INPUT_THROUGHPUT = "input_throughput"
    TOTAL_THROUGHPUT = "total_throughput"
    REQUEST_THROUGHPUT = "request_throughput"
    GOODPUT = "goodput"
    TOKEN_GOODPUT = "token_goodput"
    TTFT = "ttft"
    TPOT = "tpot"
    E2E_LATENCY = "e2e_latency"

    @property
    def is_latency(self) -> bool:
        """Whether it is a time per request, and so needs a statistic."""
        return self in (Metric.TTFT, Metric.TPOT, Metric.E2E_LATENCY)

    @property
    def direction(self) -> Direction:
        """The direction in which it is better."""
        return Direction.MINIMIZE if self.is_latency else Direction.MAXIMIZE

    @property
    def unit(self) -> str:
        """The unit inside the project."""
        if self.is_latency:
            return "s"
        requests = self in (Metric.REQUEST_THROUGHPUT, Metric.GOODPUT)
        return "requests/s" if requests else "tokens/s"

    @property
    def meaning(self) -> str:
        """One sentence for a person, with the formula."""
        return _MEANING[self]


_MEANING = {
    Metric.OUTPUT_THROUGHPUT: "Output tokens of all completed requests / run duration.",
    Metric.INPUT_THROUGHPUT: "Input tokens of all completed requests / run duration.",
    Metric.TOTAL_THROUGHPUT: "Input and output tokens of all completed requests / run duration.",
    Metric.REQUEST_THROUGHPUT: "Completed requests / run duration.",
    Metric.GOODPUT: "Requests that met every latency SLO / run duration.",
    Metric.TOKEN_GOODPUT: "Output tokens of requests that met every latency SLO / run duration.",
    Metric.TTFT: "Request sent to first non-empty output token.",
    Metric.TPOT: "(End-to-end latency - TTFT) / (output tokens - 1), one value per request.",
    Metric.E2E_LATENCY: "Request sent to last output token.",
}

Latency = Mapping[Statistic, float]


@dataclass(frozen=True)
class Point:
    """One scenario at one concurrency on one server.

    Attributes:
        scenario: The scenario, in genai-bench's form.
        concurrency: Requests in flight, closed loop.
        requests: Requests that ended, errors included.
        errors: Requests that ended in an error.
        duration_s: The run duration: from the first request to the end of the last that ended.
        rates: Per second, for each metric that is no latency.
        latencies: Seconds, for each latency metric and statistic.
    """

    scenario: str
    concurrency: int
    requests: int
    errors: int
    duration_s: float
    rates: Mapping[Metric, float]
    latencies: Mapping[Metric, Latency]

    def value(self, metric: Metric, statistic: Statistic | None = None) -> float:
        """One number of this point; latencies default to the mean."""
        if metric.is_latency:
            return self.latencies[metric][statistic or Statistic.MEAN]
        return self.rates[metric]


@dataclass(frozen=True)
class Measurement:
    """What one trial's benchmark saw: one point for each scenario and concurrency."""

    points: tuple[Point, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Compact JSON, under 8 KiB for 24 points: names once, then a row of numbers a point."""
        table = {
            "rates": _RATES,
            "latencies": _LATENCIES,
            "statistics": list(Statistic),
            "points": [_row(point) for point in self.points],
            "notes": self.notes,
        }
        return json.dumps(table, separators=(",", ":"))

    @classmethod
    @lru_cache(maxsize=2048)  # a study reads all of its trials at every move
    def from_json(cls, text: str) -> "Measurement":
        """Reads back what `to_json` wrote."""
        table = json.loads(text)
        names = _Names(
            rates=tuple(map(Metric, table["rates"])),
            latencies=tuple(map(Metric, table["latencies"])),
            statistics=tuple(map(Statistic, table["statistics"])),
        )
        return cls(tuple(_point(names, row) for row in table["points"]), tuple(table["notes"]))


@dataclass(frozen=True)
class _Names:
    """What the numbers of a row are."""

    rates: tuple[Metric, ...]
    latencies: tuple[Metric, ...]
    statistics: tuple[Statistic, ...]


_RATES = [metric for metric in Metric if not metric.is_latency]
_LATENCIES = [metric for metric in Metric if metric.is_latency]


def _row(point: Point) -> list[Any]:
    return [
        point.scenario,
        point.concurrency,
        point.requests,
        point.errors,
        _short(point.duration_s),
        [_short(point.rates[metric]) for metric in _RATES],
        [[_short(point.latencies[m][s]) for s in Statistic] for m in _LATENCIES],
    ]


def _point(names: _Names, row: list[Any]) -> Point:
    scenario, concurrency, requests, errors, duration_s = row[:5]
    return Point(
        scenario=scenario,
        concurrency=concurrency,
        requests=requests,
        errors=errors,
        duration_s=duration_s,
        rates=dict(zip(names.rates, row[5], strict=True)),
        latencies={
            metric: dict(zip(names.statistics, values, strict=True))
            for metric, values in zip(names.latencies, row[6], strict=True)
        },
    )


def _short(value: float) -> float:
    """Five significant digits: far below any run-to-run noise."""
    return float(f"{value:.5g}")
