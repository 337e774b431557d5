from collections.abc import Callable, Sequence

import pytest

from inference_autotuner.optimizer.errors import StorageDamagedError
from inference_autotuner.workflows import doctor
from inference_autotuner.workflows.doctor import examine
from inference_autotuner.workflows.finding import Finding, State


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine_programs", lambda: [Finding("python", State.OK, "3")])
    monkeypatch.setattr(doctor, "examine_machine", lambda: [Finding("cores", State.OK, "2")])


def _storage(list_studies: Callable[[], Sequence[str]]) -> Finding:
    return examine(list_studies)[-1]


def test_programs_machine_and_storage_are_looked_at() -> None:
    assert [finding.name for finding in examine(lambda: [])] == ["python", "cores", "storage"]


def test_a_storage_that_can_be_read_says_how_many_studies_it_has() -> None:
    assert _storage(lambda: ["a"]) == Finding("storage", State.OK, "readable, 1 study")
    assert _storage(lambda: ["a", "b"]).found == "readable, 2 studies"


def test_a_storage_that_cannot_be_read_is_bad_and_says_why() -> None:
    def damaged() -> list[str]:
        raise StorageDamagedError("line 7 is no JSON")

    found = _storage(damaged)
    assert (found.state, found.found) == (State.BAD, "line 7 is no JSON")
    assert found.remedy
