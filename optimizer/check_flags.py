"""Flags and their values against the engine's catalog."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from inference_autotuner.optimizer.engine import Engine
from inference_autotuner.optimizer.findings import Finding, suggestion
from inference_autotuner.optimizer.flags import Boolean, Flag, complaint, normalize
from inference_autotuner.optimizer.metrics import Metric
from inference_autotuner.optimizer.spec import Baseline, ParameterSpec, Spec

PARAMETERS = "spec.parameters"
ARGS = "spec.engine.args"
BASELINE = "spec.search.baseline.params"
_NOTHING = "nothing: "


def knows_version(engine: Engine, version: str | None) -> bool:
    """Whether the catalog is that of a version: equal in major and minor, or none given.

    >>> from inference_autotuner.optimizer.engine import get_engine
    >>> knows_version(get_engine("vllm"), "v0.32.1"), knows_version(get_engine("vllm"), "0.9")
    (True, False)
    """
    return version is None or _release(version) == _release(engine.version)


def _release(version: str) -> list[str]:
    return version.lstrip("vb").split(".")[:2]


@dataclass(frozen=True)
class _Use:
    """A flag at one place of a task, with its values, each with its own path."""

    path: str
    spelled: str
    name: str
    values: tuple[tuple[str, Any], ...]


def check_flags(engine: Engine, spec: Spec) -> Iterator[Finding]:
    """Unknown, reserved and twice-given flags, and values that the engine would refuse."""
    parameters = _uses(engine, PARAMETERS, spec.parameters, _parameter_values)
    args = _uses(engine, ARGS, spec.engine.args, _arg_values)
    chosen = spec.search.baseline
    given = chosen.params if isinstance(chosen, Baseline) else {}
    baseline = _uses(engine, BASELINE, given, _arg_values)
    is_strict = knows_version(engine, spec.engine.version)
    for use in (*args, *parameters, *baseline):
        yield from _check_use(engine, use, is_strict=is_strict)
    for uses in (args, baseline, parameters):
        yield from _twice(uses)
    yield from _also_fixed(parameters, args)
    for use in parameters:
        yield from _same_values(engine, use)
    yield from _doubtful(engine, spec, args, parameters)


def _uses(
    engine: Engine,
    where: str,
    given: Mapping[str, Any],
    values_of: Callable[[str, Any], tuple[tuple[str, Any], ...]],
) -> tuple[_Use, ...]:
    paths = {name: f"{where}.{name}" for name in given}
    return tuple(
        _Use(path, name, engine.canonical(name), values_of(path, given[name]))
        for name, path in paths.items()
    )


def _parameter_values(path: str, parameter: ParameterSpec) -> tuple[tuple[str, Any], ...]:
    if parameter.values is None:
        return tuple((path, value) for value in parameter.expanded())
    return tuple((f"{path}[{index}]", value) for index, value in enumerate(parameter.values))


def _arg_values(path: str, value: Any) -> tuple[tuple[str, Any], ...]:
    return ((path, value),)


def _check_use(engine: Engine, use: _Use, *, is_strict: bool) -> Iterator[Finding]:
    if use.name in engine.reserved:
        yield Finding(use.path, _instead(use.spelled, engine.reserved[use.name], "is set for you"))
        return
    if not is_strict:
        yield from _check_loosely(engine, use)
        return
    if use.name in engine.removed:
        gone = f"is gone from {engine.title} {engine.version}"
        yield Finding(use.path, _instead(use.spelled, engine.removed[use.name], gone))
    elif use.name in engine.deprecated:
        old = f"is on its way out of {engine.title}"
        message = _instead(use.spelled, engine.deprecated[use.name], old)
        yield Finding(use.path, message, is_mistake=False)
    elif not engine.knows(use.name):
        yield Finding(use.path, _unknown(engine, use))
    else:
        yield from _check_values(engine.flags.get(use.name), use)


def _check_loosely(engine: Engine, use: _Use) -> Iterator[Finding]:
    """A version that the catalog does not describe: nothing is certain."""
    is_gone = use.name in engine.removed
    if not is_gone and not engine.knows(use.name):
        message = f"{engine.title} {engine.version} has no flag '{use.spelled}'; yours may"
        yield Finding(use.path, message, is_mistake=False)
    for finding in _check_values(engine.flags.get(use.name), use):
        message = f"{finding.message} (in {engine.title} {engine.version})"
        yield Finding(finding.path, message, is_mistake=False)


def _instead(spelled: str, remedy: str, state: str) -> str:
    if remedy.startswith(_NOTHING):
        return f"leave '{spelled}' out: {remedy.removeprefix(_NOTHING)}"
    return f"'{spelled}' {state}; write {remedy} instead"


def _unknown(engine: Engine, use: _Use) -> str:
    positive = use.name.removeprefix("no-")
    flag = engine.flags.get(positive)
    form = flag.boolean if flag else engine.boolean
    if positive != use.name and engine.knows(positive) and form is Boolean.NEGATABLE:
        return f"write '{positive}: false' instead of '{use.spelled}: true'"
    known = (*engine.flags, *engine.others, *engine.removed, *engine.aliases)
    near = suggestion(use.name, known)
    return f"{engine.title} {engine.version} has no flag '{use.spelled}'{near}"


def _check_values(flag: Flag | None, use: _Use) -> Iterator[Finding]:
    if flag is None:
        return
    said: set[str] = set()
    for path, value in use.values:
        wrong = complaint(flag, value)
        if wrong is None or path in said:
            continue
        said.add(path)
        near = suggestion(value, flag.choices) if isinstance(value, str) else ""
        yield Finding(path, f"{use.spelled}: {wrong}{near}")


def _twice(uses: tuple[_Use, ...]) -> Iterator[Finding]:
    """A flag under two names, or a JSON flag as a whole and in parts."""
    seen: dict[str, _Use] = {}
    for use in uses:
        first = seen.setdefault(use.name, use)
        if first is not use:
            yield Finding(use.path, f"'{use.spelled}' and '{first.spelled}' are one flag")
    for use in uses:
        head, dot, _ = use.name.partition(".")
        if dot and head in seen:
            message = f"'{head}' is given as a whole too, and the engine would keep one of them"
            yield Finding(use.path, message)


def _also_fixed(parameters: tuple[_Use, ...], args: tuple[_Use, ...]) -> Iterator[Finding]:
    fixed = {use.name for use in args}
    for use in parameters:
        if use.name in fixed:
            yield Finding(use.path, f"'{use.spelled}' is fixed in engine.args too; remove one")


def _same_values(engine: Engine, use: _Use) -> Iterator[Finding]:
    seen: list[Any] = []
    for path, value in use.values:
        plain = normalize(engine.flags.get(use.name), value)
        if any(type(plain) is type(other) and plain == other for other in seen):
            yield Finding(path, f"{use.spelled}: '{value}' is the same as a value before it")
        seen.append(plain)


def _doubtful(
    engine: Engine, spec: Spec, args: tuple[_Use, ...], parameters: tuple[_Use, ...]
) -> Iterator[Finding]:
    """What runs, and yet is likely to mislead."""
    for use in parameters:
        flag = engine.flags.get(use.name)
        if flag is None:
            continue
        values = [normalize(flag, value) for _, value in use.values]
        if flag.is_lossy and any(value != normalize(flag, flag.default) for value in values):
            yield Finding(
                use.path,
                f"{use.spelled} may change what the model answers; the search sees speed alone, "
                "so check the quality of a winner that uses it",
                is_mistake=False,
            )
        if flag.needs_shared_prefix and spec.workload.sharedPrefix == 0:
            yield Finding(
                use.path,
                f"{use.spelled} concerns prompts that begin alike, and here they do not; set "
                "workload.sharedPrefix to what your prompts share",
                is_mistake=False,
            )
    yield from _distorted(engine, spec, (*args, *parameters))


def _distorted(engine: Engine, spec: Spec, uses: tuple[_Use, ...]) -> Iterator[Finding]:
    metrics = {*(slo.metric for slo in spec.slos), *(goal.metric for goal in spec.objectives)}
    if Metric.TPOT not in metrics:
        return
    for use in uses:
        flag = engine.flags.get(use.name)
        if flag is not None and flag.groups_tokens and any(v != 1 for _, v in use.values):
            yield Finding(
                use.path,
                f"{use.spelled} above 1 sends tokens in groups, which distorts tpot",
                is_mistake=False,
            )
