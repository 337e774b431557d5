"""Short tasks for tests of the search: only what a test is about is spelled out."""

from typing import Any

from inference_autotuner.optimizer.metrics import Measurement, Metric, Point, Statistic
from inference_autotuner.optimizer.spec import TuningTask


def vllm_task(parameters: dict[str, Any], name: str = "chat", **spec: Any) -> TuningTask:
    """A task for vLLM with these parameters; `spec` replaces further fields."""
    return TuningTask.model_validate(
        {
            "metadata": {"name": name},
            "spec": {
                "model": {"name": "some/model"},
                "engine": {"name": "vllm"},
                "deployment": {"mode": "process"},
                "parameters": parameters,
                "workload": {"scenarios": ["D(100,100)"], "concurrency": [8]},
                **spec,
            },
        }
    )


def measurement(throughput: float = 100.0, latency_s: float = 0.1) -> Measurement:
    """One point at which every rate and every latency has the same value."""
    rates = {metric: throughput for metric in Metric if not metric.is_latency}
    latencies = {m: dict.fromkeys(Statistic, latency_s) for m in Metric if m.is_latency}
    return Measurement((Point("D(100,100)", 8, 200, 0, 10.0, rates, latencies),))
