"""The traffic of a flat task, and its limits."""

import re
from collections.abc import Mapping
from typing import Any

from inference_autotuner.optimizer.legacy_notes import Notes
from inference_autotuner.optimizer.units import format_duration

Raw = Mapping[str, Any]


def put_workload(notes: Notes, benchmark: Raw, mode: str) -> None:
    """Puts `spec.workload`."""
    if benchmark.get("task", "text-to-text") != "text-to-text":
        notes.mistake("benchmark.task", "only text-to-text can be measured")
    new = "spec.workload"
    scenarios = benchmark.get("traffic_scenarios", ["D(100,100)"])
    notes.put(f"{new}.scenarios", scenarios, "benchmark.traffic_scenarios")
    concurrency = benchmark.get("num_concurrency", [1])
    notes.put(f"{new}.concurrency", concurrency, "benchmark.num_concurrency")
    minutes, requests = (15, 100) if mode == "ome" else (10, 50)
    old = "benchmark.max_time_per_iteration"
    minutes = benchmark.get("max_time_per_iteration", minutes)
    notes.put(f"{new}.maxTime", duration(notes, minutes, 60, old), old)
    requests = benchmark.get("max_requests_per_iteration", requests)
    notes.put(f"{new}.requests", requests, "benchmark.max_requests_per_iteration")
    _put_request_params(notes, benchmark)
    if "dataset_url" in benchmark:
        notes.warn(
            "benchmark.dataset_url", "is left out: prompts are made up, as long as a scenario says"
        )
    elif "dataset_deduplicate" in benchmark:
        notes.warn("benchmark.dataset_deduplicate", "is left out: there is no data set")


def _put_request_params(notes: Notes, benchmark: Raw) -> None:
    given = benchmark.get("additional_params", {})
    if isinstance(given, dict):
        given = {name: _as_number(notes, name, value) for name, value in given.items()}
    notes.put("spec.workload.requestParams", given, "benchmark.additional_params")


def _as_number(notes: Notes, name: str, value: Any) -> Any:
    """Numbers were written as texts where a template put them into a Kubernetes object."""
    if not (isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{1,9})?", value)):
        return value
    notes.warn(f"benchmark.additional_params.{name}", f'the text "{value}" is read as a number')
    return float(value)


def duration(notes: Notes, value: Any, unit_s: int, old: str) -> str:
    """A number of seconds or minutes as a duration; any, and a mistake, when it is none."""
    unit = "minutes" if unit_s == 60 else "seconds"
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        notes.mistake(old, f"give {unit} as a number above 0")
        return "1m"
    return format_duration(float(value) * unit_s)


def put_slos(notes: Notes, raw: Raw) -> None:
    """Puts `spec.slos`."""
    section = notes.section(raw, "slo", ("latency", "ttft", "tpot", "steepness"), required=False)
    percentiles = ("p50", "p90", "p95", "p99")
    latency = notes.section(section, "latency", percentiles, "slo.", required=False)
    found = [
        ("e2e_latency", name, latency, f"slo.latency.{name}")
        for name in percentiles
        if name in latency
    ]
    # The first autotuner compared the mean of these two.
    found += [(n, "mean", section, f"slo.{n}") for n in ("ttft", "tpot") if n in section]
    slos: list[dict[str, str]] = []
    dropped = {"steepness"} & section.keys()
    for metric, statistic, holder, old in found:
        limits = ("threshold", "weight", "hard_fail", "fail_ratio")
        outer, _, name = old.rpartition(".")
        limit = notes.section(holder, name, limits, f"{outer}.")
        dropped |= limit.keys() - {"threshold"}
        if "threshold" not in limit:
            notes.warn(old, "is left out: it has no threshold")
            continue
        seconds = duration(notes, limit["threshold"], 1, f"{old}.threshold")
        notes.origin(f"spec.slos[{len(slos)}]", old)
        slos.append({"metric": metric, "statistic": statistic, "limit": seconds})
    notes.put("spec.slos", slos, "slo")
    if slos:
        _warn_of_slos(notes, dropped)


def _warn_of_slos(notes: Notes, dropped: set[str]) -> None:
    rest = f"; {', '.join(sorted(dropped))} left out" if dropped else ""
    notes.warn(
        "slo",
        "a limit was a penalty on the average of all concurrencies; now it must hold at each of "
        f"them, and the threshold is the limit{rest}",
    )
