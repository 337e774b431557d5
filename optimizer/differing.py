"""Flag by flag: where params differ from the baseline, and how to put a flag back."""

from collections.abc import Iterable

from inference_autotuner.optimizer.evidence import Ground
from inference_autotuner.optimizer.trial import Params, Value

Level = Value | None
"""A flag's value; None where the flag is not set."""


def with_level(params: Params, flag: str, level: Level) -> dict[str, Value]:
    """Params with one flag changed; None takes it away.

    >>> with_level({"a": 1, "b": 2}, "a", None)
    {'b': 2}
    """
    others = {name: value for name, value in params.items() if name != flag}
    return others if level is None else {**others, flag: level}


def level_key(level: Level) -> tuple[bool, Level]:
    """Equal for equal levels: to Python `True` is 1, to an engine it is not."""
    return isinstance(level, bool), level


def differing_flags(ground: Ground, params: Params) -> tuple[str, ...]:
    """Flags whose level is not the baseline's, and whose difference the engine hears."""
    own = ground.identity(params)
    return tuple(
        flag
        for flag in sorted({*params, *ground.baseline})
        if level_key(params.get(flag)) != level_key(ground.baseline.get(flag))
        and ground.identity(with_level(params, flag, ground.baseline.get(flag))) != own
    )


def put_back(ground: Ground, params: Params, flags: Iterable[str]) -> Params | None:
    """Params with flags as in the baseline; None when that breaks a constraint.

    A flag that is only set beside one of them goes with it.
    """
    for flag in flags:
        params = with_level(params, flag, ground.baseline.get(flag))
    return ground.settle(params)
