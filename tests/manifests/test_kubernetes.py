import re

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inference_autotuner.manifests.command import winning_launch
from inference_autotuner.manifests.kubernetes import (
    container_path,
    render_deployment,
)
from inference_autotuner.manifests.trial_objects import Place, build_trial_deployment
from inference_autotuner.optimizer.engine import engine_names, get_engine
from inference_autotuner.optimizer.trial import Trial, TrialKind, TrialState
from tests.samples import sample_task

NASTY = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30).filter(
    lambda text: "{{" not in text
)
PATH = "/data/smol.gguf"


def rendered(task, params=None, *, gpus=0, model=PATH, sentence="Better: x"):
    trial = Trial(4, TrialKind.UNDO, params or {}, TrialState.MEASURED, gpus=gpus)
    engine = get_engine(task.spec.engine.name)
    text = render_deployment(
        task, engine, trial, study="smollm2-chat-h0123456789", sentence=sentence, model=model
    )
    return text, *yaml.safe_load_all(text)


def container(deployment):
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return found


def vllm_task(**engine):
    return sample_task(engine={"name": "vllm", **engine}, parameters={"max-num-seqs": [1, 2]})


def test_the_winner_is_a_deployment_and_a_service():
    _, deployment, service = rendered(sample_task(), {"threads": 1})
    assert (deployment["kind"], service["kind"]) == ("Deployment", "Service")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert labels["inference-autotuner/study"] == "smollm2-chat-h0123456789"


@pytest.mark.parametrize("name", engine_names())
def test_args_are_the_engines_own_command_line(name):
    task = sample_task(engine={"name": name}, parameters={"x": [1]})
    engine = get_engine(name)
    _, deployment, _ = rendered(task, {"x": 1}, model="org/name")
    launch = winning_launch(task.spec, {"x": 1}, model="org/name", host="0.0.0.0", port=8080)
    assert container(deployment)["command"] == list(engine.container_command)
    assert container(deployment)["args"] == list(engine.command_line(launch))


@settings(max_examples=60)
@example("$(HOME) $$x", "$$(HOME)")
@given(NASTY, NASTY)
def test_any_text_reaches_the_engine_as_it_is(arg, value):
    task = sample_task(
        engine={"name": "llamacpp", "args": {"chat-template": arg}, "env": {"X": value}}
    )
    _, deployment, _ = rendered(task)
    args = container(deployment)["args"]
    env = {v["name"]: v.get("value") for v in container(deployment)["env"]}
    assert expanded(args[args.index("--chat-template") + 1]) == arg
    assert expanded(env["X"]) == value


def expanded(text):
    """What the kubelet makes of a value when no variable has the name: `$$` is a dollar sign."""
    return re.sub(r"\$\$", "$", re.sub(r"(?<!\$)((?:\$\$)*)\$\(", r"\1", text))


@given(st.text(st.characters(exclude_categories=["Cs"])))
@settings(max_examples=40)
def test_no_sentence_leaves_its_comment_or_annotation(sentence):
    _, deployment, _ = rendered(sample_task(), sentence=sentence)
    assert set(deployment) == {"apiVersion", "kind", "metadata", "spec"}
    assert isinstance(deployment["metadata"]["annotations"]["inference-autotuner/verdict"], str)


def test_labels_and_annotations_are_texts_whatever_they_look_like():
    _, deployment, _ = rendered(sample_task(), sentence="1")
    for kind in ("labels", "annotations"):
        assert all(isinstance(v, str) for v in deployment["metadata"][kind].values())


def test_every_variable_of_the_environment_is_a_text():
    task = sample_task(engine={"name": "llamacpp", "env": {"A": "1", "B": "yes"}})
    _, deployment, _ = rendered(task)
    assert all(isinstance(v["value"], str) for v in container(deployment)["env"])


def test_gpus_are_a_limit_and_come_with_shared_memory():
    _, deployment, _ = rendered(vllm_task(), gpus=2, model="org/name")
    assert container(deployment)["resources"] == {"limits": {"nvidia.com/gpu": 2}}
    assert "/dev/shm" in [m["mountPath"] for m in container(deployment)["volumeMounts"]]


def test_without_gpus_none_is_asked_for():
    _, deployment, _ = rendered(sample_task())
    assert "resources" not in container(deployment)


