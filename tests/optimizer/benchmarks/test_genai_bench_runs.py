import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_autotuner.optimizer.benchmarks.genai_bench import Run
from inference_autotuner.optimizer.benchmarks.genai_bench_runs import (
    build_point,
    check_run,
    parse_run,
    seconds_of,
)
from inference_autotuner.optimizer.errors import BenchmarkError, Reason
from inference_autotuner.optimizer.metrics import Metric, Statistic
from inference_autotuner.optimizer.spec import Slo

RECORDED = Path(__file__).parent / "recorded"


def recorded(name):
    return (RECORDED / f"{name}.json").read_text("utf-8")


def a_run(scenario="D(16,8)", concurrency=2, requests=4):
    return Run(
        api_base="http://127.0.0.1:8080",
        served_name="m",
        tokenizer="/models/tokenizer",
        api_backend="sglang",
        scenarios=(scenario,),
        concurrency=concurrency,
        requests=requests,
        max_time_s=60.0,
        base_folder="/results",
        folder_name="x",
        request_params={},
    )


def changed(**totals):
    content = json.loads(recorded("ok"))
    content["aggregated_metrics"].update(totals)
    return parse_run(json.dumps(content))


def refusal(file, run=None, max_error_rate=0.01, to_last=None):
    with pytest.raises(BenchmarkError) as caught:
        check_run(file, run=run or a_run(), max_error_rate=max_error_rate, to_last=to_last)
    assert caught.value.reason is Reason.BENCHMARK_INVALID
    return str(caught.value)


def test_a_real_run_gives_the_numbers_that_genai_bench_reports():
    file = parse_run(recorded("ok"))
    totals = json.loads(recorded("ok"))["aggregated_metrics"]
    assert check_run(file, run=a_run(), max_error_rate=0.0, to_last=None) == ()
    point = build_point(file, seconds=totals["run_duration"], slos=[])
    assert (point.scenario, point.concurrency) == ("D(16,8)", 2)
    assert (point.requests, point.errors) == (totals["num_requests"], 0)
    for metric, name in (
        (Metric.OUTPUT_THROUGHPUT, "mean_output_throughput_tokens_per_s"),
        (Metric.INPUT_THROUGHPUT, "mean_input_throughput_tokens_per_s"),
        (Metric.TOTAL_THROUGHPUT, "mean_total_tokens_throughput_tokens_per_s"),
        (Metric.REQUEST_THROUGHPUT, "requests_per_second"),
    ):
        assert point.value(metric) == pytest.approx(totals[name])
    assert point.value(Metric.TTFT, Statistic.P99) == totals["stats"]["ttft"]["p99"]
    assert point.value(Metric.TPOT) == totals["stats"]["tpot"]["mean"]


def test_without_a_latency_slo_goodput_is_every_success():
    point = build_point(
        parse_run(recorded("ok")), seconds=3.0, slos=[Slo(metric="goodput", limit=1)]
    )
    assert point.value(Metric.GOODPUT) == pytest.approx(point.value(Metric.REQUEST_THROUGHPUT))
    assert point.value(Metric.TOKEN_GOODPUT) == pytest.approx(point.value(Metric.OUTPUT_THROUGHPUT))


def test_goodput_counts_requests_that_meet_every_latency_slo():
    file = parse_run(recorded("ok"))
    waits = sorted(record.ttft for record in file.records)
    limit = f"{(waits[0] + waits[1]) / 2:.6f}s"
    point = build_point(
        file, seconds=3.0, slos=[Slo(metric="ttft", limit=limit), Slo(metric="tpot", limit="9s")]
    )
    assert point.value(Metric.GOODPUT) == pytest.approx(1 / point.duration_s)
    assert point.value(Metric.TOKEN_GOODPUT) == pytest.approx(8 / point.duration_s)


def test_an_output_too_quick_to_have_a_tpot_meets_the_limit():
    content = json.loads(recorded("ok"))
    for record in content["individual_request_metrics"]:
        record["tpot"] = None
    point = build_point(
        parse_run(json.dumps(content)), seconds=3.0, slos=[Slo(metric="tpot", limit="1ms")]
    )
    assert point.value(Metric.GOODPUT) == pytest.approx(point.value(Metric.REQUEST_THROUGHPUT))


@given(st.integers(0, 20_000))
def test_goodput_never_falls_when_a_limit_is_relaxed(limit_ms):
    file = parse_run(recorded("ok"))
    tight, loose = (
        build_point(
            file, seconds=3.0, slos=[Slo(metric="e2e_latency", limit=f"{limit_ms + more}ms")]
        )
        for more in (1, 500)
    )
    assert 0 <= tight.value(Metric.GOODPUT) <= loose.value(Metric.GOODPUT)
    assert loose.value(Metric.GOODPUT) <= loose.value(Metric.REQUEST_THROUGHPUT) + 1e-9


def test_failed_requests_are_counted_from_the_records_and_named():
    said = refusal(parse_run(recorded("half_failed")), a_run("N(150,150)/(4,1)", 2, 6))
    assert "50.0% failed where 1.0% are allowed" in said
    assert "5 of 10 requests failed; the first said: 400" in said
    assert "exceed" in said


def test_failed_requests_within_the_allowed_share_are_no_reason():
    file = parse_run(recorded("half_failed"))
    check_run(file, run=a_run("N(150,150)/(4,1)", 2, 6), max_error_rate=0.5, to_last=None)
    point = build_point(file, seconds=3.0, slos=[])
    assert (point.requests, point.errors) == (10, 5)
    assert point.value(Metric.GOODPUT) == pytest.approx(5 / point.duration_s)


