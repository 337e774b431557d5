"""What a measurement is worth: one number for each objective, one violation for each SLO."""

import math

from inference_autotuner.optimizer.metrics import Measurement, Point
from inference_autotuner.optimizer.spec import Objective, Slo, Spec


def objective_values(spec: Spec, measurement: Measurement) -> tuple[float, ...]:
    """One number for each objective, in the objective's own unit and direction.

    Points are combined by a weighted geometric mean: a gain of 10 % counts the same at
    concurrency 1 as at 256, where a plain mean would hear the loudest point alone.
    """
    return tuple(_combined(spec, measurement, objective) for objective in spec.objectives)


def violations(spec: Spec, measurement: Measurement) -> dict[str, float]:
    """For each SLO by title, the relative excess at the point where it is missed by most."""
    return {
        slo.title: max(slo.violation(point.value(slo.metric, slo.statistic)) for point in points)
        for slo in spec.slos
        for points in [measurement.points]
    }


def binding_point(slo: Slo, measurement: Measurement) -> Point:
    """The point at which an SLO is closest to its limit, or furthest beyond."""
    return max(
        measurement.points, key=lambda point: slo.violation(point.value(slo.metric, slo.statistic))
    )


def _combined(spec: Spec, measurement: Measurement, objective: Objective) -> float:
    weights = {s.scenario: s.weight for s in spec.workload.scenarios}
    total = sum(weights[point.scenario] for point in measurement.points)
    logs = 0.0
    for point in measurement.points:
        value = point.value(objective.metric, objective.statistic)
        if value <= 0:
            return 0.0  # goodput where no request met its limits
        logs += weights[point.scenario] * math.log(value)
    return math.exp(logs / total)
