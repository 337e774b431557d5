"""The executor of one machine: to the end, side by side, stopped, and taken up again."""

import threading
from pathlib import Path

import pytest

from inference_autotuner.optimizer.errors import (
    BenchmarkError,
    Blame,
    Failure,
    Reason,
    StudyBusyError,
    StudyError,
)
from inference_autotuner.optimizer.metrics import Measurement
from inference_autotuner.optimizer.plan import Finished, StopReason
from inference_autotuner.optimizer.storage import open_storage
from inference_autotuner.optimizer.study import Study, open_study
from inference_autotuner.optimizer.trial import TrialKind, TrialState
from inference_autotuner.workflows import steps
from inference_autotuner.workflows.local import Stop, run_study
from inference_autotuner.workflows.run_lock import run_lock, runner_of
from tests.optimizer.tasks import measurement
from tests.workflows.doubles import FakeDeployer, scripted, steady, task


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path))
    monkeypatch.setattr(steps, "tokenizer_of", lambda spec, base: "tokenizer")
    monkeypatch.setattr("inference_autotuner.workflows.local.check_tools", lambda study: None)


def study_of(**spec: object) -> Study:
    return open_study(open_storage("memory://"), task(**spec), base="/", now_s=1.0)


def run(
    study: Study,
    deployer: FakeDeployer | None = None,
    measure: object = steady,
    stop: Stop | None = None,
) -> Finished:
    return run_study(
        study,
        deployer or FakeDeployer(),
        lambda event: None,
        stop or Stop(),
        measure=scripted(measure),  # type: ignore[arg-type]
    )


def test_a_study_runs_to_the_end_of_its_budget() -> None:
    study = study_of()
    assert run(study).reason is StopReason.TRIALS
    trials = study.trials()
    assert [trial.kind for trial in trials] == [TrialKind.BASELINE] + [TrialKind.EXPLORE] * 3
    assert study.attribute("phase") == "finished"


def test_a_small_space_ends_before_the_budget() -> None:
    assert run(study_of(budget={"trials": 50})).reason is StopReason.EXHAUSTED


def test_trials_run_side_by_side_and_never_more_than_allowed() -> None:
    both_up = threading.Barrier(2)

    def together(_: str) -> Measurement:
        both_up.wait(20)
        return measurement()

    study, deployer = study_of(budget={"trials": 4, "parallel": 2}), FakeDeployer()
    run(study, deployer, together)
    assert deployer.most_up == 2
    assert len(study.trials()) == 4


def test_confirm_trials_follow_when_a_proof_is_wanted() -> None:
    def grows(trial: str) -> Measurement:
        return measurement(100.0 + int(trial[2:]))

    study = study_of(confirm={"finalists": 1, "repeats": 2})
    run(study, measure=grows)
    kinds = [trial.kind for trial in study.trials()]
    assert kinds.count(TrialKind.CONFIRM) >= 4


def test_one_request_to_stop_finishes_what_runs_and_begins_nothing() -> None:
    stop = Stop()

    def stops(_: str) -> Measurement:
        stop.ask()
        return measurement()

    study = study_of()
    assert run(study, measure=stops, stop=stop).is_stopped
    assert [trial.state for trial in study.trials()] == [TrialState.MEASURED]
    assert study.attribute("phase") == "stopped"


def test_a_second_request_ends_what_runs() -> None:
    stop = Stop()

    def waits(_: str) -> Measurement:
        stop.ask()
        stop.ask()
        assert stop.is_now
        raise BenchmarkError(Reason.INTERRUPTED, "cancelled")

    study, deployer = study_of(), FakeDeployer()
    assert run(study, deployer, waits, stop).is_stopped
    assert study.trial(0).state is TrialState.FAILED
    assert not deployer.up


def test_the_stop_command_of_another_process_is_heard() -> None:
    study = study_of()

    def asked_from_outside(_: str) -> Measurement:
        study.set_attribute("stop_requested", True)
        return measurement()

    assert run(study, measure=asked_from_outside).is_stopped
    assert run(study).reason is StopReason.TRIALS


def test_a_stopped_study_goes_on_where_it_was() -> None:
    study, stop = study_of(), Stop()
    stop.ask()
    run(study, stop=stop)
    run(study)
    assert [trial.number for trial in study.trials()] == [0, 1, 2, 3]


def test_a_trial_that_a_killed_run_left_running_is_taken_up_again() -> None:
    study, deployer = study_of(), FakeDeployer()
    left = study.begin("old", TrialKind.BASELINE, {}, now_s=1.0)
    run(study, deployer)
    assert deployer.deployed[0] == left.name
    assert deployer.swept == 1
    taken_up = study.trial(left.number)
    assert (taken_up.state, taken_up.attempt) == (TrialState.MEASURED, 2)
    assert sum(trial.kind is TrialKind.BASELINE for trial in study.trials()) == 1


def test_a_trial_during_which_the_tuner_died_again_and_again_is_given_up() -> None:
    study, deployer = study_of(), FakeDeployer()
    left = study.begin("old", TrialKind.BASELINE, {}, now_s=1.0)
    study.note(left.number, attempt=steps.MOST_ATTEMPTS)
    run(study, deployer)
    given_up = study.trial(left.number)
    assert (given_up.state, given_up.reason) == (TrialState.FAILED, Reason.INTERRUPTED)
    assert left.name not in deployer.deployed


def test_a_failed_trial_is_tried_again_within_the_budget() -> None:
    def fails_once(trial: str) -> Measurement:
        if trial == "t-0001":
            raise BenchmarkError(Reason.BENCHMARK_FAILED, "hiccup")
        return measurement()

    study = study_of()
    run(study, measure=fails_once)
    failed, *others = [t for t in study.trials() if t.number >= 1]
    assert failed.state is TrialState.FAILED
    assert failed.params in [trial.params for trial in others]
    assert sum(trial.state is TrialState.MEASURED for trial in study.trials()) == 4


def test_a_mistake_of_the_task_stops_the_study_with_its_message() -> None:
    deployer = FakeDeployer(
        behave=lambda params: Failure(Blame.TASK, Reason.MODEL_NOT_FOUND, "no such model")
    )
    study = study_of(budget={"trials": 4, "parallel": 2})
    with pytest.raises(StudyError, match="no such model"):
        run(study, deployer)
    assert not deployer.up
    assert all(trial.state is TrialState.FAILED for trial in study.trials())


def test_two_runs_of_one_study_do_not_meet() -> None:
    study = study_of()
    with run_lock(study.name):
        assert runner_of(study.name) is not None
        with pytest.raises(StudyBusyError, match=study.name):
            run(study)
    assert runner_of(study.name) is None
    run(study)


def test_a_study_that_failed_again_and_again_may_go_on_when_that_is_mended() -> None:
    def broken(_: str) -> Measurement:
        raise BenchmarkError(Reason.BENCHMARK_FAILED, "no network")

    study = study_of()
    assert run(study, measure=broken).reason is StopReason.SAME_FAILURE
    assert study.attribute("phase") == "stopped"
    assert "no network" in study.attribute("end")["sentence"]
    assert run(study).reason is StopReason.TRIALS
    assert study.attribute("phase") == "finished"
