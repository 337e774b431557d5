"""The search space: values in order, flags that depend on others, combinations that may run."""

import pytest

from inference_autotuner.optimizer.space import build_space, count_combinations
from inference_autotuner.optimizer.spec import ParameterSpec
from tests.optimizer.tasks import vllm_task

SPECULATION = {
    "spec-tokens": {"values": [1, 3], "when": 'params["spec-method"] == "ngram"'},
    "spec-method": ["none", "ngram"],
}


def test_numbers_are_searched_in_ascending_order() -> None:
    space = build_space(vllm_task({"max-num-seqs": [256, 16, 64]}).spec)
    assert space.parameters[0].values == (16, 64, 256)
    assert space.parameters[0].is_ordered


def test_minus_one_means_no_limit_and_comes_last() -> None:
    space = build_space(vllm_task({"max-logprobs": [4, -1, 2]}).spec)
    assert space.parameters[0].values == (2, 4, -1)


def test_booleans_and_words_have_no_order() -> None:
    space = build_space(vllm_task({"enforce-eager": [True, False], "dtype": ["auto", "half"]}).spec)
    assert not any(parameter.is_ordered for parameter in space.parameters)


def test_a_flag_follows_the_one_that_its_condition_reads() -> None:
    space = build_space(vllm_task(SPECULATION).spec)
    assert [parameter.name for parameter in space.parameters] == ["spec-method", "spec-tokens"]


def test_an_inactive_flag_is_left_out() -> None:
    space = build_space(vllm_task(SPECULATION).spec)
    assert space.settle({"spec-method": "none", "spec-tokens": 3}) == {"spec-method": "none"}
    assert space.settle({"spec-method": "ngram", "spec-tokens": 3}) == {
        "spec-method": "ngram",
        "spec-tokens": 3,
    }


def test_inactive_flags_make_no_further_combinations() -> None:
    space = build_space(vllm_task(SPECULATION).spec)
    found = list(space.combinations())
    assert {"spec-method": "ngram", "spec-tokens": 1} in found
    assert sum(params.get("spec-method") == "none" for params in found) <= 1


def test_a_broken_constraint_of_the_task_makes_params_invalid() -> None:
    task = vllm_task({"max-num-seqs": [16, 64]}, constraints=['params["max-num-seqs"] <= 32'])
    space = build_space(task.spec)
    assert space.settle({"max-num-seqs": 64}) is None
    assert space.settle({"max-num-seqs": 16}) == {"max-num-seqs": 16}


def test_a_broken_rule_of_the_engine_makes_params_invalid() -> None:
    space = build_space(
        vllm_task({"max-num-seqs": [64, 512], "max-num-batched-tokens": [256, 1024]}).spec
    )
    assert space.settle({"max-num-seqs": 512, "max-num-batched-tokens": 256}) is None


def test_the_baseline_is_no_combination_to_explore() -> None:
    task = vllm_task(
        {"max-num-seqs": [16, 64]}, search={"baseline": {"params": {"max-num-seqs": 64}}}
    )
    assert list(build_space(task.spec).combinations()) == [{"max-num-seqs": 16}]


def test_combinations_come_in_an_order_that_the_seed_decides() -> None:
    space = build_space(vllm_task({"max-num-seqs": {"min": 1, "max": 40}}).spec)
    assert list(space.combinations(1)) == list(space.combinations(1))
    assert list(space.combinations(1)) != list(space.combinations(2))
    assert count_combinations(space, 10) == 10


def test_gpus_follow_the_parallelism_flags_or_the_tasks_own_expression() -> None:
    parameters = {"tensor-parallel-size": [1, 2, 4]}
    assert build_space(vllm_task(parameters).spec).gpus({"tensor-parallel-size": 4}) == 4
    task = vllm_task(
        parameters,
        deployment={"mode": "process", "gpus": '2 * params["tensor-parallel-size"]'},
    )
    assert build_space(task.spec).gpus({"tensor-parallel-size": 2}) == 4


@pytest.mark.parametrize(
    ("range_", "values"),
    [
        ({"min": 1, "max": 4}, [1, 2, 3, 4]),
        ({"min": 0.3, "max": 0.6, "step": 0.1}, [0.3, 0.4, 0.5, 0.6]),
        ({"min": 16, "max": 100, "log": True}, [16, 32, 64]),
    ],
)
def test_a_range_is_its_values(range_: dict[str, float], values: list[float]) -> None:
    assert ParameterSpec.model_validate(range_).expanded() == values
