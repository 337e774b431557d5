"""Each step in a pod of its own: lost, repeated or out of order, it does the right thing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from inference_autotuner.optimizer.errors import (
    Blame,
    Failure,
    Reason,
    StorageUnavailableError,
    StudyError,
)
from inference_autotuner.optimizer.metrics import Measurement
from inference_autotuner.optimizer.storage import open_storage
from inference_autotuner.optimizer.study import Study, open_study
from inference_autotuner.optimizer.trial import Trial, TrialState
from inference_autotuner.workflows import pod_steps, steps
from inference_autotuner.workflows.pod_steps import key_of, workflow_of
from inference_autotuner.workflows.steps import Site
from tests.workflows.doubles import FakeDeployer, scripted, steady, task

OUT_OF_MEMORY = Failure(Blame.PARAMS, Reason.OUT_OF_MEMORY, "no room for the KV cache")
NO_MODEL = Failure(Blame.TASK, Reason.MODEL_NOT_FOUND, "there is no such model")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path))
    monkeypatch.setattr(steps, "tokenizer_of", lambda spec, base: "tokenizer")


class Cluster:
    """A study whose steps are called one by one, as pods would."""

    def __init__(self, **spec: object) -> None:
        self.study: Study = open_study(open_storage("memory://"), task(**spec), base="/", now_s=1.0)
        steps.note_begin(self.study)
        self.deployer = FakeDeployer()
        self.measured: list[str] = []
        self.says: Callable[[str], Measurement] = steady

    @property
    def site(self) -> Site:
        def measure(trial: str) -> Measurement:
            self.measured.append(trial)
            return self.says(trial)

        return Site(
            self.study,
            self.deployer,
            lambda event: None,
            is_cancelled=lambda: False,
            now_s=lambda: 2.0,
            measure=scripted(measure),
        )

    def ask(self, slot: int = 0, wait_s: float = 0.0) -> pod_steps.Outputs:
        return pod_steps.ask(
            self.study, key_of("uid", f"{slot:03d}"), wait_s=wait_s, sleep=lambda _: None
        )

    def run(self, slot: int) -> pod_steps.Outputs:
        asked = self.ask(slot)
        if asked["proceed"] == "true":
            number = int(asked["trial"])
            if pod_steps.deploy(self.site, number)["outcome"] == "serves":
                pod_steps.benchmark(self.site, number)
                pod_steps.tell(self.study, number)
            pod_steps.release(self.site, number)
        return asked

    def trial(self, number: int = 0) -> Trial:
        return self.study.trial(number)


def test_a_whole_study_ends_with_a_verdict_as_on_one_machine() -> None:
    cluster = Cluster()
    said = [cluster.run(slot) for slot in range(6)]
    assert [each["proceed"] for each in said] == ["true"] * 4 + ["false"] * 2
    assert cluster.study.attribute("phase") == "finished"
    assert cluster.study.attribute("verdict")["kind"]
    assert "4 of 4 trials explored" in said[-1]["message"]
    assert not cluster.deployer.up


def test_an_ask_that_is_tried_again_gives_the_same_trial() -> None:
    cluster = Cluster()
    assert cluster.ask(0) == cluster.ask(0)
    assert len(cluster.study.trials()) == 1


def test_an_ask_says_which_trial_it_is_and_what_it_tries() -> None:
    cluster = Cluster()
    assert cluster.ask() | {"message": ""} == {
        "proceed": "true",
        "trial": "0",
        "kind": "baseline",
        "params": "(baseline)",
        "message": "",
    }


def test_an_ask_of_a_trial_that_was_told_has_nothing_to_do() -> None:
    cluster = Cluster()
    cluster.run(0)
    assert cluster.ask(0)["proceed"] == "false"


def test_an_ask_waits_for_the_trials_that_decide_and_gives_up_those_that_nobody_tells() -> None:
    cluster = Cluster(budget={"trials": 1}, confirm={"repeats": 1})
    cluster.ask(0)
    seen = []
    asked = pod_steps.ask(
        cluster.study,
        "uid-001",
        wait_s=5.0,
        now_s=iter(range(100)).__next__,
        sleep=lambda _: seen.append(cluster.trial().state),
    )
    assert seen[:2] == [TrialState.RUNNING] * 2
    assert cluster.trial().message == "nobody told it within 5 s"
    assert (asked["proceed"], asked["kind"]) == ("true", "baseline")


def test_a_study_is_not_judged_before_its_last_trial_is_told() -> None:
    cluster = Cluster(budget={"trials": 4, "parallel": 2, "wallTime": "1h"})
    cluster.run(0)
    cluster.ask(1)
    cluster.study.set_attribute("stop_requested", True)
    assert cluster.ask(2)["proceed"] == "false"
    assert cluster.study.attribute("phase") == "running"
    pod_steps.release(cluster.site, 1)
    assert cluster.ask(3)["proceed"] == "false"
    assert cluster.study.attribute("phase") == "stopped"


def test_a_study_whose_last_slot_ran_its_last_trial_is_finished() -> None:
    cluster = Cluster()
    for slot in range(4):
        cluster.run(slot)
    assert cluster.study.attribute("phase") == "running"
    assert "is finished" in pod_steps.sweep(cluster.site, "uid")["message"]
    assert cluster.study.attribute("end")["sentence"].startswith("4 of 4 trials explored")


def test_a_sweep_judges_by_every_trial_also_those_told_after_the_first_verdict() -> None:
    cluster = Cluster()
    cluster.study.set_attribute("verdict", {"kind": "of before the last trial"})
    cluster.run(0)
    pod_steps.sweep(cluster.site, "uid")
    assert cluster.study.attribute("verdict")["kind"] != "of before the last trial"


def test_a_deploy_that_cannot_run_the_params_tells_and_does_not_fail() -> None:
    cluster = Cluster()
    cluster.ask()
    cluster.deployer.behave = lambda params: OUT_OF_MEMORY
    outputs = pod_steps.deploy(cluster.site, 0)
    assert outputs["outcome"] == "told"
    assert "OutOfMemory: no room for the KV cache" in outputs["message"]
    assert cluster.trial().state is TrialState.INFEASIBLE


def test_what_every_trial_would_meet_alike_ends_the_study_and_says_why() -> None:
    cluster = Cluster()
    cluster.ask()
    cluster.deployer.behave = lambda params: NO_MODEL
    with pytest.raises(StudyError, match="no such model") as caught:
        pod_steps.deploy(cluster.site, 0)
    assert caught.value.exit_code == 70
    asked = cluster.ask(1)
    assert asked == {"proceed": "false", "message": "there is no such model"}
    assert cluster.study.attribute("phase") == "stopped"


def test_a_storage_that_does_not_answer_does_not_end_the_study(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster()
    cluster.ask()

    def unavailable(*_: object) -> None:
        raise StorageUnavailableError("away")

    monkeypatch.setattr(steps, "deploy", unavailable)
    with pytest.raises(StorageUnavailableError):
        pod_steps.deploy(cluster.site, 0)
    assert not cluster.study.attribute("stop_requested")


def test_a_deploy_that_is_tried_again_holds_nothing_while_it_waits_for_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster()
    cluster.ask()
    cluster.study.note(0, held_since_s=-8.0)  # since an attempt whose pod was lost
    held: list[float | None] = []

    def full(*_: object, **__: object) -> Failure:
        held.append(cluster.trial().held_since_s)
        return Failure(Blame.WORLD, Reason.NO_ROOM, "no node has room")

    monkeypatch.setattr(cluster.deployer, "deploy", full)
    pod_steps.deploy(cluster.site, 0)
    assert held == [None]
    assert cluster.trial().spans["idle"] == 10.0


def test_a_benchmark_that_is_tried_again_measures_only_once() -> None:
    cluster = Cluster()
    cluster.ask()
    pod_steps.deploy(cluster.site, 0)
    first = pod_steps.benchmark(cluster.site, 0)
    assert pod_steps.benchmark(cluster.site, 0) == first
    assert cluster.measured == ["t-0000"]
    assert first["outcome"] == "measured"
    assert "output tok/s" in first["message"]


def test_a_server_that_was_under_load_is_not_measured_again() -> None:
    cluster = Cluster()
    cluster.ask()
    pod_steps.deploy(cluster.site, 0)

    def lost(_: str) -> Measurement:
        raise KeyboardInterrupt  # the pod is gone

    cluster.says = lost
    with pytest.raises(KeyboardInterrupt):
        pod_steps.benchmark(cluster.site, 0)
    assert pod_steps.benchmark(cluster.site, 0)["outcome"] == "told"
    assert cluster.measured == ["t-0000"]
    assert cluster.trial().reason is Reason.INTERRUPTED
    assert not cluster.deployer.up


def test_what_was_measured_is_kept_when_the_server_cannot_be_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster()
    cluster.ask()
    pod_steps.deploy(cluster.site, 0)

    def stuck(*_: object) -> None:
        raise StudyError("its pod does not end")

    with monkeypatch.context() as patched:
        patched.setattr(cluster.deployer, "release", stuck)
        with pytest.raises(StudyError):
            pod_steps.benchmark(cluster.site, 0)
    pod_steps.release(cluster.site, 0)
    assert cluster.trial().state is TrialState.MEASURED


def test_a_benchmark_that_is_tried_again_takes_away_what_the_first_one_left() -> None:
    cluster = Cluster()
    cluster.ask()
    pod_steps.deploy(cluster.site, 0)
    pod_steps.benchmark(cluster.site, 0)
    cluster.deployer.up.add((cluster.study.name, "t-0000"))
    pod_steps.benchmark(cluster.site, 0)
    assert not cluster.deployer.up


def test_the_server_is_gone_before_the_benchmark_step_ends() -> None:
    cluster = Cluster()
    cluster.ask()
    pod_steps.deploy(cluster.site, 0)
    assert cluster.deployer.up
    pod_steps.benchmark(cluster.site, 0)
    assert not cluster.deployer.up


def test_a_lost_tell_is_made_good_by_the_release() -> None:
    cluster = Cluster()
    cluster.ask()
    pod_steps.deploy(cluster.site, 0)
    pod_steps.benchmark(cluster.site, 0)
    pod_steps.release(cluster.site, 0)
    assert cluster.trial().state is TrialState.MEASURED


def test_telling_twice_keeps_the_first_result() -> None:
    cluster = Cluster()
    cluster.run(0)
    told = cluster.trial()
    assert "SLOs:" in pod_steps.tell(cluster.study, 0)["score"]
    assert cluster.trial() == told


def test_a_deploy_after_the_measurement_starts_no_server() -> None:
    cluster = Cluster()
    cluster.ask()
    pod_steps.deploy(cluster.site, 0)
    pod_steps.benchmark(cluster.site, 0)
    cluster.deployer.deployed.clear()
    assert pod_steps.deploy(cluster.site, 0)["outcome"] == "serves"
    assert not cluster.deployer.deployed


def test_a_release_without_a_measurement_fails_the_trial_and_frees_its_server() -> None:
    cluster = Cluster()
    cluster.ask()
    pod_steps.deploy(cluster.site, 0)
    said = pod_steps.release(cluster.site, 0)["message"]
    assert "t-0000 is failed: Interrupted" in said
    assert not cluster.deployer.up


def test_a_server_that_cannot_be_ended_leaves_no_trial_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster()
    cluster.ask()

    def stuck(*_: object) -> None:
        raise StudyError("its pod does not end")

    monkeypatch.setattr(cluster.deployer, "release", stuck)
    with pytest.raises(StudyError, match="does not end"):
        pod_steps.release(cluster.site, 0)
    assert cluster.trial().reason is Reason.INTERRUPTED


def test_a_sweep_settles_what_was_left_and_says_how_the_study_stands() -> None:
    cluster = Cluster()
    cluster.run(0)
    cluster.ask(1)
    said = pod_steps.sweep(cluster.site, "uid")["message"]
    assert cluster.trial(1).reason is Reason.INTERRUPTED
    assert "is stopped" in said
    assert "submit the task again" in cluster.study.attribute("end")["sentence"]
    assert cluster.study.attribute("verdict") is not None
    assert cluster.deployer.swept == 1


def test_a_sweep_leaves_the_trials_of_another_workflow_alone() -> None:
    cluster = Cluster()
    cluster.ask(0)
    pod_steps.sweep(cluster.site, "another")
    assert cluster.trial().state is TrialState.RUNNING


def test_a_sweep_leaves_a_finished_study_finished() -> None:
    cluster = Cluster()
    for slot in range(5):
        cluster.run(slot)
    pod_steps.sweep(cluster.site, "uid")
    assert cluster.study.attribute("phase") == "finished"


def test_trials_of_a_workflow_that_runs_are_not_failed() -> None:
    cluster = Cluster()
    cluster.ask(0)
    assert pod_steps.fail_running(cluster.study, 3.0, lambda: {"uid"}) == []
    assert cluster.trial().state is TrialState.RUNNING
    assert len(pod_steps.fail_running(cluster.study, 3.0, lambda: {"another"})) == 1


def test_a_trial_knows_the_workflow_that_asked_for_it() -> None:
    cluster = Cluster()
    cluster.ask(7)
    assert workflow_of(cluster.trial()) == "uid"
    assert workflow_of(replace(cluster.trial(), key=key_of("1a2b-3c4d", "007"))) == "1a2b-3c4d"


def test_a_patient_study_outlives_a_storage_that_is_away_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster()
    cluster.ask()
    monkeypatch.setattr("inference_autotuner.optimizer.study._PAUSE_S", 0.01)
    answers = cluster.study._storage.get_all_trials
    refusals = iter(range(3))

    def hesitant(*args: object, **kwargs: object) -> object:
        if next(refusals, None) is not None:
            raise OSError(5, "away")
        return answers(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(cluster.study._storage, "get_all_trials", hesitant)
    with pytest.raises(StorageUnavailableError):
        cluster.study.trials()
    cluster.study.patience_s = 60.0
    assert len(cluster.study.trials()) == 1
