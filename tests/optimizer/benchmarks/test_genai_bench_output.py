import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_autotuner.optimizer.benchmarks.genai_bench_output import Transcript, load_seconds

RECORDED = Path(__file__).parent / "recorded"


def heard(text):
    transcript = Transcript()
    shown = [line for line in text.splitlines() if transcript.hear(line) is not None]
    return transcript.spans, shown


def recorded():
    return heard((RECORDED / "debug_output.log").read_text("utf-8"))


def test_each_response_tells_when_it_began_and_ended():
    spans, _ = recorded()
    run = json.loads((RECORDED / "ok.json").read_text("utf-8"))  # of the same invocation
    records = run["individual_request_metrics"]
    lengths = [end - begin for begin, end in spans]
    assert lengths == pytest.approx([r["e2e_latency"] for r in records], abs=1e-6)
    seconds = load_seconds(spans, len(records))
    assert 1.8 < seconds < run["aggregated_metrics"]["run_duration"]


def test_what_is_shown_is_worth_reading():
    _, shown = recorded()
    text = "\n".join(shown)
    assert "Starting benchmark with concurrency=2" in text
    assert "4 requests have been completed" not in text
    assert "6 requests have been completed" in text
    for noise in ("DEBUG", "Generated text", "Finish reason", ": None", "audio_throughput"):
        assert noise not in text


def test_a_failure_is_shown_after_a_response():
    lines = [
        "DEBUG    - genai_bench.user.openai_user:parse_chat_response - Generated text: a",
        "End Time: 3.5",
        "b",
        "Start Time: 1.5",
        "End Time: 2.5",
        "Traceback (most recent call last):",
        "ValueError: nothing came",
    ]
    spans, shown = heard("\n".join(lines))
    assert spans == [(1.5, 2.5)]
    assert shown == lines[-2:]


def test_seconds_are_not_guessed_when_a_response_is_missing():
    assert load_seconds([(1.0, 2.0), (1.0, 3.0)], 3) is None
    assert load_seconds([], 0) is None


@given(st.lists(st.text(max_size=60), max_size=30))
def test_whatever_is_said_is_heard(lines):
    transcript = Transcript()
    for line in lines:
        assert transcript.hear(line) in (line, None)
    assert all(isinstance(moment, float) for span in transcript.spans for moment in span)
