"""The life of a trial: every way it can end, and the server gone after each."""

from dataclasses import replace
from pathlib import Path

import pytest

from inference_autotuner.optimizer.errors import (
    BenchmarkError,
    Blame,
    DeployError,
    Failure,
    Reason,
    StudyError,
)
from inference_autotuner.optimizer.metrics import Measurement
from inference_autotuner.optimizer.plan import Finished
from inference_autotuner.optimizer.storage import open_storage
from inference_autotuner.optimizer.study import Study, open_study
from inference_autotuner.optimizer.trial import Trial, TrialKind, TrialState
from inference_autotuner.workflows import steps
from inference_autotuner.workflows.events import Event, TrialEnded
from tests.workflows.doubles import FakeDeployer, scripted, steady, task

OUT_OF_MEMORY = Failure(Blame.PARAMS, Reason.OUT_OF_MEMORY, "no room for the KV cache")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path))
    monkeypatch.setattr(steps, "tokenizer_of", lambda spec, base: "tokenizer")


class Scene:
    """A study, a deployer and a benchmark that a test decides."""

    def __init__(self) -> None:
        self.study: Study = open_study(open_storage("memory://"), task(), base="/", now_s=1.0)
        self.deployer = FakeDeployer()
        self.events: list[Event] = []
        self.says = steady

    @property
    def site(self) -> steps.Site:
        return steps.Site(
            self.study,
            self.deployer,
            self.events.append,
            is_cancelled=lambda: False,
            now_s=lambda: 2.0,
            measure=scripted(self.says),
        )

    def ask(self, key: str = "k") -> Trial:
        asked = steps.ask(self.study, key, now_s=2.0, is_stopping=False)
        assert isinstance(asked, Trial)
        return asked

    def run(self) -> Trial:
        return steps.run_trial(self.site, self.ask())


def test_the_first_trial_is_the_baseline_and_its_key_gives_it_again() -> None:
    scene = Scene()
    assert scene.ask().kind is TrialKind.BASELINE
    assert scene.ask() == scene.ask()
    assert len(scene.study.trials()) == 1


def test_a_measured_trial_is_told_with_what_it_cost_and_ran() -> None:
    scene = Scene()
    ended = scene.run()
    assert ended.state is TrialState.MEASURED
    assert set(ended.spans) == {"queue", "deploy", "idle", "benchmark"}
    assert ended.engine_args == ("--model", "m")
    assert ended.resolved == {"slots": 4}
    assert not scene.deployer.up
    assert scene.events[-1] == TrialEnded(ended)


def test_params_that_the_engine_cannot_run_are_infeasible() -> None:
    scene = Scene()
    scene.deployer.behave = lambda params: OUT_OF_MEMORY
    ended = scene.run()
    assert (ended.state, ended.reason) == (TrialState.INFEASIBLE, Reason.OUT_OF_MEMORY)
    assert ended.log_tail == "the last line"
    assert ended.spans.keys() == {"queue", "deploy"}
    assert not scene.deployer.up


def test_a_broken_world_makes_the_trial_failed() -> None:
    scene = Scene()
    scene.deployer.behave = lambda params: Failure(Blame.WORLD, Reason.PORT_IN_USE, "taken")
    assert scene.run().state is TrialState.FAILED
    assert not scene.deployer.up


def test_a_deployer_that_breaks_makes_the_trial_failed() -> None:
    def breaks(_: object) -> None:
        raise DeployError(Reason.DISK_FULL, "no space left")

    scene = Scene()
    scene.deployer.on_deploy = breaks
    ended = scene.run()
    assert (ended.state, ended.reason) == (TrialState.FAILED, Reason.DISK_FULL)


def test_a_mistake_of_the_task_ends_the_study_and_leaves_no_server() -> None:
    scene = Scene()
    scene.deployer.behave = lambda params: Failure(Blame.TASK, Reason.MODEL_NOT_FOUND, "no file")
    with pytest.raises(StudyError, match="no file"):
        scene.run()
    assert scene.study.trial(0).state is TrialState.FAILED
    assert not scene.deployer.up


def test_an_invalid_benchmark_is_no_score() -> None:
    def invalid(_: str) -> Measurement:
        raise BenchmarkError(Reason.BENCHMARK_INVALID, "half of the requests failed")

    scene = Scene()
    scene.says = invalid
    ended = scene.run()
    assert (ended.state, ended.reason) == (TrialState.FAILED, Reason.BENCHMARK_INVALID)
    assert ended.values == ()
    assert not scene.deployer.up


def test_a_server_that_dies_under_load_is_the_params_fault() -> None:
    def dies(trial: str) -> Measurement:
        scene.deployer.dead.add(trial)
        raise BenchmarkError(Reason.BENCHMARK_FAILED, "connection refused")

    scene = Scene()
    scene.says = dies
    ended = scene.run()
    assert (ended.state, ended.reason) == (TrialState.INFEASIBLE, Reason.CRASHED_UNDER_LOAD)


def test_a_bug_in_a_step_still_releases_the_server_and_tells_the_trial() -> None:
    def bug(_: str) -> Measurement:
        raise ZeroDivisionError

    scene = Scene()
    scene.says = bug
    with pytest.raises(ZeroDivisionError):
        scene.run()
    trial = scene.study.trial(0)
    assert (trial.state, trial.reason) == (TrialState.FAILED, Reason.INTERRUPTED)
    assert not scene.deployer.up


def test_asking_while_stopping_begins_nothing() -> None:
    scene = Scene()
    answer = steps.ask(scene.study, "k", now_s=2.0, is_stopping=True)
    assert isinstance(answer, Finished)
    assert answer.is_stopped
    assert scene.study.trials() == []


def test_waiting_for_room_costs_no_gpu_seconds_and_idling_does() -> None:
    spans = {"queue": 100.0, "deploy": 10.0, "idle": 3.0, "benchmark": 20.0}
    assert (
        Trial(0, TrialKind.EXPLORE, {}, TrialState.MEASURED, gpus=2, spans=spans).gpu_seconds == 66
    )


def test_a_server_that_was_lost_with_its_step_is_booked_as_idle() -> None:
    scene = Scene()
    trial = scene.ask()
    assert steps.deploy(scene.site, trial)
    late = replace(scene.site, now_s=lambda: 9.5)  # seven and a half seconds later
    ended = steps.release(late, trial)
    assert ended.spans["idle"] == 7.5
    assert (ended.state, ended.reason) == (TrialState.FAILED, Reason.INTERRUPTED)
