"""What is wrong or doubtful in a task that is well-formed: what needs an engine to be seen."""

from collections.abc import Iterator

from inference_autotuner.optimizer.check_expressions import check_expressions, find_circle
from inference_autotuner.optimizer.check_flags import check_flags
from inference_autotuner.optimizer.check_space import check_space
from inference_autotuner.optimizer.engine import Engine, get_engine
from inference_autotuner.optimizer.findings import Finding, Findings, sort_out
from inference_autotuner.optimizer.metrics import Metric
from inference_autotuner.optimizer.spec import ConcurrencySearch, Spec, TuningTask


def check(task: TuningTask) -> Findings:
    """Every mistake and every warning, with the field it is about; nothing raises."""
    engine = get_engine(task.spec.engine.name)
    return sort_out(_check(engine, task.spec))


def _check(engine: Engine, spec: Spec) -> Iterator[Finding]:
    yield from _check_mode(spec)
    yield from _check_served_name(engine, spec)
    yield from _check_goals(spec)
    yield from check_flags(engine, spec)
    yield from check_expressions(engine, spec)
    if not find_circle(engine, spec):
        yield from check_space(engine, spec)


def _check_mode(spec: Spec) -> Iterator[Finding]:
    mode, engine = spec.deployment.mode, spec.engine
    needed = {"ome": "runtime", "kubernetes": "image", "docker": "image"}.get(mode)
    given = {"runtime": engine.runtime, "image": engine.image, "binary": engine.binary}
    if needed is not None and given[needed] is None:
        yield Finding(f"spec.engine.{needed}", f"mode {mode} needs engine.{needed}")
    for name, value in given.items():
        allowed = "binary" if mode == "process" else needed
        if value is not None and name != allowed:
            yield Finding(f"spec.engine.{name}", f"mode {mode} has no use for engine.{name}")


def _check_served_name(engine: Engine, spec: Spec) -> Iterator[Finding]:
    name = spec.model.servedName or ""
    for character in engine.forbidden_in_name:
        if character in name:
            message = f"'{name}': {engine.title} takes no '{character}' in a model's name"
            yield Finding("spec.model.servedName", message)


def _check_goals(spec: Spec) -> Iterator[Finding]:
    if isinstance(spec.workload.concurrency, ConcurrencySearch) and not spec.slos:
        message = "a search for the highest concurrency needs an SLO that ends it; give slos"
        yield Finding("spec.workload.concurrency", message)
    if any(slo.metric.is_latency for slo in spec.slos):
        return
    metrics = {f"spec.objectives[{i}].metric": o.metric for i, o in enumerate(spec.objectives)}
    metrics |= {f"spec.slos[{i}].metric": slo.metric for i, slo in enumerate(spec.slos)}
    for path, metric in metrics.items():
        if metric in (Metric.GOODPUT, Metric.TOKEN_GOODPUT):
            yield Finding(
                path, f"{metric} counts requests that meet latency SLOs; give one in slos"
            )
