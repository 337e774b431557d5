"""PostgreSQL as a storage: a real one, that stops, hangs and refuses."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference_autotuner.optimizer.errors import AutotunerError, StorageUnavailableError
from inference_autotuner.optimizer.storage import open_storage, shown
from inference_autotuner.optimizer.study import Study, open_study
from inference_autotuner.optimizer.trial import Measured, TrialState
from tests.optimizer.postgresql_server import QUOTED, USER, PostgresqlServer, postgresql_server
from tests.optimizer.storage_process import TASK, TOKEN, StorageProcess, begin, open_at
from tests.optimizer.tasks import measurement


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with postgresql_server() as running:
        yield running


def opened(url: str) -> Study:
    return open_study(open_storage(url), TASK, base="/", now_s=1.0)


def test_a_study_goes_on_after_the_database_came_back(server: PostgresqlServer) -> None:
    study = opened(server.new_url())
    study.tell(begin(study, "a"), Measured(measurement()), now_s=2.0)
    server.stop()
    try:
        with pytest.raises(StorageUnavailableError, match="//127.0.0.1.*not answer") as caught:
            begin(study, "b")
    finally:
        server.start()
    assert caught.value.exit_code == 75
    assert begin(study, "b") == 1
    assert study.trial(0).state is TrialState.MEASURED


def test_connections_cut_by_the_database_fail_no_call(server: PostgresqlServer) -> None:
    study = opened(server.new_url())
    begin(study, "a")
    server.stop()
    server.start()
    assert begin(study, "a") == 0


def test_the_service_tells_its_clients_of_a_database_that_is_away(
    server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNER_STORAGE_TOKEN", TOKEN)
    url = server.new_url()
    process = StorageProcess(url)
    try:
        study = open_at(process.port)
        begin(study, "a")
        server.stop()
        try:
            with pytest.raises(StorageUnavailableError, match="postgresql://127.0.0.1") as caught:
                study.trials()
        finally:
            server.start()
        assert begin(study, "b") == 1
        said = process.said + process.end(signal.SIGTERM)
    finally:
        process.end()
    assert f"serving {shown(url)} at grpc://" in said
    for text in (said, str(caught.value)):
        assert QUOTED not in text
        assert "pa ss@1" not in text
        assert "Traceback" not in text


def test_a_lock_that_is_held_too_long_is_an_error_to_try_again(
    server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    from inference_autotuner.optimizer import postgresql_storage

    hasty = {**postgresql_storage._CONNECT, "options": "-c lock_timeout=200ms"}
    monkeypatch.setitem(postgresql_storage._ENGINE, "connect_args", hasty)
    url = server.new_url()
    study = opened(url)
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE trials, studies IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StorageUnavailableError, match="lock timeout"):
            begin(study, "a")
    assert begin(study, "a") == 0


def test_a_wrong_password_is_told_and_not_shown(server: PostgresqlServer) -> None:
    url = server.new_url().replace(QUOTED, "s3cret")
    with pytest.raises(
        StorageUnavailableError, match=f'authentication failed for user "{USER}"'
    ) as e:
        open_storage(url)
    assert "s3cret" not in str(e.value)


def test_a_database_that_is_not_there_is_named(server: PostgresqlServer) -> None:
    url = server.new_url().rpartition("/")[0] + "/nothing"
    with pytest.raises(StorageUnavailableError, match='database "nothing" does not exist'):
        open_storage(url)


@pytest.mark.parametrize(
    "rest", ["u:s3/cret@h/db", "u:12#s3cret@h/db", "u:1?s3cret@h/db", "u:s3cret@h", "u:s3[cret@h/d"]
)
def test_an_address_that_splits_wrong_is_refused_without_a_word_of_it(rest: str) -> None:
    with pytest.raises(AutotunerError, match="%2F") as caught:
        open_storage(f"postgresql://{rest}")
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("postgresql://a:b%40c@h:1/d?sslmode=require", "postgresql://h:1/d"),
        ("postgresql://h/d?password=s3cret", "postgresql://h/d"),
        ("journal:///path/to@home/file", "journal:///path/to@home/file"),
        ("grpc://host:1", "grpc://host:1"),
        ("mysql://u:s3cret@h/d", "mysql://h/d"),
    ],
)
def test_an_address_is_shown_without_user_and_password(url: str, seen: str) -> None:
    assert shown(url) == seen


def test_sqlite_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(AutotunerError, match="one trial to two askers.*journal:///"):
        open_storage(f"sqlite:///{tmp_path}/x.db")
    assert os.listdir(tmp_path) == []
