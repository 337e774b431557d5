import re

from hypothesis import given
from hypothesis import strategies as st

from inference_autotuner.optimizer.errors import Blame, Failure, Reason
from inference_autotuner.optimizer.failures import (
    EXCEPTIONS,
    MESSAGE_LIMIT,
    PYTHON_ENGINES,
    Signature,
    diagnose,
)

FULL = Signature("disk.*", Blame.WORLD, Reason.DISK_FULL, "full")
BAD = Signature("bad (.*)", Blame.PARAMS, Reason.CRASHED, "bad")


def read(*signatures: Signature, log: str, exit_code: int | None = 1) -> Failure:
    return diagnose(signatures, "I am ready", log, exit_code)


def test_the_order_of_signatures_decides_and_not_the_order_of_lines() -> None:
    log = "bad luck\ndisk is full\n"
    assert read(FULL, BAD, log=log).reason is Reason.DISK_FULL
    assert read(BAD, FULL, log=log).reason is Reason.CRASHED


def test_the_message_quotes_the_first_line_that_says_it() -> None:
    assert read(FULL, log="x\nthe disk one\nthe disk two\n").message == "full: the disk one"


def test_the_message_quotes_the_group_where_there_is_one() -> None:
    assert read(BAD, log="a bad idea\n").message == "bad: idea"


def test_a_match_that_does_not_qualify_is_passed_over() -> None:
    def is_second(match: re.Match[str]) -> bool:
        return "first" in match.string[: match.start()]

    picky = Signature("disk.*", Blame.WORLD, Reason.DISK_FULL, "full", is_second)
    assert read(picky, log="disk first\ndisk second").message == "full: disk second"
    assert read(picky, log="disk second").reason is Reason.CRASHED


def test_a_crash_after_the_ready_line_is_a_crash_under_load() -> None:
    assert read(BAD, log="I am ready\nbad luck").reason is Reason.CRASHED_UNDER_LOAD
    assert read(FULL, log="I am ready\ndisk").reason is Reason.DISK_FULL


def test_a_message_is_cut_to_what_a_person_reads() -> None:
    message = read(BAD, log="bad " + "x" * 5000).message
    assert len(message) == MESSAGE_LIMIT
    assert message.endswith("…")


def test_times_and_process_names_are_not_quoted() -> None:
    for prefix in (
        "2026-11-02T10:00:00.123456789Z ",
        "(EngineCore pid=17) ERROR 11-02 10:00:30 [core.py:2663] ",
        "\x1b[0;36m(APIServer pid=1)\x1b[0;0m INFO 11-02 10:00:30 [a.py:1] ",
        "[2026-11-02 10:00:40 DP1 TP0] ",
        "0.14.027.109 ",
        "2026-11-02T10:00:00Z [2026-11-02 10:00:40] ",
    ):
        assert read(FULL, log=f"{prefix}E disk is full").message == "full: E disk is full", prefix


def test_the_first_exception_is_the_cause_and_the_last_one_its_echo() -> None:
    log = "x.y.ValueError: the cause\nRuntimeError: the echo\nKeyError: 1\n"
    assert "the cause" in read(*EXCEPTIONS, log=log).message
    assert "the echo" in read(*EXCEPTIONS, log="KeyError: 1\nRuntimeError: the echo").message


def test_a_bare_assertion_is_quoted_with_its_condition() -> None:
    log = "  File 'x.py', line 3\n    assert a % b == 0\n           ^^^^^^\nAssertionError\n"
    assert read(*EXCEPTIONS, log=log).message.endswith("assert a % b == 0")


def test_an_exit_code_speaks_only_where_the_log_does_not() -> None:
    codes = {code: read(log="last words\n", exit_code=code) for code in (2, 9, 0, -9, 143, -6, 127)}
    assert codes[2].reason is Reason.INVALID_ARGUMENTS
    assert codes[-9] == read(log="last words\n", exit_code=137)
    assert (codes[-9].blame, codes[-9].reason) == (Blame.WORLD, Reason.HOST_OUT_OF_MEMORY)
    assert (codes[143].blame, codes[143].reason) == (Blame.WORLD, Reason.INTERRUPTED)
    assert codes[-6].reason is Reason.CRASHED
    assert codes[127].blame is Blame.TASK
    assert codes[0].message == "it ended with exit code 0: last words"
    assert read(FULL, log="disk", exit_code=2).reason is Reason.DISK_FULL


def test_a_server_that_lives_and_says_nothing_of_note_was_never_ready() -> None:
    assert read(log="loading\n", exit_code=None).message == (
        "it lives but completed no request: loading"
    )


def test_a_living_server_with_a_fatal_line_is_not_waited_for() -> None:
    assert read(BAD, log="bad luck\nstill here", exit_code=None).reason is Reason.CRASHED


def test_a_huge_log_is_read_at_both_ends() -> None:
    filler = "nothing of note\n" * 100_000
    assert read(FULL, log="disk at first\n" + filler).message == "full: disk at first"
    assert read(FULL, log=filler + "disk at last\n").message == "full: disk at last"


@given(st.text(alphabet="aE:\n assert^.()[]0123ValueError", max_size=400))
def test_no_log_is_too_odd(log: str) -> None:
    failure = diagnose((*PYTHON_ENGINES, *EXCEPTIONS), "ready", log, 1)
    assert 0 < len(failure.message) <= MESSAGE_LIMIT
