"""The Workflow of a study: what Argo would refuse or misread is not in it."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_autotuner.optimizer.canonical import study_name
from inference_autotuner.optimizer.errors import TaskError
from inference_autotuner.workflows.argo import (
    MOST_SLOTS,
    Origin,
    build_study_workflow,
    slots,
    to_manifest,
    workflow_name,
)
from inference_autotuner.workflows.installation import Installation, parse_installation
from tests.optimizer.tasks import vllm_task

PARAMETERS = {"max-num-seqs": [16, 32, 64, 128]}
REFERENCE = re.compile(r"\{\{([^}]*)\}\}")


def manifest(**given: Any) -> dict[str, Any]:
    attempt = given.pop("attempt", 1)
    origin = given.pop("origin", Origin())
    fields = {"deployment": {"mode": "kubernetes", "namespace": "tuning"}, **given}
    task = vllm_task(PARAMETERS, **fields)
    workflow = build_study_workflow(
        task, study_name(task), Installation(), attempt=attempt, origin=origin
    )
    return to_manifest(workflow)


def templates(made: Mapping[str, Any]) -> dict[str, Any]:
    return {template["name"]: template for template in made["spec"]["templates"]}


def leaves(made: Mapping[str, Any]) -> dict[str, Any]:
    return {name: t for name, t in templates(made).items() if "container" in t}


def steps_of(template: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [step for group in template.get("steps", ()) for step in group]


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)


def test_every_leaf_runs_a_step_of_the_command_line_and_has_a_deadline() -> None:
    for name, leaf in leaves(manifest()).items():
        assert leaf["container"]["command"][:3] == ["autotuner", "step", name]
        assert leaf["activeDeadlineSeconds"] > 0


def test_the_hook_and_the_parallelism_are_on_different_templates() -> None:
    made = manifest(budget={"trials": 4, "parallel": 3})
    assert "parallelism" not in made["spec"]
    assert templates(made)["main"]["parallelism"] == 3
    hooked = [t for t in templates(made).values() if any("hooks" in s for s in steps_of(t))]
    assert [template["name"] for template in hooked] == ["trial"]
    assert "parallelism" not in hooked[0]


def test_no_template_of_steps_has_a_deadline() -> None:
    for template in templates(manifest()).values():
        if "steps" in template:
            assert "activeDeadlineSeconds" not in template
            assert "timeout" not in template


def test_every_step_names_a_template_and_gives_it_what_it_wants() -> None:
    known = templates(manifest())
    for template in known.values():
        for step in steps_of(template):
            calls = [step, *(hook for hook in step.get("hooks", {}).values())]
            for call in calls:
                wanted = {
                    p["name"]
                    for p in known[call["template"]].get("inputs", {}).get("parameters", ())
                }
                given_ = {p["name"] for p in call.get("arguments", {}).get("parameters", ())}
                assert given_ == wanted


def test_every_output_that_is_referred_to_is_one_of_its_step() -> None:
    known = templates(manifest())
    for template in known.values():
        by_name = {step["name"]: step["template"] for step in steps_of(template)}
        for text in strings(template):
            for reference in REFERENCE.findall(text):
                parts = reference.split(".")
                if parts[0] == "steps":
                    outputs = known[by_name[parts[1]]]["outputs"]["parameters"]
                    assert parts[4] in {output["name"] for output in outputs}


def test_a_step_that_left_no_output_is_read_as_empty_and_not_as_a_broken_expression() -> None:
    made = manifest()
    for leaf in leaves(made).values():
        for output in leaf.get("outputs", {}).get("parameters", ()):
            assert output["valueFrom"]["default"] == ""
    conditions = [s["when"] for t in templates(made).values() for s in steps_of(t) if "when" in s]
    assert conditions
    assert all(re.fullmatch(r'"\{\{[^}]+\}\}" == "\w+"', condition) for condition in conditions)


def test_exit_75_and_a_lost_pod_are_tried_again_and_memory_is_not() -> None:
    for leaf in leaves(manifest()).values():
        expression = leaf["retryStrategy"]["expression"]
        assert 'lastRetry.exitCode == "75"' in expression
        assert 'lastRetry.exitCode != "137"' in expression
        assert "retryPolicy" not in leaf["retryStrategy"]


def test_only_ids_are_passed_from_step_to_step() -> None:
    made = manifest()
    passed = {
        p["name"]
        for t in templates(made).values()
        for p in t.get("inputs", {}).get("parameters", ())
    }
    assert passed == {"slot", "key", "trial", "params"}
    assert "max-num-seqs" not in json.dumps(made)


def test_two_of_a_study_never_ask_at_once() -> None:
    made = manifest()
    mutex = leaves(made)["ask"]["synchronization"]["mutexes"][0]["name"]
    assert made["metadata"]["labels"]["inference-autotuner/study"] in mutex


def test_a_trial_holds_a_place_of_the_pool_until_its_server_is_gone() -> None:
    reference = templates(manifest())["trial"]["synchronization"]["semaphores"][0]
    assert reference == {"configMapKeyRef": {"name": "gpu-pools", "key": "default"}}


def test_each_step_has_its_own_rights() -> None:
    accounts = {name: leaf["serviceAccountName"] for name, leaf in leaves(manifest()).items()}
    assert accounts == {
        "ask": "autotuner-ask",
        "tell": "autotuner-ask",
        "deploy": "autotuner-deploy",
        "benchmark": "autotuner-benchmark",
        "release": "autotuner-release",
        "sweep": "autotuner-release",
    }


def test_no_pod_may_write_to_its_image_or_become_root() -> None:
    made = manifest()
    assert made["spec"]["securityContext"]["runAsNonRoot"] is True
    for leaf in leaves(made).values():
        context = leaf["container"]["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["allowPrivilegeEscalation"] is False


def test_the_token_is_taken_from_a_secret() -> None:
    for leaf in leaves(manifest()).values():
        token = next(e for e in leaf["container"]["env"] if e["name"] == "AUTOTUNER_STORAGE_TOKEN")
        assert token["valueFrom"]["secretKeyRef"] == {"name": "autotuner-storage", "key": "token"}


def test_argos_ui_says_whose_task_of_which_commit_it_is() -> None:
    annotations = manifest(origin=Origin(commit="abc123", owner="ana"))["metadata"]["annotations"]
    assert annotations["inference-autotuner/commit"] == "abc123"
    assert annotations["inference-autotuner/owner"] == "ana"
    assert "vllm" in annotations["workflows.argoproj.io/title"]


def test_argo_accepts_the_name_of_every_node() -> None:
    """Seen on 3.7: another one ends the step with an error while its pod runs on."""
    named = [leaf["annotations"] for leaf in leaves(manifest()).values() if "annotations" in leaf]
    assert named
    for annotations in named:
        name = REFERENCE.sub("7", annotations["workflows.argoproj.io/display-name"])
        assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9-.]{0,61}[a-zA-Z0-9]", name)


def test_a_later_attempt_is_another_workflow_of_the_same_study() -> None:
    first, second = manifest(), manifest(attempt=2)
    assert second["metadata"]["name"] == first["metadata"]["name"] + "-r2"
    assert second["metadata"]["labels"] == first["metadata"]["labels"]


def test_more_trials_than_a_workflow_holds_are_refused_with_the_reason() -> None:
    with pytest.raises(TaskError, match=f"one Workflow holds {MOST_SLOTS}.*lower budget.trials"):
        manifest(budget={"trials": 300})


@given(st.integers(1, 200), st.integers(0, 5), st.integers(1, 6))
def test_there_is_a_slot_for_every_trial_of_the_budget(
    trials: int, repeats: int, finalists: int
) -> None:
    task = vllm_task(
        PARAMETERS,
        budget={"trials": trials},
        confirm={"repeats": repeats, "finalists": finalists},
    )
    assert slots(task.spec) >= trials


@given(st.integers(1, 99))
def test_a_workflows_name_is_a_label_value(attempt: int) -> None:
    assert len(workflow_name("a" * 35 + "-h0123456789", attempt)) <= 63


def test_an_installation_keeps_the_defaults_that_its_config_does_not_change() -> None:
    found = parse_installation({"image": "registry/a:1", "something": "else"})
    assert found == Installation(image="registry/a:1")
