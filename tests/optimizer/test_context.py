from typing import Any

from inference_autotuner.optimizer.context import expression_params, limits, longest_request
from inference_autotuner.optimizer.engine import get_engine
from inference_autotuner.optimizer.expressions import holds
from inference_autotuner.optimizer.spec import Spec

VLLM = get_engine("vllm")


def spec(parameters: dict[str, Any], **fields: Any) -> Spec:
    given = {
        "model": {"name": "m"},
        "engine": {"name": "vllm", "args": fields.pop("args", {})},
        "deployment": {"mode": "process"},
        "parameters": parameters,
        "workload": {"scenarios": fields.pop("scenarios", ["D(100,50)"])},
        **fields,
    }
    return Spec.model_validate(given)


def test_params_win_over_args_and_args_over_defaults() -> None:
    task = spec({"watermark": [0.1]}, args={"watermark": 0.05, "stream-interval": 4})
    assert expression_params(VLLM, task, {})["watermark"] == 0.05
    known = expression_params(VLLM, task, {"watermark": 0.1})
    assert (known["watermark"], known["stream-interval"], known["nnodes"]) == (0.1, 4, 1)


def test_a_computed_default_is_absent_until_it_is_set() -> None:
    task = spec({"max-num-seqs": [1, 2]})
    assert "max-num-seqs" not in expression_params(VLLM, task, {})
    assert expression_params(VLLM, task, {"max-num-seqs": 2})["max-num-seqs"] == 2


def test_the_tasks_own_spelling_is_there_beside_the_catalogs() -> None:
    task = spec({"tp": [1, 2]}, args={"max_model_len": "8k"})
    known = expression_params(VLLM, task, {"tensor-parallel-size": 2})
    assert known["tp"] == known["tensor-parallel-size"] == 2
    assert known["max_model_len"] == known["max-model-len"] == 8000


def test_limits_are_the_tasks_the_engines_and_room_for_the_workload() -> None:
    task = spec(
        {"max-model-len": [100, 4000]},
        constraints=['params["watermark"] < 0.5'],
        scenarios=["D(100,50)", "N(1000,100)/(300,100)"],
    )
    assert longest_request(task) == 1300 + 600
    found = limits(VLLM, task)
    assert found[0] == task.constraints[0]
    assert len(found) == 1 + len(VLLM.rules) + 1

    def fits(length: int) -> bool:
        known = expression_params(VLLM, task, {"max-model-len": length})
        return all(holds(limit, known) for limit in found)

    assert (fits(100), fits(4000)) == (False, True)
