"""What a study with OME ends with."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inference_autotuner.manifests.inference_service import (
    RUNNER,
    render_inference_service,
    render_patch,
)
from inference_autotuner.optimizer.engine import get_engine
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.trial import Params, Trial, TrialKind, TrialState
from tests.samples import sample_task

STUDY = "smollm2-chat-h0123456789"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
VALUE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30).filter(
    lambda text: "{{" not in text
)
SENT = ("--model", "/models/m.gguf", "--port", "8080", "--threads", "1")


def ome_task(**engine: Any) -> TuningTask:
    return sample_task(
        model={"name": "smollm2-135m", "servedName": "smollm2"},
        engine={"name": "llamacpp", "runtime": "llama-cpp-cpu", **engine},
        deployment={"mode": "ome", "namespace": "tuning"},
    )


def make_trial(
    sent: tuple[str, ...] = SENT,
    *,
    params: Params | None = None,
    gpus: int = 0,
    runner: str | None = None,
) -> Trial:
    resolved = {RUNNER: runner} if runner else {}
    return Trial(
        4,
        TrialKind.UNDO,
        params or {},
        TrialState.MEASURED,
        gpus=gpus,
        engine_args=sent,
        resolved=resolved,
    )


def manifest(trial: Trial, sentence: str = "Better: x", **engine: Any) -> tuple[str, Any]:
    text = render_inference_service(
        ome_task(**engine), get_engine("llamacpp"), trial, study=STUDY, sentence=sentence
    )
    return text, yaml.safe_load(text)


def patch(trial: Trial, sentence: str = "Better: x", **engine: Any) -> tuple[str, Any]:
    text = render_patch(
        ome_task(**engine), get_engine("llamacpp"), trial, study=STUDY, sentence=sentence
    )
    return text, yaml.safe_load(text)


def runner_of(made: Any) -> Any:
    return made["spec"]["engine"]["runner"]


def test_the_winner_is_an_inference_service_of_the_task() -> None:
    text, made = manifest(make_trial())
    assert "NetworkPolicies let no client in" in text
    assert (made["apiVersion"], made["kind"]) == ("ome.io/v1beta1", "InferenceService")
    assert (made["metadata"]["name"], made["metadata"]["namespace"]) == ("smollm2-chat", "tuning")
    assert made["spec"]["model"] == {"name": "smollm2-135m"}
    assert made["spec"]["runtime"] == {"name": "llama-cpp-cpu"}
    assert made["metadata"]["labels"]["inference-autotuner/study"] == STUDY
    assert made["metadata"]["annotations"]["inference-autotuner/trial"] == "t-0004"


def test_nothing_that_only_a_trial_needs_is_left() -> None:
    _, made = manifest(make_trial())
    assert set(made["spec"]["engine"]) == {"runner"}
    assert "ownerReferences" not in made["metadata"]
    assert "inference-autotuner/trial" not in made["metadata"]["labels"]
    assert set(made["metadata"]["annotations"]) == {
        "inference-autotuner/study",
        "inference-autotuner/trial",
        "inference-autotuner/verdict",
    }


@pytest.mark.parametrize("build", [manifest, patch])
def test_args_are_what_the_study_sent(build: Any) -> None:
    text, made = build(make_trial(runner="engine"), args={"ctx-size": 4096})
    assert runner_of(made) == {"name": "engine", "args": list(SENT)}
    assert "all that the study sent" in text
    assert "check the name" not in text


@pytest.mark.parametrize("build", [manifest, patch])
def test_without_a_record_they_are_the_flags_and_it_says_so(build: Any) -> None:
    text, made = build(make_trial((), params={"threads": 1}), args={"ctx-size": 4096})
    assert runner_of(made)["args"] == ["--ctx-size", "4096", "--threads", "1"]
    assert "No trial says what OME was sent" in text


def test_a_container_that_nobody_named_is_called_as_usual_and_it_says_so() -> None:
    text, made = manifest(make_trial())
    assert runner_of(made)["name"] == "ome-container"
    assert "check the name in llama-cpp-cpu" in text


def test_without_args_the_runtime_keeps_its_own_and_a_patch_takes_those_of_before_away() -> None:
    assert "args" not in runner_of(manifest(make_trial(()))[1])
    found = runner_of(patch(make_trial(()))[1])
    assert "args" in found
    assert found["args"] is None


@pytest.mark.parametrize("build", [manifest, patch])
def test_gpus_are_those_of_the_trial(build: Any) -> None:
    gpus = {"nvidia.com/gpu": "2"}
    _, made = build(make_trial(gpus=2))
    assert runner_of(made)["resources"] == {"requests": gpus, "limits": gpus}


def test_secrets_of_the_task_are_referred_to_and_never_written() -> None:
    engine = {"env": {"HF_TOKEN": "hf_abcdefgh", "LEVEL": "1"}, "args": {"api-key": "sk-012345"}}
    text, made = manifest(make_trial(()), **engine)
    assert runner_of(made)["args"] == ["--api-key", "$(SERVE_API_KEY)"]
    by_name = {each["name"]: each for each in runner_of(made)["env"]}
    assert by_name["LEVEL"]["value"] == "1"
    for name in ("HF_TOKEN", "SERVE_API_KEY"):
        reference = by_name[name]["valueFrom"]["secretKeyRef"]
        assert (reference["name"], reference["key"]) == ("smollm2-chat-secrets", name)
    assert "--from-literal=HF_TOKEN=… --from-literal=SERVE_API_KEY=…" in text
    assert "hf_abcdefgh" not in text
    assert "sk-012345" not in text


@pytest.mark.parametrize("sent", [("--api-key", "sk-012345"), ("--api-key=sk-012345",)])
def test_a_secret_in_the_runtimes_own_args_is_not_written_either(sent: tuple[str, ...]) -> None:
    text, made = manifest(make_trial(sent))
    assert "sk-012345" not in text
    assert "=".join(runner_of(made)["args"]) == "--api-key=$(SERVE_API_KEY)"
    assert [each["name"] for each in runner_of(made)["env"]] == ["SERVE_API_KEY"]


def test_a_patch_names_the_variables_and_replaces_none() -> None:
    text, made = patch(make_trial(), env={"LEVEL": "1"})
    assert "env" not in runner_of(made)
    assert '#   - name: "LEVEL"\n#     value: "1"\n' in text


@settings(max_examples=60)
@example(["$(HOME) $$x", "no", "1e3", "#x", "a: b", "\n", "\u2028"], "x", "1\n- y")
@given(st.lists(TEXT, min_size=1), TEXT, TEXT)
def test_any_text_comes_back_from_yaml_as_it_was(args: list[str], name: str, label: str) -> None:
    trial = make_trial(tuple(args), runner=name or None)
    for build in (manifest, patch):
        _, made = build(trial, sentence=label)
        assert runner_of(made)["args"] == args
        assert runner_of(made)["name"] == (name or "ome-container")
    metadata = manifest(trial, sentence=label)[1]["metadata"]
    for values in (metadata["labels"], metadata["annotations"]):
        assert all(isinstance(value, str) for value in values.values())


@given(TEXT, VALUE)
@settings(max_examples=40)
def test_no_sentence_leaves_its_comment(sentence: str, value: str) -> None:
    _, made = patch(make_trial(), sentence=sentence, env={"X": value})
    assert set(made) == {"apiVersion", "kind", "metadata", "spec"}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
@pytest.mark.parametrize("sent", [SENT, ()])
def test_kustomize_puts_the_patch_on_an_inference_service_of_any_name(
    tmp_path: Path, sent: tuple[str, ...]
) -> None:
    theirs = {
        "apiVersion": "ome.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "chat", "namespace": "production"},
        "spec": {
            "engine": {
                "minReplicas": 3,
                "runner": {
                    "name": "ome-container",
                    "args": ["--threads", "9"],
                    "env": [{"name": "A", "value": "1"}],
                    "resources": {"limits": {"memory": "8Gi", "nvidia.com/gpu": "1"}},
                },
            }
        },
    }
    (tmp_path / "theirs.yaml").write_text(yaml.safe_dump(theirs))
    (tmp_path / "patch.yaml").write_text(patch(make_trial(sent, gpus=2))[0])
    (tmp_path / "kustomization.yaml").write_text(
        "resources: [theirs.yaml]\n"
        "patches:\n- path: patch.yaml\n  target: {kind: InferenceService, name: chat}\n"
    )
    done = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = yaml.safe_load(done.stdout)
    assert made["metadata"] == theirs["metadata"]
    assert made["spec"]["engine"]["minReplicas"] == 3
    runner = runner_of(made)
    assert runner.get("args") == (list(sent) or None)
    assert runner["env"] == [{"name": "A", "value": "1"}]
    assert runner["resources"]["limits"] == {"memory": "8Gi", "nvidia.com/gpu": "2"}
