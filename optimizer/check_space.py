"""Whether anything of a search space can run at all, the baseline first."""

import itertools
import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from inference_autotuner.optimizer.context import expression_params, longest_request, room
from inference_autotuner.optimizer.engine import Engine
from inference_autotuner.optimizer.expressions import evaluate, names_in
from inference_autotuner.optimizer.findings import Finding
from inference_autotuner.optimizer.spec import Baseline, Spec

ENUMERATION_LIMIT = 100_000
_SAMPLE = 20_000
_PRESENCE = re.compile(r"""["']([\w.-]+)["']\s+in\s+params""")


@dataclass
class _Limit:
    """A condition on params, with what was seen of it so far.

    Its value rests on the few names in it alone, so that a hundred thousand combinations cost
    a few evaluations. A limit that reads an absent param holds; a `when` that does is not true.
    """

    path: str
    source: str
    why: str
    when_absent: bool = True
    was_true: bool = False
    known: dict[tuple[Any, ...], bool] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted({*names_in(self.source), *_PRESENCE.findall(self.source)}))

    def holds(self, context: Mapping[str, Any], names: Iterable[str]) -> bool:
        key = tuple(_key(context.get(name)) for name in names)
        if key not in self.known:
            self.known[key] = _holds(self.source, context, when_absent=self.when_absent)
            self.was_true = self.was_true or self.known[key]
        return self.known[key]


def check_space(engine: Engine, spec: Spec) -> Iterator[Finding]:
    """A baseline that the engine refuses, and constraints that nothing satisfies."""
    broken = set()
    for limit in _limits(engine, spec)[len(spec.constraints) :]:
        if not _holds(limit.source, _baseline_context(engine, spec)):
            broken.add(limit.source)
            is_given = isinstance(spec.search.baseline, Baseline)
            path = "spec.search.baseline.params" if is_given else limit.path
            advice = "" if is_given else "; say in search.baseline what does run"
            yield Finding(path, f"the baseline cannot run: {limit.why}{advice}")
    rest = [limit for limit in _limits(engine, spec) if limit.source not in broken]
    yield from _search(engine, spec, rest)


def _limits(engine: Engine, spec: Spec) -> list[_Limit]:
    tokens = longest_request(spec)
    small = f"the context must hold the longest request, {tokens} tokens of prompt and output"
    return [
        *(_Limit(f"spec.constraints[{i}]", t, f"'{t}'") for i, t in enumerate(spec.constraints)),
        *(_Limit(_place(engine, spec, r.expression), r.expression, r.why) for r in engine.rules),
        _Limit("spec.workload.scenarios", room(engine, spec), small),
    ]


def _place(engine: Engine, spec: Spec, source: str) -> str:
    """The field to blame for a rule of the engine."""
    searched = {engine.canonical(name): name for name in spec.parameters}
    read = [searched[name] for name in sorted(names_in(source)) if name in searched]
    return f"spec.parameters.{read[0]}" if read else "spec.engine.args"


def _baseline_context(engine: Engine, spec: Spec) -> Mapping[str, Any]:
    chosen = spec.search.baseline
    return expression_params(engine, spec, chosen.params if isinstance(chosen, Baseline) else {})


def _holds(source: str, context: Mapping[str, Any], *, when_absent: bool = True) -> bool:
    try:
        value = evaluate(source, context)
    except ValueError:
        return True  # the value that does not fit is a finding of its own
    return when_absent if value is None else value is not False


def _key(value: Any) -> Any:
    return (type(value), value) if isinstance(value, bool | int | float | str) else repr(value)


def _search(engine: Engine, spec: Spec, limits: list[_Limit]) -> Iterator[Finding]:
    names = _relevant(engine, spec, limits)
    size = math.prod(len(spec.parameters[name].expanded()) for name in names)
    named = [(limit, limit.names) for limit in limits]
    for context in _contexts(engine, spec, names, size):
        # Every limit is asked, so that one which never holds can be told from a clash of two.
        if all([limit.holds(context, read) for limit, read in named]):
            return
    yield from _explain(limits, size)


def _explain(limits: list[_Limit], size: int) -> Iterator[Finding]:
    never = [limit for limit in limits if not limit.was_true]
    for limit in never:
        yield Finding(limit.path, f"no combination of the parameters satisfies this: {limit.why}")
    if never:
        return
    partly = "; ".join(limit.why for limit in limits if False in limit.known.values())
    what = "no combination of the parameters satisfies all of"
    if size > ENUMERATION_LIMIT:
        what = f"none of {_SAMPLE} combinations tried by chance satisfies all of"
    message = f"contradictory constraints: {what}: {partly}"
    yield Finding("spec.constraints", message, is_mistake=size <= ENUMERATION_LIMIT)


def _relevant(engine: Engine, spec: Spec, limits: list[_Limit]) -> list[str]:
    """The parameters on which a limit rests, through conditions too, in an order to set them."""
    spelled = {engine.canonical(name): name for name in spec.parameters}
    waiting = [engine.canonical(name) for limit in limits for name in limit.names]
    found: dict[str, None] = {}
    while waiting:
        name = spelled.get(waiting.pop())
        if name is not None and name not in found:
            found[name] = None
            when = spec.parameters[name].when or ""
            waiting += [engine.canonical(read) for read in names_in(when)]
    depth = {name: _depth(engine, spec, spelled, name) for name in found}
    return sorted(found, key=lambda name: depth[name])


def _depth(engine: Engine, spec: Spec, spelled: Mapping[str, str], name: str) -> int:
    read = {engine.canonical(n) for n in names_in(spec.parameters[name].when or "")}
    inner = [_depth(engine, spec, spelled, spelled[n]) for n in read if n in spelled]
    return 1 + max(inner, default=-1)


def _contexts(
    engine: Engine, spec: Spec, names: list[str], size: int
) -> Iterator[Mapping[str, Any]]:
    base = expression_params(engine, spec, {})
    lists = [
        [expression_params(engine, spec, {name: v})[name] for v in spec.parameters[name].expanded()]
        for name in names
    ]
    whens = {name: spec.parameters[name].when for name in names}
    canonical = {name: engine.canonical(name) for name in names}
    conditions = {
        name: _Limit("", when, "", when_absent=False)
        for name, when in whens.items()
        if when is not None
    }
    reads = {name: condition.names for name, condition in conditions.items()}
    for values in _choices(lists, size):
        context = dict(base)
        for name, value in zip(names, values, strict=True):
            condition = conditions.get(name)
            if condition is None or condition.holds(context, reads[name]):
                context[name] = context[canonical[name]] = value
        yield context


def _choices(lists: list[list[Any]], size: int) -> Iterator[tuple[Any, ...]]:
    if size <= ENUMERATION_LIMIT:
        return itertools.product(*lists)
    rng = random.Random(0)
    return (tuple(rng.choice(values) for values in lists) for _ in range(_SAMPLE))
