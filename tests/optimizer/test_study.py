"""A study in the storage: asked once, told once, the same after every crash."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from inference_autotuner.optimizer.errors import (
    Reason,
    StorageUnavailableError,
    StudyError,
    StudyMismatchError,
)
from inference_autotuner.optimizer.storage import open_storage, storage_url
from inference_autotuner.optimizer.study import Study, load_study, open_study, study_names
from inference_autotuner.optimizer.trial import (
    Failed,
    Infeasible,
    Measured,
    TrialKind,
    TrialResult,
    TrialState,
)
from tests.optimizer.tasks import measurement, vllm_task

TASK = vllm_task(
    {"max-num-seqs": [16, 64, 256], "enforce-eager": [True, False]},
    slos=[{"metric": "ttft", "statistic": "p99", "limit": "200ms"}],
)
RESULTS: list[TrialResult] = [
    Measured(measurement(100.0)),
    Measured(measurement(50.0, latency_s=0.3)),
    Infeasible(Reason.OUT_OF_MEMORY, "no room for the KV cache", "tail"),
    Failed(Reason.PORT_IN_USE, "somebody else listens"),
]


def memory() -> BaseStorage:
    return open_storage("memory://")


def opened(storage: BaseStorage) -> Study:
    return open_study(storage, TASK, base="/tasks", now_s=1000.0)


def begun(study: Study, key: str = "a") -> int:
    params = {"max-num-seqs": 16, "enforce-eager": True}
    return study.begin(key, TrialKind.EXPLORE, params, now_s=1001.0).number


def test_opening_twice_gives_one_study() -> None:
    storage = memory()
    first, second = opened(storage), opened(storage)
    assert study_names(storage) == [first.name] == [second.name]
    assert second.attribute("created_s") == 1000.0


def test_a_task_stored_under_a_foreign_name_is_refused() -> None:
    storage = memory()
    study = opened(storage)
    other = vllm_task({"max-num-seqs": [1]}).model_dump(mode="json")
    study.set_attribute("task", other)
    with pytest.raises(StudyMismatchError, match=study.name):
        opened(storage)


def test_the_same_key_gives_the_same_trial() -> None:
    study = opened(memory())
    assert begun(study) == begun(study) == 0
    assert begun(study, "b") == 1


def test_a_key_asked_by_many_threads_makes_one_trial() -> None:
    study = opened(memory())
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: begun(study), range(40))) == {0}
    assert len(study.trials()) == 1


@pytest.mark.parametrize("result", RESULTS)
def test_what_was_told_is_read_back(result: TrialResult) -> None:
    study = opened(memory())
    told = study.tell(begun(study), result, now_s=1002.0)
    assert told == study.trial(0) == load_study(study._storage, study.name).trial(0)
    assert told.ended_s == 1002.0
    match result:
        case Measured(measurement=seen):
            assert (told.state, told.measurement) == (TrialState.MEASURED, seen)
        case Infeasible(reason=reason):
            assert (told.state, told.reason) == (TrialState.INFEASIBLE, reason)
        case Failed(reason=reason):
            assert (told.state, told.reason) == (TrialState.FAILED, reason)


def test_a_missed_slo_is_a_measurement_with_a_positive_violation() -> None:
    study = opened(memory())
    told = study.tell(begun(study), Measured(measurement(latency_s=0.3)), now_s=0)
    assert told.violations == pytest.approx({"ttft p99": 0.5})
    assert not told.holds_slos


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(RESULTS), min_size=2, max_size=5))
def test_the_first_of_several_tells_stays(results: list[TrialResult]) -> None:
    study = opened(memory())
    number = begun(study)
    first = study.tell(number, results[0], now_s=0)
    for later in results[1:]:
        assert study.tell(number, later, now_s=9) == first


def test_two_threads_that_tell_at_once_store_one_result() -> None:
    for _ in range(10):
        study = opened(memory())
        number = begun(study)
        other = load_study(study._storage, study.name)
        with ThreadPoolExecutor(2) as pool:
            one = pool.submit(study.tell, number, RESULTS[0], now_s=1)
            two = pool.submit(other.tell, number, RESULTS[0], now_s=1)
            assert one.result() == two.result()


def test_notes_after_the_result_change_nothing() -> None:
    study = opened(memory())
    number = begun(study)
    study.note(number, spans={"deploy": 1.5}, attempt=2)
    study.tell(number, RESULTS[0], now_s=0)
    study.note(number, spans={"deploy": 99.0})
    assert study.trial(number).spans == {"deploy": 1.5}
    assert study.trial(number).attempt == 2


def test_a_new_process_sees_everything(tmp_path: Path) -> None:
    url = storage_url(tmp_path / "journal.log")
    study = opened(open_storage(url))
    study.tell(begun(study), RESULTS[0], now_s=0)
    running = begun(study, "b")
    again = opened(open_storage(url))
    assert again.trials() == study.trials()
    assert again.trial(running).state is TrialState.RUNNING


def test_the_beginning_of_a_name_is_enough_when_it_is_clear() -> None:
    storage = memory()
    study = opened(storage)
    assert load_study(storage, study.name[:8]).name == study.name
    open_study(storage, vllm_task({"max-num-seqs": [1]}), base="/", now_s=0)
    with pytest.raises(StudyError, match="several"):
        load_study(storage, "chat-h")
    with pytest.raises(StudyError, match="no such study"):
        load_study(storage, "nothing")


def test_a_full_disk_is_told_as_a_storage_that_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = opened(open_storage(storage_url(tmp_path / "journal.log")))
    number = begun(study)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageUnavailableError, match="No space left"):
        study.tell(number, RESULTS[0], now_s=0)
    monkeypatch.undo()
    assert study.tell(number, RESULTS[0], now_s=0).state is TrialState.MEASURED


def test_a_study_is_opened_as_patiently_as_it_is_used_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = open_storage("memory://")
    name = open_study(storage, vllm_task({"max-num-seqs": [1, 2]}), base="/", now_s=1.0).name
    monkeypatch.setattr("inference_autotuner.optimizer.study._PAUSE_S", 0.01)
    answers = storage.get_all_studies
    refusals = iter(range(3))

    def hesitant() -> object:
        if next(refusals, None) is not None:
            raise OSError(5, "away")
        return answers()

    monkeypatch.setattr(storage, "get_all_studies", hesitant)
    with pytest.raises(StorageUnavailableError):
        load_study(storage, name)
    assert load_study(storage, name, patience_s=60.0).patience_s == 60.0


def test_a_study_of_another_version_is_named_and_no_bug() -> None:
    storage = open_storage("memory://")
    study_id = storage.create_new_study([StudyDirection.MINIMIZE], "chat-h0123456789")
    storage.set_study_user_attr(study_id, "task", {"spec": {"of": "a later version"}})
    with pytest.raises(StudyError, match="another version of inference-autotuner"):
        load_study(storage, "chat-h0123456789")
