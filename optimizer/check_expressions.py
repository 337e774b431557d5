"""Expressions of a task: names that mean something, types that fit, conditions in no circle."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from inference_autotuner.optimizer.context import expression_params
from inference_autotuner.optimizer.engine import Engine
from inference_autotuner.optimizer.expressions import evaluate, names_in
from inference_autotuner.optimizer.findings import Finding, suggestion
from inference_autotuner.optimizer.spec import Baseline, Spec

GPUS = "spec.deployment.gpus"
_TRIES = 500  # combinations that an expression is evaluated with


@dataclass(frozen=True)
class _Use:
    """An expression at its place in a task."""

    path: str
    source: str


def check_expressions(engine: Engine, spec: Spec) -> Iterator[Finding]:
    """Unknown names, wrong types, values that make no sense, and circles."""
    conditions = [_Use(f"spec.constraints[{i}]", text) for i, text in enumerate(spec.constraints)]
    whens = [
        _Use(f"spec.parameters.{name}.when", parameter.when)
        for name, parameter in spec.parameters.items()
        if parameter.when is not None
    ]
    gpus = spec.deployment.gpus
    counts = [_Use(GPUS, gpus)] if isinstance(gpus, str) else []
    for use in (*conditions, *whens):
        yield from _check_names(engine, spec, use)
    for use in conditions:
        yield from _check_condition(engine, spec, use)
    for use in whens:
        yield from _check_condition(engine, spec, use, must_come_true=True)
    for use in counts:
        unknown = list(_check_names(engine, spec, use))
        yield from unknown or _check_count(engine, spec, use)
    yield from _check_circles(engine, spec)


def _check_names(engine: Engine, spec: Spec, use: _Use) -> Iterator[Finding]:
    searched = {*spec.parameters, *map(engine.canonical, spec.parameters)}
    known = {*expression_params(engine, spec, {}), *searched}
    for name in sorted(names_in(use.source) - known):
        canonical = engine.canonical(name)
        if canonical in known:
            hint = f'write params["{canonical}"]'
        elif engine.knows(canonical):
            hint = (
                f"{engine.title} computes its default; set it in engine.args, or search it in "
                "parameters"
            )
        else:
            near = suggestion(canonical, (*known, *engine.flags))
            hint = f"it is no parameter, no fixed arg and no flag with a known default{near}"
        yield Finding(use.path, f"'{name}' has no value here: {hint}")


def _check_condition(
    engine: Engine, spec: Spec, use: _Use, *, must_come_true: bool = False
) -> Iterator[Finding]:
    values = set()
    for context in _contexts(engine, spec, use.source):
        try:
            value = evaluate(use.source, context)
        except ValueError as error:
            yield Finding(use.path, f"{error}{_with(use.source, context)}")
            return
        if value is not None and not isinstance(value, bool):
            yield Finding(use.path, f"'{use.source}' gives {value!r}, not true or false")
            return
        values.add(value)
    if must_come_true and values == {False}:
        message = f"'{use.source}' is never true, so the flag is never set"
        yield Finding(use.path, message, is_mistake=False)


def _check_count(engine: Engine, spec: Spec, use: _Use) -> Iterator[Finding]:
    baseline = spec.search.baseline
    params = baseline.params if isinstance(baseline, Baseline) else {}
    first = expression_params(engine, spec, params)
    for context in (first, *_contexts(engine, spec, use.source)):
        try:
            value = evaluate(use.source, context)
        except ValueError as error:
            yield Finding(use.path, f"{error}{_with(use.source, context)}")
            return
        if value is None and context is first:
            absent = ", ".join(sorted(names_in(use.source) - first.keys()))
            message = f"'{use.source}' has no value for the baseline, which leaves out {absent}"
            yield Finding(use.path, message)
            return
        if value is not None and not _is_count(value):
            message = f"'{use.source}' gives {value!r}, not a whole number of GPUs"
            yield Finding(use.path, message + _with(use.source, context))
            return


def _is_count(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < 2**31 and value == int(value)


def _contexts(engine: Engine, spec: Spec, source: str) -> Iterator[Mapping[str, Any]]:
    """What an expression may see: every value of the parameters that it reads, some at least."""
    read = {engine.canonical(name) for name in names_in(source)}
    named = [name for name in spec.parameters if engine.canonical(name) in read]
    lists = [spec.parameters[name].expanded() for name in named]
    for values in itertools.islice(itertools.product(*lists), _TRIES):
        yield expression_params(engine, spec, dict(zip(named, values, strict=True)))


def _with(source: str, context: Mapping[str, Any]) -> str:
    read = [f"{n} = {context[n]}" for n in sorted(names_in(source)) if n in context]
    return f" (with {', '.join(read)})" if read else ""


def _check_circles(engine: Engine, spec: Spec) -> Iterator[Finding]:
    circle = find_circle(engine, spec)
    if circle:
        chain = " waits for ".join((*circle, circle[0]))
        yield Finding(f"spec.parameters.{circle[0]}.when", f"no condition can be first: {chain}")


def find_circle(engine: Engine, spec: Spec) -> tuple[str, ...]:
    """Parameters, as the task spells them, whose conditions read one another in a circle."""
    spelled = {engine.canonical(name): name for name in spec.parameters}
    reads = {
        name: [
            spelled[canonical]
            for read in sorted(names_in(parameter.when or ""))
            if (canonical := engine.canonical(read)) in spelled
        ]
        for name, parameter in spec.parameters.items()
    }
    for start in reads:
        path: list[str] = [start]
        tried: set[str] = set()
        while path:
            following = [n for n in reads[path[-1]] if n == start or n not in tried]
            if not following:
                path.pop()
            elif following[0] == start:
                return tuple(path)
            else:
                tried.add(following[0])
                path.append(following[0])
    return ()
