"""What genai-bench's run files mean, and whether a run may be scored at all.

genai-bench ends with 0 when half of the requests failed, and with 1 when only a plot did: its
exit code and its own error rate say nothing. A run is judged by the file it leaves.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inference_autotuner.optimizer.benchmarks.genai_bench import Run, scrub
from inference_autotuner.optimizer.errors import BenchmarkError, Reason
from inference_autotuner.optimizer.metrics import Metric, Point, Statistic
from inference_autotuner.optimizer.scenario import Scenario, parse_scenario
from inference_autotuner.optimizer.spec import Slo

_LATENCIES = (Metric.TTFT, Metric.TPOT, Metric.E2E_LATENCY)


@dataclass(frozen=True)
class Record:
    """One request that ended.

    Attributes:
        error: What the server said, code first; None when it ended well, as the rest supposes.
        ttft: Seconds.
        tpot: Seconds; None when the whole output came in under a millisecond.
        e2e_latency: Seconds.
        input_tokens: As the server counts them, chat template included.
        output_tokens: As the server counts them.
    """

    error: str | None
    ttft: float = 0.0
    tpot: float | None = None
    e2e_latency: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0

    def meets(self, slo: Slo) -> bool:
        """Whether this one request stays within the limit."""
        value: float | None = getattr(self, slo.metric.value)
        return value is None or value <= slo.limit


@dataclass(frozen=True)
class RunFile:
    """A run file that is complete.

    Attributes:
        totals: Its `aggregated_metrics`.
        records: Every request that ended, in order of completion.
        time_unit: Unit of its latencies.
    """

    totals: Mapping[str, Any]
    records: Sequence[Record]
    time_unit: str

    @property
    def successes(self) -> list[Record]:
        """Requests that ended well."""
        return [record for record in self.records if record.error is None]

    @property
    def failures(self) -> list[Record]:
        """Requests that did not."""
        return [record for record in self.records if record.error is not None]

    @property
    def duration_s(self) -> float:
        """What genai-bench takes for the length of the run: up to a second too long."""
        return _number(self.totals, "run_duration", above=0)

    def describe_failures(self) -> str:
        """How many requests failed, and what the server said to the first."""
        return (
            f"{len(self.failures)} of {len(self.records)} requests failed; the first said: "
            f"{self.failures[0].error}"
        )


def parse_run(text: str) -> RunFile:
    """Reads a run file.

    Raises:
        BenchmarkError: It is cut off, or no run file at all.
    """
    try:
        content = json.loads(text)
        totals = dict(content["aggregated_metrics"])
        records = [_parse_record(dict(each)) for each in content["individual_request_metrics"]]
        return RunFile(totals, records, str(content["_time_unit"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _invalid(f"the run file cannot be read ({error})") from error


def _parse_record(raw: Mapping[str, Any]) -> Record:
    if raw["error_code"]:
        said = f"{raw['error_code']} {raw.get('error_message') or ''}".strip()
        return Record(error=scrub(said)[:300])
    return Record(
        error=None,
        ttft=_number(raw, "ttft"),
        tpot=None if raw["tpot"] is None else _number(raw, "tpot"),
        e2e_latency=_number(raw, "e2e_latency"),
        input_tokens=int(_number(raw, "num_input_tokens")),
        output_tokens=int(_number(raw, "num_output_tokens")),
    )


def _number(raw: Mapping[str, Any], name: str, above: float = -math.inf) -> float:
    value = raw.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid(f"the run file has no number for {name}")
    if not math.isfinite(value) or value <= above:
        raise _invalid(f"the run file says {value} for {name}")
    return float(value)


def build_point(file: RunFile, *, slos: Sequence[Slo], seconds: float) -> Point:
    """The point that a checked run file describes.

    Goodput counts requests that met every latency SLO; without one, all that ended well.

    Args:
        file: A run file that `check_run` let pass.
        slos: The task's limits.
        seconds: From the first request to the end of the last one that ended.

    Raises:
        BenchmarkError: A number that must be there is not.
    """
    limits = [slo for slo in slos if slo.metric.is_latency]
    done = file.successes
    good = [record for record in done if all(record.meets(slo) for slo in limits)]
    given, made = sum(r.input_tokens for r in done), sum(r.output_tokens for r in done)
    amounts = {
        Metric.OUTPUT_THROUGHPUT: made,
        Metric.INPUT_THROUGHPUT: given,
        Metric.TOTAL_THROUGHPUT: given + made,
        Metric.REQUEST_THROUGHPUT: len(done),
        Metric.GOODPUT: len(good),
        Metric.TOKEN_GOODPUT: sum(record.output_tokens for record in good),
    }
    return Point(
        scenario=str(file.totals.get("scenario")),
        concurrency=int(_number(file.totals, "num_concurrency")),
        requests=len(file.records),
        errors=len(file.failures),
        duration_s=seconds,
        rates={metric: amount / seconds for metric, amount in amounts.items()},
        latencies={metric: _statistics(file.totals, metric) for metric in _LATENCIES},
    )


def _statistics(totals: Mapping[str, Any], metric: Metric) -> dict[Statistic, float]:
    stats = totals.get("stats")
    found = stats.get(metric.value) if isinstance(stats, dict) else None
    if not isinstance(found, dict):
        raise _invalid(f"the run file has no statistics of {metric}")
    return {statistic: _number(found, statistic.value) for statistic in Statistic}


def seconds_of(file: RunFile, *, run: Run, to_last: float | None) -> float:
    """The seconds that the rates of a run are over.

    Args:
        file: A run file that `check_run` let pass.
        run: What was asked for.
        to_last: From the first request to the end of the last that ended; None when not known.

    Returns:
        `to_last` when enough requests ended the run. When the time limit did, everything until
        then: a server that stalled shall not be scored by the time before it did.
    """
    if to_last is None or len(file.records) < run.requests:
        return file.duration_s
    return to_last


def check_run(
    file: RunFile, *, run: Run, max_error_rate: float, to_last: float | None
) -> tuple[str, ...]:
    """Whether a run may be scored; genai-bench's exit code says nothing about it.

    Args:
        file: The run file.
        run: What was asked for.
        max_error_rate: Share of failed requests that is allowed.
        to_last: Seconds from the first request to the end of the last; None when not known.

    Returns:
        Notes for a person on what is valid but worth knowing.

    Raises:
        BenchmarkError: With what was seen, what was asked for, and what to do.
    """
    if file.time_unit != "s":
        raise _invalid(f"its latencies are in {file.time_unit}, not in s")
    _check_identity(file, run)
    _check_errors(file, max_error_rate)
    _check_lengths(file, parse_scenario(run.scenarios[0]))
    _check_waiting(file, run, to_last or file.duration_s)
    return _check_count(file, run)


def _check_identity(file: RunFile, run: Run) -> None:
    seen = (file.totals.get("scenario"), file.totals.get("num_concurrency"))
    asked = (run.scenarios[0], run.concurrency)
    if seen != asked:
        raise _invalid(f"it is of {seen[0]} at concurrency {seen[1]}, not {asked[0]} at {asked[1]}")


def _check_errors(file: RunFile, max_error_rate: float) -> None:
    if not file.records:
        raise _invalid("no request ended")
    share = len(file.failures) / len(file.records)
    if share > max_error_rate or not file.successes:
        raise _invalid(
            f"{share:.1%} failed where {max_error_rate:.1%} are allowed; {file.describe_failures()}"
        )


def _check_lengths(file: RunFile, scenario: Scenario) -> None:
    if not scenario.is_fixed:
        return
    count = len(file.successes)
    given = sum(record.input_tokens for record in file.successes) / count
    wanted = sum(record.output_tokens for record in file.successes) / count
    if abs(wanted - scenario.mean_output) > 0.05 * scenario.mean_output:
        raise _invalid(
            f"outputs had {wanted:.1f} tokens instead of {scenario.max_output}; does the context "
            "per request hold prompt and output, and does the engine honor ignore_eos?"
        )
    # The chat template adds tokens, a wrong tokenizer or a cut prompt takes some away.
    if not 0.85 * scenario.mean_input <= given <= 1.25 * scenario.mean_input + 512:
        raise _invalid(
            f"prompts had {given:.1f} tokens instead of {scenario.max_input}; is "
            "spec.model.tokenizer the model's own?"
        )


def _check_waiting(file: RunFile, run: Run, to_last: float) -> None:
    """In a closed loop every user waits for the server nearly all the time.

    A stream without content is no error to genai-bench: it vanishes with its time.
    """
    waited = [record.e2e_latency for record in file.successes]
    in_flight = run.concurrency * (max(waited) + 2.0)  # cut off at the end, and the ramp-up
    share = min(1.0, (sum(waited) + in_flight) / (run.concurrency * to_last))
    if share < 0.6:
        raise _invalid(
            f"{run.concurrency} users waited for the server only {share:.0%} of the time: either "
            "requests vanished (empty streams), or genai-bench had too little CPU for this load"
        )
    stalled = file.duration_s - to_last
    if stalled > 3 * max(waited) + 10.0:
        raise _invalid(
            f"nothing ended in its last {stalled:.0f} s, though no request before took longer than "
            f"{max(waited):.1f} s: the server stalled"
        )


def _check_count(file: RunFile, run: Run) -> tuple[str, ...]:
    ended, seconds = len(file.records), file.duration_s
    if ended >= 0.9 * run.requests:
        return ()
    if seconds < 0.9 * run.max_minutes * 60:
        raise _invalid(
            f"{ended} of {run.requests} requests ended in {seconds:.0f} s although the time limit "
            f"is {run.max_minutes} min; genai-bench was cut short"
        )
    return (
        f"the time limit of {run.max_minutes} min came first: {ended} of {run.requests} requests "
        "ended",
    )


def _invalid(why: str) -> BenchmarkError:
    return BenchmarkError(Reason.BENCHMARK_INVALID, f"this run is not valid: {why}")