def test_a_run_in_which_everything_failed_is_not_valid_whatever_is_allowed():
    content = json.loads(recorded("half_failed"))
    records = content["individual_request_metrics"]
    content["individual_request_metrics"] = [r for r in records if r["error_code"]]
    file = parse_run(json.dumps(content))
    assert "100.0% failed" in refusal(file, a_run("N(150,150)/(4,1)"), max_error_rate=0.999)


def test_outputs_that_end_early_are_not_valid():
    said = refusal(parse_run(recorded("cut_outputs")), a_run("D(200,100)", 1, 1))
    assert "outputs had 26.0 tokens instead of 100" in said


def test_prompts_of_another_length_are_not_valid():
    content = json.loads(recorded("ok"))
    for record in content["individual_request_metrics"]:
        record["num_input_tokens"] = 12
    said = refusal(parse_run(json.dumps(content)))
    assert "prompts had 12.0 tokens instead of 16" in said
    assert "spec.model.tokenizer" in said


def test_latencies_in_milliseconds_are_not_taken_for_seconds():
    assert "in ms, not in s" in refusal(parse_run(recorded("milliseconds")))


@pytest.mark.parametrize("run", [a_run("D(16,9)"), a_run(concurrency=4)])
def test_a_run_of_something_else_is_not_valid(run):
    assert "it is of D(16,8) at concurrency 2" in refusal(changed(), run)


def test_too_few_requests_before_the_time_limit_are_not_valid():
    assert "6 of 100 requests ended in 2 s" in refusal(changed(), a_run(requests=100))


def test_too_few_requests_at_the_time_limit_are_valid_and_noted():
    content = json.loads(recorded("ok"))
    content["aggregated_metrics"]["run_duration"] = 60.3
    for record in content["individual_request_metrics"]:
        record["e2e_latency"] = 19.0
    notes = check_run(
        parse_run(json.dumps(content)), run=a_run(requests=100), max_error_rate=0, to_last=None
    )
    assert notes == ("the time limit of 1 min came first: 6 of 100 requests ended",)


def test_a_slow_server_at_the_time_limit_is_no_vanished_request():
    content = json.loads(recorded("ok"))
    content["aggregated_metrics"]["run_duration"] = 60.3
    for record in content["individual_request_metrics"]:
        record["e2e_latency"] = 13.0
    notes = check_run(
        parse_run(json.dumps(content)), run=a_run(requests=100), max_error_rate=0, to_last=26.2
    )
    assert len(notes) == 1


def test_a_server_that_stalls_is_not_scored_by_the_time_before():
    file = changed(run_duration=60.3)
    said = refusal(file, a_run(requests=100), to_last=2.0)
    assert "nothing ended in its last 58 s" in said


def test_the_time_limit_ends_the_seconds_of_a_run_that_it_ended():
    file = changed(run_duration=60.3)
    assert seconds_of(file, run=a_run(requests=100), to_last=50.0) == 60.3
    assert seconds_of(file, run=a_run(requests=6), to_last=50.0) == 50.0
    assert seconds_of(file, run=a_run(requests=6), to_last=None) == 60.3


def test_requests_that_vanished_make_a_run_not_valid():
    said = refusal(changed(run_duration=60.0))
    assert "users waited for the server only" in said
    assert "empty streams" in said


def test_rates_are_over_the_seconds_that_were_under_load():
    point = build_point(parse_run(recorded("ok")), seconds=2.0, slos=[])
    assert point.duration_s == 2.0
    assert point.value(Metric.OUTPUT_THROUGHPUT) == 8 * point.requests / 2.0


@pytest.mark.parametrize("name", ["num_concurrency", "stats"])
def test_a_number_that_is_missing_is_never_guessed(name):
    content = json.loads(recorded("ok"))
    del content["aggregated_metrics"][name]
    with pytest.raises(BenchmarkError, match="has no"):
        build_point(parse_run(json.dumps(content)), seconds=3.0, slos=[])


@given(st.integers(0, len(recorded("ok")) - 2))
def test_a_run_file_that_is_cut_off_is_refused_at_every_length(length):
    with pytest.raises(BenchmarkError, match="cannot be read"):
        parse_run(recorded("ok")[:length])


@pytest.mark.parametrize("text", ["", "null", "[1]", "{}", '{"aggregated_metrics": 3}', "[" * 9999])
def test_garbage_is_refused(text):
    with pytest.raises(BenchmarkError):
        parse_run(text)


@given(st.lists(st.sampled_from(["drop", "null", "text"]), min_size=1, max_size=3), st.randoms())
def test_a_damaged_run_file_never_scores(damages, random):
    content = json.loads(recorded("ok"))
    totals = content["aggregated_metrics"]
    for damage in damages:
        name = random.choice(["scenario", "num_concurrency", "run_duration", "stats"])
        if damage == "drop":
            totals.pop(name, None)
        else:
            totals[name] = None if damage == "null" else "?"
    file = parse_run(json.dumps(content))

    def score():
        check_run(file, run=a_run(), max_error_rate=0.01, to_last=None)
        return build_point(file, seconds=3.0, slos=[])

    with pytest.raises(BenchmarkError):
        score()


def test_what_every_request_said_is_read_from_the_file_that_is_left_when_all_fail():
    file = parse_run(recorded("all_failed"))
    assert len(file.failures) == 3
    assert file.describe_failures().startswith("3 of 3 requests failed; the first said: 503")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "true", '"3"', "0", "-1"])
def test_a_duration_that_is_no_length_of_time_is_refused(value):
    text = recorded("ok").replace('"run_duration": ', f'"run_duration": {value}, "was": ')
    assert "run_duration" in refusal(parse_run(text))
