"""The objects of a trial on a cluster."""

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from inference_autotuner.manifests.trial_objects import (
    Owner,
    Place,
    build_inference_service,
    build_trial_deployment,
)
from inference_autotuner.optimizer import spec
from inference_autotuner.optimizer.engine import Launch, get_engine

ENGINE = get_engine("vllm")
PLACE = Place("chat-h0123456789", "t-0003", "tuning", Owner("chat-h0123456789", "u1"), "2026-01-01")


def make_spec(mode: str, **engine: Any) -> spec.Spec:
    where = {"runtime": "good"} if mode == "ome" else {"image": "engine:1"}
    return spec.Spec.model_validate(
        {
            "model": {"name": "org/model" if mode == "kubernetes" else "model"},
            "engine": {"name": "vllm", **where, **engine},
            "deployment": {"mode": mode, "namespace": "tuning"},
            "parameters": {"max-num-seqs": [1, 2]},
            "workload": {"scenarios": ["D(32,16)"]},
        }
    )


def deployment(
    args: Mapping[str, Any], gpus: int = 1, engine: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    task = make_spec("kubernetes", **(engine or {}))
    launch = Launch("org/model", None, "0.0.0.0", 8080, args)
    return build_trial_deployment(task, ENGINE, launch, gpus=gpus, place=PLACE)


def service(
    args: list[str], resources: Any = None, engine: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return build_inference_service(
        make_spec("ome", **(engine or {})),
        ENGINE,
        runner="ome-container",
        args=args,
        resources=resources or {},
        place=PLACE,
    )


@pytest.mark.parametrize("made", [*deployment({}), service([])])
def test_every_object_says_whose_it_is(made: dict[str, Any]) -> None:
    metadata = made["metadata"]
    assert metadata["name"] == "chat-h0123456789-t-0003"
    assert metadata["labels"] == {
        "app.kubernetes.io/managed-by": "inference-autotuner",
        "inference-autotuner/study": "chat-h0123456789",
        "inference-autotuner/trial": "t-0003",
        "inference-autotuner/workflow-uid": "u1",
    }
    assert metadata["annotations"]["inference-autotuner/lease-until"] == "2026-01-01"
    assert metadata["ownerReferences"] == [
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "name": "chat-h0123456789",
            "uid": "u1",
        }
    ]


def test_an_object_of_nobody_has_no_owner() -> None:
    place = Place("chat-h0", "t-0001", "tuning", None, "2026-01-01")
    launch = Launch("org/model", None, "0.0.0.0", 8080, {})
    made = build_trial_deployment(make_spec("kubernetes"), ENGINE, launch, gpus=0, place=place)
    assert "ownerReferences" not in made[0]["metadata"]


def test_a_deployment_takes_the_gpus_of_its_trial() -> None:
    pod = deployment({}, gpus=4)[0]["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": 4}
    assert "resources" not in deployment({}, gpus=0)[0]["spec"]["template"]["spec"]["containers"][0]


def test_a_deployment_is_fit_for_restricted_pod_security() -> None:
    pod = deployment({})[0]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    context = pod["containers"][0]["securityContext"]
    assert context == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert pod["automountServiceAccountToken"] is False


def test_a_service_leads_to_the_pods_of_one_trial() -> None:
    made, front = deployment({})
    assert (
        front["spec"]["selector"].items() <= made["spec"]["template"]["metadata"]["labels"].items()
    )
    assert front["spec"]["selector"] == made["spec"]["selector"]["matchLabels"]


@pytest.mark.parametrize("text", ["$(HOME)", 'a "b" \\', "{a: b}", "no", "1e3", "#x", "é\n"])
def test_values_survive_as_they_are(text: str) -> None:
    args = service(["--chat-template", text.replace("$", "$$")])["spec"]["engine"]["runner"]["args"]
    assert args == ["--chat-template", text.replace("$", "$$")]
    assert yaml.safe_load(yaml.safe_dump(args)) == args


def test_an_inference_service_neither_scales_nor_waits_for_a_second_gpu_set() -> None:
    made = service(["--max-num-seqs", "2"])
    engine = made["spec"]["engine"]
    assert (engine["minReplicas"], engine["maxReplicas"]) == (1, 1)
    assert engine["deploymentStrategy"] == {"type": "Recreate"}
    assert engine["terminationGracePeriodSeconds"] == 5
    assert made["metadata"]["annotations"]["ome.io/autoscalerClass"] == "external"


def test_an_inference_service_without_args_leaves_the_runtimes_own() -> None:
    assert "args" not in service([])["spec"]["engine"]["runner"]


def test_resources_are_what_was_computed() -> None:
    wanted = {"requests": {"nvidia.com/gpu": "2"}, "limits": {"nvidia.com/gpu": "2"}}
    assert service([], wanted)["spec"]["engine"]["runner"]["resources"] == wanted


@pytest.mark.parametrize("mode", ["ome", "kubernetes"])
def test_secrets_are_named_and_not_written(mode: str) -> None:
    engine = {"env": {"HF_TOKEN": "hf_verysecret", "LEVEL": "1"}, "args": {"api-key": "sk-1234567"}}
    if mode == "ome":
        made = service(["--api-key", "$(SERVE_API_KEY)"], engine=engine)
        variables = made["spec"]["engine"]["runner"]["env"]
    else:
        made = deployment({"api-key": "sk-1234567"}, engine=engine)[0]
        container = made["spec"]["template"]["spec"]["containers"][0]
        variables = container["env"]
        assert "$(SERVE_API_KEY)" in container["args"]
    assert "verysecret" not in str(made)
    assert "sk-1234567" not in str(made)
    by_name = {each["name"]: each for each in variables}
    assert by_name["LEVEL"]["value"] == "1"
    for name in ("HF_TOKEN", "SERVE_API_KEY"):
        reference = by_name[name]["valueFrom"]["secretKeyRef"]
        assert (reference["name"], reference["key"]) == ("chat-secrets", name)
