"""What expressions see, and every condition that params must hold before anything starts."""

from typing import Any

from inference_autotuner.optimizer.engine import Engine
from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.optimizer.trial import Params


def expression_params(engine: Engine, spec: Spec, params: Params) -> dict[str, Any]:
    """The `params` of an expression: constant defaults, then fixed args, then a trial's params.

    Names are the catalog's; a flag that the task spells otherwise is there under both names.
    Values are spelled alike: a size of 8k is 8000, a float flag's 1 is 1.0. A flag whose default
    the engine computes is absent until somebody sets it.
    """
    known = engine.with_defaults({**spec.engine.args, **params})
    for spelled in (*spec.engine.args, *spec.parameters, *params):
        name = engine.canonical(spelled)
        if name in known:
            known[spelled] = known[name]
    return known


def limits(engine: Engine, spec: Spec) -> tuple[str, ...]:
    """CEL conditions that params must hold: the task's, the engine's, and room for the workload."""
    return (
        *spec.constraints,
        *(rule.expression for rule in engine.rules),
        room(engine, spec),
    )


def room(engine: Engine, spec: Spec) -> str:
    """The CEL condition under which every request of the workload fits into the context."""
    return engine.room.format(tokens=longest_request(spec))


def longest_request(spec: Spec) -> int:
    """Tokens of the longest request, prompt and output together, without the chat template."""
    lengths = [scenario.lengths for scenario in spec.workload.scenarios]
    return max(scenario.max_input + scenario.max_output for scenario in lengths)
