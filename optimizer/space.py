"""What may be tried: values by flag, which flags are active when, which combinations run at all."""

import itertools
import math
import random
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inference_autotuner.optimizer.context import expression_params, limits
from inference_autotuner.optimizer.engine import Engine, get_engine, identity
from inference_autotuner.optimizer.expressions import evaluate, holds, names_in
from inference_autotuner.optimizer.spec import Baseline, ParameterSpec, Spec
from inference_autotuner.optimizer.trial import Params, Value

ENUMERATION_LIMIT = 50_000  # about 20 s


@dataclass(frozen=True)
class Parameter:
    """One flag that may change.

    Attributes:
        name: The flag, without dashes.
        values: What it may be; in order when `is_ordered`.
        is_ordered: Whether neighbors are alike: the values are numbers.
        when: CEL condition under which it is set at all; None for always.
    """

    name: str
    values: tuple[Value, ...]
    is_ordered: bool
    when: str | None


@dataclass(frozen=True)
class Space:
    """The search space of a task.

    Attributes:
        spec: The task's spec.
        engine: Its engine, whose own rules hold as well.
        parameters: Flags in an order in which each `when` reads only earlier ones.
    """

    spec: Spec
    engine: Engine
    parameters: tuple[Parameter, ...]

    @property
    def baseline(self) -> Params:
        """The params of trial 0."""
        chosen = self.spec.search.baseline
        return chosen.params if isinstance(chosen, Baseline) else {}

    @property
    def size(self) -> int:
        """Combinations, before conditions and constraints."""
        return math.prod(len(p.values) for p in self.parameters)

    def args(self, params: Params) -> dict[str, Any]:
        """Fixed args and params together; params win."""
        return {**self.spec.engine.args, **params}

    def known(self, params: Params) -> dict[str, Any]:
        """Every flag's value that is known beside these params, constant defaults included."""
        return expression_params(self.engine, self.spec, params)

    def identity(self, params: Params) -> Hashable:
        """Equal for params that make the engine run the same configuration."""
        return identity(self.engine, self.args(params))

    def gpus(self, params: Params) -> int:
        """GPUs that one server with these params takes."""
        wanted = self.spec.deployment.gpus
        if wanted is None:
            return self.engine.gpus(self.args(params))
        if isinstance(wanted, int):
            return wanted
        value = evaluate(wanted, self.known(params))
        return int(value) if isinstance(value, int | float) else 0

    def is_active(self, parameter: Parameter, params: Params) -> bool:
        """Whether a flag is set beside these params."""
        if parameter.when is None:
            return True
        return evaluate(parameter.when, self.known(params)) is True

    def settle(self, choice: Params) -> Params | None:
        """Params without inactive flags, or None when they break a constraint.

        Flags that are not parameters (of a baseline, say) are kept as they are.
        """
        params = {k: v for k, v in choice.items() if k not in {p.name for p in self.parameters}}
        for parameter in self.parameters:
            if parameter.name in choice and self.is_active(parameter, params):
                params[parameter.name] = choice[parameter.name]
        context = self.known(params)
        conditions = limits(self.engine, self.spec)
        return params if all(holds(condition, context) for condition in conditions) else None

    def combinations(self, seed: int = 0) -> Iterator[Params]:
        """Every distinct combination that may run, each once, in a random but fixed order.

        Only for spaces of at most `ENUMERATION_LIMIT` combinations before constraints.
        """
        seen = {self.identity(self.baseline)}
        order = list(range(self.size))
        random.Random(seed).shuffle(order)
        for index in order:
            params = self.settle(self._combination(index))
            if params is None or self.identity(params) in seen:
                continue
            seen.add(self.identity(params))
            yield params

    def _combination(self, index: int) -> Params:
        choice: dict[str, Value] = {}
        for parameter in self.parameters:
            index, position = divmod(index, len(parameter.values))
            choice[parameter.name] = parameter.values[position]
        return choice

    def random(self, rng: random.Random) -> Params | None:
        """One combination by chance; None when it breaks a constraint."""
        return self.settle({p.name: rng.choice(p.values) for p in self.parameters})


def build_space(spec: Spec) -> Space:
    """The search space of a task that was checked."""
    engine = get_engine(spec.engine.name)
    order = dependency_order(spec.parameters)
    return Space(spec, engine, tuple(_parameter(name, spec.parameters[name]) for name in order))


def dependency_order(parameters: Mapping[str, ParameterSpec]) -> list[str]:
    """Flag names, each after the ones that its `when` reads.

    Raises:
        ValueError: The conditions form a circle.
    """
    waiting = dict(parameters)
    done: list[str] = []
    while waiting:
        free = [
            name
            for name, parameter in waiting.items()
            if not names_in(parameter.when or "") & waiting.keys() - {name}
        ]
        if not free:
            raise ValueError(f"the conditions of {', '.join(waiting)} wait for one another")
        done += free
        for name in free:
            del waiting[name]
    return done


def _parameter(name: str, spec: ParameterSpec) -> Parameter:
    values = spec.expanded()
    is_ordered = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return Parameter(name, tuple(_sorted(values) if is_ordered else values), is_ordered, spec.when)


def _sorted(values: Sequence[Value]) -> list[Value]:
    """Ascending; a lone -1 is an engine's word for "no limit" and comes last."""
    numbers = sorted(v for v in values if not isinstance(v, str))
    if len(numbers) > 1 and numbers[0] == -1 and numbers[1] > 0:
        numbers = [*numbers[1:], numbers[0]]
    return list(numbers)


def count_combinations(space: Space, limit: int) -> int:
    """Distinct combinations that may run, counted up to `limit`."""
    return sum(1 for _ in itertools.islice(space.combinations(), limit))
