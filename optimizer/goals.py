"""What is wanted, as a task says it: objectives and SLOs."""

import math
from typing import Annotated, Any

from pydantic import (
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_serializer,
    field_validator,
)

from inference_autotuner.optimizer.fields import TaskModel
from inference_autotuner.optimizer.metrics import Direction, Metric, Statistic
from inference_autotuner.optimizer.units import format_duration, parse_duration


def _statistic_of(metric: Metric | None, given: Statistic | None, default: Statistic) -> Any:
    """The statistic of a latency; `metric` is None when its own mistake was found already."""
    if metric is None or metric.is_latency:
        return given or default
    if given is not None:
        raise ValueError(f"{metric} is a rate over the whole run; leave the statistic out")
    return None


class Objective(TaskModel):
    """A number to maximize or minimize among trials that hold every SLO."""

    metric: Metric = Field(description="What is measured.")
    statistic: Statistic | None = Field(
        default=None, description="Only for latencies. Default: mean.", validate_default=True
    )
    direction: Direction | None = Field(
        default=None,
        description="Default: the one in which the metric is better.",
        validate_default=True,
    )

    @field_validator("statistic")
    @classmethod
    def _of_latencies(cls, given: Statistic | None, info: ValidationInfo) -> Any:
        return _statistic_of(info.data.get("metric"), given, Statistic.MEAN)

    @field_validator("direction")
    @classmethod
    def _towards_better(cls, given: Direction | None, info: ValidationInfo) -> Any:
        metric = info.data.get("metric")
        if metric is not None and given not in (None, metric.direction):
            raise ValueError(f"{metric} is better when you {metric.direction} it")
        return metric.direction if metric else given


class Slo(TaskModel):
    """A limit that must hold at every point."""

    metric: Metric = Field(description="What is limited.")
    statistic: Statistic | None = Field(
        default=None, description="Only for latencies. Default: p99.", validate_default=True
    )
    limit: Annotated[float, WithJsonSchema({"type": ["string", "number"]})] = Field(
        description="Latencies: a duration such as `500ms`, not to be exceeded. Rates: a number "
        "to be reached.",
        gt=0,
    )

    @field_validator("statistic")
    @classmethod
    def _of_latencies(cls, given: Statistic | None, info: ValidationInfo) -> Any:
        return _statistic_of(info.data.get("metric"), given, Statistic.P99)

    @field_validator("limit", mode="before")
    @classmethod
    def _with_its_unit(cls, raw: Any, info: ValidationInfo) -> float:
        metric = info.data.get("metric")
        if metric is None:
            return 1.0  # the metric's own mistake is told; a limit of nothing cannot be judged
        if metric.is_latency:
            return parse_duration(raw)
        if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
            raise ValueError(f"{metric} is a plain number of {metric.unit}; write it without unit")
        return float(raw)

    @field_serializer("limit")
    def _limit_with_unit(self, limit: float) -> float | str:
        return format_duration(limit) if self.metric.is_latency else limit

    @property
    def title(self) -> str:
        """How the SLO is named in listings: `ttft p99`."""
        return f"{self.metric} {self.statistic}" if self.statistic else str(self.metric)

    def violation(self, value: float) -> float:
        """How far `value` misses the limit, relative; zero or less when the SLO holds.

        >>> round(Slo(metric="ttft", limit="200ms").violation(0.3), 6)
        0.5
        """
        if self.metric.direction is Direction.MINIMIZE:
            return value / self.limit - 1
        return self.limit / value - 1 if value > 0 else math.inf
