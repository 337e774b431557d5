"""A trial as a value: one set of params, served and measured once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from inference_autotuner.optimizer.errors import Reason
from inference_autotuner.optimizer.metrics import Measurement

Value = bool | int | float | str
Params = Mapping[str, Value]


class TrialKind(StrEnum):
    """What a trial is for."""

    BASELINE = "baseline"
    """Trial 0: what a winner must beat."""
    EXPLORE = "explore"
    """Proposed by the sampler."""
    CONFIRM = "confirm"
    """A finalist or the baseline, measured again on a fresh server."""
    UNDO = "undo"
    """The winner with flags put back to the baseline."""


class TrialState(StrEnum):
    """Where a trial is, or how it ended."""

    RUNNING = "running"
    MEASURED = "measured"
    INFEASIBLE = "infeasible"
    FAILED = "failed"


@dataclass(frozen=True)
class Trial:
    """One set of params, served and measured once.

    Attributes:
        number: Position in the study, from 0.
        kind: What it is for.
        params: Flags that differ from the engine's defaults and the task's fixed args.
        state: Where it is, or how it ended.
        key: The idempotency key it was asked with.
        values: One number for each objective; empty unless measured.
        violations: For each SLO by title, the relative excess; zero or less holds.
        measurement: What the benchmark saw; None unless measured.
        reason: Why there is no score; None when there is one.
        message: One sentence for a person.
        attempt: How often it was started, from 1.
        spans: Seconds by step, all attempts together: `queue` (waiting for GPUs), `deploy`,
            `idle` (a server that is up and not measured), `benchmark`.
        gpus: GPUs it holds while it is deployed.
        started_s: Unix time at which it was asked for.
        held_since_s: Unix time since which GPUs are held that no span counts yet; None: none are.
        ended_s: Unix time at which it was told; None while it runs.
        engine_args: The exact command line of the engine, without the program.
        resolved: What the engine itself said of its configuration.
        log_tail: The end of the engine's log.
    """

    number: int
    kind: TrialKind
    params: Params
    state: TrialState
    key: str = ""
    values: tuple[float, ...] = ()
    violations: Mapping[str, float] = field(default_factory=dict)
    measurement: Measurement | None = None
    reason: Reason | None = None
    message: str = ""
    attempt: int = 1
    spans: Mapping[str, float] = field(default_factory=dict)
    gpus: int = 0
    started_s: float = 0.0
    held_since_s: float | None = None
    ended_s: float | None = None
    engine_args: tuple[str, ...] = ()
    resolved: Mapping[str, Any] = field(default_factory=dict)
    log_tail: str = ""

    @property
    def name(self) -> str:
        """What Kubernetes objects, folders and log lines are named after: `t-0017`."""
        return f"t-{self.number:04d}"

    @property
    def holds_slos(self) -> bool:
        """Whether it was measured and every SLO holds."""
        return self.state is TrialState.MEASURED and all(v <= 0 for v in self.violations.values())

    @property
    def gpu_seconds(self) -> float:
        """GPU-seconds it cost: starting, failing and idling counted, waiting for room not."""
        return self.gpus * sum(s for step, s in self.spans.items() if step != "queue")


@dataclass(frozen=True)
class Measured:
    """A trial's end: there is a measurement."""

    measurement: Measurement


@dataclass(frozen=True)
class Infeasible:
    """A trial's end: the engine cannot run these params."""

    reason: Reason
    message: str
    log_tail: str = ""


@dataclass(frozen=True)
class Failed:
    """A trial's end: the world broke; nothing is known about the params."""

    reason: Reason
    message: str
    log_tail: str = ""


TrialResult = Measured | Infeasible | Failed


def describe_params(params: Params, baseline: Params) -> str:
    """The difference from the baseline in one line.

    >>> describe_params({"threads": 2, "flash-attn": "on"}, {"threads": 1})
    'threads=2 flash-attn=on'
    >>> describe_params({}, {})
    '(baseline)'
    """
    changed = [f"{k}={spell(v)}" for k, v in params.items() if baseline.get(k) != v]
    dropped = [f"{k}=(default)" for k in baseline if k not in params]
    return " ".join(changed + dropped) or "(baseline)"


def spell(value: Value) -> str:
    """A value as people write it in YAML."""
    return str(value).lower() if isinstance(value, bool) else str(value)
