"""A study is the same in every storage: asked once, told once, nothing cut off."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from optuna.storages import BaseStorage

from inference_autotuner.optimizer.errors import Reason
from inference_autotuner.optimizer.metrics import Measurement
from inference_autotuner.optimizer.storage import open_storage, storage_url
from inference_autotuner.optimizer.study import LOG_TAIL_LIMIT, Study, load_study, open_study
from inference_autotuner.optimizer.trial import Failed, Infeasible, Measured, TrialState
from tests.optimizer.postgresql_server import PostgresqlServer, postgresql_server
from tests.optimizer.storage_process import TASK, TOKEN, StorageProcess, begin
from tests.optimizer.tasks import measurement

OVER_POSTGRESQL = ("postgresql", "grpc-over-postgresql")
LASTING = ("journal", "grpc-over-journal", *OVER_POSTGRESQL)
MEASUREMENT_LIMIT = 8192


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with postgresql_server() as running:
        yield running


@pytest.fixture
def url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    monkeypatch.setenv("AUTOTUNER_STORAGE_TOKEN", TOKEN)
    kind = request.param
    if kind == "memory":
        yield "memory://"
        return
    own = storage_url(tmp_path / "journal.log")
    if kind in OVER_POSTGRESQL:
        own = request.getfixturevalue("server").new_url()
    if not kind.startswith("grpc"):
        yield own
        return
    service = StorageProcess(own)
    yield f"grpc://127.0.0.1:{service.port}"
    service.end()


everywhere = pytest.mark.parametrize("url", ["memory", *LASTING], indirect=True)
where_it_lasts = pytest.mark.parametrize("url", LASTING, indirect=True)


def opened(storage: BaseStorage) -> Study:
    return open_study(storage, TASK, base="/tasks", now_s=1.0)


@everywhere
def test_the_same_key_gives_the_same_trial(url: str) -> None:
    study = opened(open_storage(url))
    assert begin(study, "a") == begin(study, "a") == 0
    assert begin(study, "b", 32) == 1
    assert study.trial(1).params == {"max-num-seqs": 32}


@everywhere
def test_a_key_asked_by_many_threads_makes_one_trial(url: str) -> None:
    study = opened(open_storage(url))
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: begin(study, "a"), range(16))) == {0}
    assert len(study.trials()) == 1


@everywhere
def test_the_first_of_two_tells_stays(url: str) -> None:
    study = opened(open_storage(url))
    number = begin(study, "a")
    told = study.tell(number, Measured(measurement(120.0)), now_s=2.0)
    assert study.tell(number, Infeasible(Reason.CRASHED, "late"), now_s=3.0) == told
    assert told.state is TrialState.MEASURED
    assert told.values == pytest.approx((120.0,))


@everywhere
def test_notes_are_kept_until_a_trial_is_told(url: str) -> None:
    study = opened(open_storage(url))
    number = begin(study, "a")
    study.note(number, spans={"deploy": 1.5})
    study.note(number, attempt=2)
    study.tell(number, Failed(Reason.PORT_IN_USE, "taken"), now_s=2.0)
    study.note(number, attempt=9)
    assert study.noted(number) == {"spans": {"deploy": 1.5}, "attempt": 2}


@everywhere
def test_whatever_an_engine_printed_is_kept(url: str) -> None:
    bad = "\0\udfff\ud800\x1b[1m\x7f\u2028\ufffe\U0001f600é"  # no text of a database, as it is
    tail = f"{bad} KV cache " * LOG_TAIL_LIMIT
    study = opened(open_storage(url))
    study.tell(begin(study, "a"), Infeasible(Reason.CRASHED, f"it said {bad}", tail), now_s=2.0)
    told = study.trial(0)
    assert told.log_tail == tail[-LOG_TAIL_LIMIT:]
    assert told.message == f"it said {bad}"


@everywhere
def test_the_largest_measurement_and_verdict_are_kept_whole(url: str) -> None:
    point = measurement(100.0).points[0]
    large = measurement(100.0)
    while len(json.dumps(large.to_json())) < MEASUREMENT_LIMIT:
        large = Measurement((*large.points, point))
    study = opened(open_storage(url))
    verdict = {"evidence": ["x" * 1000] * 512}  # half a megabyte; real ones have kilobytes
    study.set_attribute("verdict", verdict)
    study.tell(begin(study, "a"), Measured(large), now_s=2.0)
    assert study.trial(0).measurement == large
    assert study.attribute("verdict") == verdict


@everywhere
def test_a_task_of_the_largest_size_is_read_back(url: str) -> None:
    description = "é" * 100_000
    spec = TASK.spec.model_copy(update={"description": description})
    task = TASK.model_copy(update={"spec": spec})
    storage = open_storage(url)
    name = open_study(storage, task, base="/", now_s=1.0).name
    assert load_study(storage, name).task.spec.description == description


@where_it_lasts
def test_another_client_sees_everything(url: str) -> None:
    study = opened(open_storage(url))
    study.tell(begin(study, "a"), Measured(measurement(120.0)), now_s=2.0)
    begin(study, "b")
    again = load_study(open_storage(url), study.name)
    assert again.trials() == study.trials()
    assert [t.state for t in again.trials()] == [TrialState.MEASURED, TrialState.RUNNING]


OTHER_PROCESS = """
import sys
from inference_autotuner.optimizer.storage import open_storage
from inference_autotuner.optimizer.study import open_study
from inference_autotuner.optimizer.trial import Measured
from tests.optimizer.storage_process import TASK, begin
from tests.optimizer.tasks import measurement
study = open_study(open_storage(sys.argv[1]), TASK, base="/", now_s=1.0)
for index in range(10):
    number = begin(study, f"{sys.argv[2]}-{index}")
    study.tell(number, Measured(measurement(100.0)), now_s=2.0)
"""


@where_it_lasts
def test_two_processes_at_once_lose_no_trial(url: str) -> None:
    opened(open_storage(url))
    root = Path(__file__).parents[2]
    made = [
        subprocess.Popen([sys.executable, "-c", OTHER_PROCESS, url, name], cwd=root)
        for name in ("one", "two")
    ]
    assert [process.wait(timeout=120) for process in made] == [0, 0]
    trials = opened(open_storage(url)).trials()
    assert [trial.number for trial in trials] == list(range(20))
    assert len({trial.key for trial in trials}) == 20
    assert {trial.state for trial in trials} == {TrialState.MEASURED}
