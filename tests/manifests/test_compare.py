from inference_autotuner.manifests.compare import ComparedStudy, compare
from tests.samples import sample_study, sample_task


def compared(name, sample):
    study = sample_study(sample)
    return ComparedStudy(name, study.task, study.trials, study.verdict)


def facts(*studies):
    return {row["what"]: row for row in compare(studies)}


def test_only_settings_that_differ_are_shown():
    found = facts(compared("a", "Better"), compared("b", "objectives"))
    assert found["budget.trials"] == {"what": "budget.trials", "a": "16", "b": "40"}
    assert "engine.name" not in found
    assert "parameters.threads" not in found


def test_the_same_study_twice_differs_in_nothing_but_is_still_answered():
    found = facts(compared("a", "Better"), compared("b", "Better"))
    assert next(iter(found)) == "verdict"


def test_answers_are_beside_one_another():
    found = facts(compared("a", "Better"), compared("b", "NothingFeasible"))
    assert (found["verdict"]["a"], found["verdict"]["b"]) == ("Better", "NothingFeasible")
    assert found["better than the baseline"]["a"].startswith("+")
    assert found["better than the baseline"]["b"] == "–"
    assert found["left of ttft p99"]["a"].endswith(" %")
    assert found["params"] == {"what": "params", "a": "threads=1", "b": "–"}


def test_a_secret_is_not_compared():
    study = sample_study("one")
    tasks = [
        sample_task(engine={"name": "llamacpp", "args": {"api-key": key}}) for key in ("abc", "def")
    ]
    rows = compare(
        [ComparedStudy(str(n), t, study.trials, study.verdict) for n, t in enumerate(tasks)]
    )
    assert not [row for row in rows if "api-key" in row["what"]]
