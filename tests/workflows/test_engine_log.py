import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_autotuner.workflows import engine_log
from inference_autotuner.workflows.engine_log import EngineLog, read_tail, read_text
from tests.workflows.timing import until


@pytest.fixture
def heard() -> list[str]:
    return []


@pytest.fixture
def log(tmp_path: Path, heard: list[str]) -> Iterator[EngineLog]:
    made = EngineLog(tmp_path / "trial" / "engine.log", heard.append)
    yield made
    made.stop()


def test_lines_are_heard_while_the_engine_writes(log: EngineLog, heard: list[str]) -> None:
    with log.open() as file:
        file.write(b"one\ntwo\nhal")
        file.flush()
        until(lambda: heard == ["one", "two"])
        file.write(b"f\n")
        file.flush()
        until(lambda: heard[-1] == "half")


def test_the_last_line_is_heard_although_it_has_no_end(log: EngineLog, heard: list[str]) -> None:
    with log.open() as file:
        file.write(b"killed in the mid")
    log.stop()
    assert heard == ["killed in the mid"]


def test_a_progress_bar_is_heard_as_lines(log: EngineLog, heard: list[str]) -> None:
    with log.open() as file:
        file.write(b"10 %\r50 %\r\n\n100 %\n")
    log.stop()
    assert heard == ["10 %", "50 %", "100 %"]


def test_any_bytes_can_be_heard(log: EngineLog, heard: list[str]) -> None:
    with log.open() as file:
        file.write(b"\xff\x00caf\xc3\xa9\n")
    log.stop()
    assert heard == ["\ufffdcaf\u00e9"]


def test_the_log_of_the_attempt_before_is_kept(tmp_path: Path) -> None:
    for text in (b"first", b"second"):
        log = EngineLog(tmp_path / "engine.log", lambda line: None)
        with log.open() as file:
            file.write(text)
        log.stop()
    assert (tmp_path / "engine.previous.log").read_bytes() == b"first"
    assert log.text() == "second"


def test_a_flood_loses_its_middle_and_the_engine_writes_on(
    log: EngineLog, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_log, "LIMIT", 50_000)
    monkeypatch.setattr(engine_log, "KEPT", 1_000)
    monkeypatch.setattr(engine_log, "_AT_ONCE", 10_000)
    with log.open() as file:
        file.write(b"the cause\n" + b"x" * 99 * 1000 + b"\nthe end\n")
        file.flush()
        until(lambda: log.path.stat().st_size < 5_000)
        file.write(b"after the cut\n")
    log.stop()
    assert log.text().startswith("the cause\n")
    assert "bytes of the log cut out" in log.text()
    assert log.text().endswith("the end\nafter the cut\n")
    assert any("bytes of the log skipped" in line for line in heard)
    assert heard[-1] == "after the cut"


def test_a_log_that_somebody_removed_is_an_empty_one(log: EngineLog) -> None:
    with log.open():
        log.path.unlink()
        time.sleep(0.3)
    log.stop()
    assert log.text() == log.last_line() == read_tail(log.path) == ""


def test_stopping_a_log_that_was_never_opened_does_nothing(log: EngineLog) -> None:
    log.stop()
    log.stop()


@given(st.lists(st.binary(max_size=3000), max_size=8))
def test_a_tail_is_the_end_in_at_most_four_kibibytes(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "tail.log"
    path.write_bytes(b"\n".join(lines))
    tail = read_tail(path)
    assert len(tail.encode()) <= 4096
    assert read_text(path).endswith(tail)


def test_a_long_logs_tail_begins_with_a_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_text("".join(f"line {number}\n" for number in range(2000)))
    tail = read_tail(path).splitlines()
    assert tail[-1] == "line 1999"
    assert tail[0].startswith("line ")


def test_the_last_line_is_the_last_that_says_something(log: EngineLog) -> None:
    with log.open() as file:
        file.write(b"first\nlast words\n\n  \n")
    assert log.last_line() == "last words"
