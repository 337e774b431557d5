"""Durations as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_autotuner.optimizer.units import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("1.5s", 1.5), ("42.1ms", 0.0421), ("1h30m", 5400.0), ("1 h 30 m", 5400.0)],
)
def test_a_duration_is_seconds_inside(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(st.decimals(0, 10**7, places=6).map(float))
def test_a_duration_is_written_so_that_it_reads_back_exactly(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    "given", [500, 0.5, True, None, "", "5", "5 min", "-5s", "1e3s", "٥s", "9999999d", "5s!", "s"]
)
def test_what_is_no_duration_is_refused_with_an_example(given: object) -> None:
    with pytest.raises(ValueError, match=r"write|longer"):
        parse_duration(given)