def test_the_startup_probe_waits_as_long_as_the_study_did():
    _, deployment, _ = rendered(sample_task())
    probe = container(deployment)["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 90
    assert deployment["spec"]["progressDeadlineSeconds"] > 90
    assert probe["httpGet"] == {"path": "/health", "port": "http"}


def test_the_container_runs_with_as_few_rights_as_it_can():
    _, deployment, _ = rendered(sample_task())
    pod = deployment["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(deployment)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


def test_a_local_model_becomes_a_volume_that_the_reader_fills_in():
    text, deployment, _ = rendered(sample_task())
    volumes = {v["name"]: v for v in deployment["spec"]["template"]["spec"]["volumes"]}
    assert "persistentVolumeClaim" in volumes["models"]
    assert "/models/smol.gguf" in container(deployment)["args"]
    assert "# Fill in" in text
    assert PATH in text.split("apiVersion")[0]


def test_a_hub_model_needs_no_volume_and_may_take_a_token():
    text, deployment, _ = rendered(vllm_task(), model="org/name")
    names = [v["name"] for v in deployment["spec"]["template"]["spec"]["volumes"]]
    assert "models" not in names
    token = next(v for v in container(deployment)["env"] if v["name"] == "HF_TOKEN")
    assert token["valueFrom"]["secretKeyRef"]["optional"] is True
    assert "holds secrets" not in text


def test_secrets_are_referred_to_and_never_written():
    task = vllm_task(args={"api-key": "sk-0123456789"}, env={"HF_TOKEN": "hf_abcdefgh"})
    text, deployment, _ = rendered(task, model="org/name")
    assert "sk-0123456789" not in text
    assert "hf_abcdefgh" not in text
    assert "$(SERVE_API_KEY)" in container(deployment)["args"]
    referred = [v["name"] for v in container(deployment)["env"] if "valueFrom" in v]
    assert referred == ["HF_TOKEN", "SERVE_API_KEY"]
    assert "kubectl create secret generic smollm2-chat-secrets" in text


def test_the_image_of_the_task_is_taken_as_it_is():
    text, deployment, _ = rendered(sample_task(engine={"name": "llamacpp", "image": "own/image:1"}))
    assert container(deployment)["image"] == "own/image:1"
    assert "names no image" not in text


def test_without_an_image_the_makers_own_is_taken_in_the_version_that_was_tuned():
    text, deployment, _ = rendered(vllm_task(version="0.31.1"), model="org/name")
    assert container(deployment)["image"] == "vllm/vllm-openai:v0.31.1"
    assert "names no image" in text


def test_every_engine_has_an_image():
    assert all(":" in get_engine(name).image for name in engine_names())


@pytest.mark.parametrize("model", ["/models/smol.gguf", "org/name"])
@pytest.mark.parametrize("name", ["llamacpp", "vllm"])
def test_where_trials_were_pods_the_winner_is_the_container_that_was_measured(name, model):
    task = sample_task(
        model={"name": model},
        engine={"name": name, "image": "own/image:1", "env": {"LEVEL": "1"}},
        deployment={"mode": "kubernetes", "namespace": "tuning", "readyTimeout": "90s"},
        parameters={"x": [1]},
    )
    engine = get_engine(name)
    place = Place("smollm2-chat-h0", "t-0004", "tuning", None, "2026-01-01")
    launch = winning_launch(task.spec, {"x": 1}, model=model, host="0.0.0.0", port=8080)
    trial, _ = build_trial_deployment(task.spec, engine, launch, gpus=1, place=place)
    text, deployment, _ = rendered(task, {"x": 1}, gpus=1, model=model)
    measured, served = container(trial), container(deployment)
    for part in ("image", "command", "args", "ports", "resources", "securityContext"):
        assert served[part] == measured[part]
    # What only a trial needs is left out.
    assert [v for v in measured["env"] if v["name"] not in engine.trial_environment] == served[
        "env"
    ]
    for part in ("volumes", "securityContext"):
        assert (
            deployment["spec"]["template"]["spec"][part] == trial["spec"]["template"]["spec"][part]
        )
    head = text.split("apiVersion")[0]
    assert "volume" not in head
    assert "names no image" not in head
    assert "NetworkPolicies let no client in" in head
    assert "NetworkPolicies" not in rendered(sample_task())[0]


def test_probes_in_production_are_slower_than_a_trials_and_as_patient():
    task = sample_task(engine={"name": "llamacpp", "image": "own/image:1"})
    place = Place("smollm2-chat-h0", "t-0004", "tuning", None, "2026-01-01")
    launch = winning_launch(task.spec, {}, model="m", host="0.0.0.0", port=8080)
    trial, _ = build_trial_deployment(
        task.spec, get_engine("llamacpp"), launch, gpus=0, place=place
    )
    served = container(rendered(task)[1])
    for probe in ("startupProbe", "readinessProbe"):
        assert served[probe]["periodSeconds"] > container(trial)[probe]["periodSeconds"]
        assert served[probe]["httpGet"] == container(trial)[probe]["httpGet"]


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("org/name", None),
        ("name", None),
        ("name.gguf", "/models/name.gguf"),
        ("/a/b", "/models/b"),
        ("../b", "/models/b"),
        ("a/b/c", "/models/c"),
        ("/", "/models/model"),
    ],
)
def test_paths_are_told_from_hub_ids(model, path):
    assert container_path(model) == path


def test_the_same_input_gives_the_same_bytes():
    assert rendered(sample_task())[0] == rendered(sample_task())[0]
