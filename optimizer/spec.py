"""The tuning task: what a person writes. The one source of JSON Schema, docs and web form."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    field_serializer,
    field_validator,
    model_validator,
)

from inference_autotuner.optimizer.engine import engine_names
from inference_autotuner.optimizer.expressions import check_expression
from inference_autotuner.optimizer.metrics import Direction, Metric, Statistic
from inference_autotuner.optimizer.scenario import Scenario, parse_scenario
from inference_autotuner.optimizer.units import format_duration, parse_duration

API_VERSION = "inference-autotuner/v1alpha1"
VALUES_LIMIT = 1000
POINTS_LIMIT = 24  # a measurement must fit into 8 KiB

Scalar = bool | int | float | str
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d)\s*)+$"}),
]


def _expression(text: str) -> str:
    check_expression(text)
    return text


Expression = Annotated[str, BeforeValidator(lambda v: _expression(v) if isinstance(v, str) else v)]


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, validate_default=True, strict=False
    )


class Metadata(_Model):
    """What the task is called."""

    name: str = Field(
        description="Lower-case letters, digits and dashes; studies and Kubernetes objects are "
        "named after it.",
        pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$",
        max_length=35,
    )
    labels: dict[str, str] = Field(default={}, description="Your own labels, for listings.")


class Model(_Model):
    """The model that is served."""

    name: str = Field(
        description="A path or a hub id; in mode `ome` the name of an OME model. A relative path "
        "starts at the task file.",
        min_length=1,
    )
    tokenizer: str | None = Field(
        default=None,
        description="Tokenizer that genai-bench counts tokens with: a folder or a hub id. Default: "
        "made from the file for GGUF, else the model itself.",
    )
    servedName: str | None = Field(
        default=None,
        description="The model name in requests. Default: the engine's own rule.",
    )


class Engine(_Model):
    """The program that serves the model."""

    name: str = Field(
        description="Which engine.", json_schema_extra=lambda s: s.update(enum=list(engine_names()))
    )
    version: str | None = Field(
        default=None,
        description="Its version. Flags are checked against the catalog where it knows the "
        "version; unset means the catalog's own.",
    )
    runtime: str | None = Field(default=None, description="The OME ServingRuntime (mode `ome`).")
    image: str | None = Field(
        default=None, description="The container image (modes `kubernetes` and `docker`)."
    )
    binary: str | None = Field(
        default=None,
        description="The engine's program (mode `process`). Default: found on PATH.",
    )
    args: dict[str, Scalar | list[Scalar] | dict[str, Any]] = Field(
        default={}, description="Fixed flags, under the engine's own names without dashes."
    )
    env: dict[str, str] = Field(default={}, description="Environment variables of the engine.")

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in engine_names():
            raise ValueError(f"no engine '{name}'; there are {', '.join(engine_names())}")
        return name


class Deployment(_Model):
    """Where the engine runs."""

    mode: Literal["ome", "kubernetes", "docker", "process"] = Field(
        description="OME InferenceService, plain Kubernetes Deployment, Docker container, or a "
        "process on this machine."
    )
    namespace: str = Field(default="default", description="Kubernetes namespace.")
    gpus: int | Expression | None = Field(
        default=None,
        description="GPUs of one trial: a number, or a CEL expression over params. Default: what "
        "the engine's parallelism flags say.",
    )
    readyTimeout: Duration = Field(
        default="30m",
        description="How long an engine may take until it serves a completion.",
        gt=0,
    )


class ParameterSpec(_Model):
    """What one flag may be: a list of values, or a range."""

    values: list[Scalar] | None = Field(
        default=None, description="The values to try; numbers are searched as an order."
    )
    min: int | float | None = Field(default=None, description="Smallest value of a range.")
    max: int | float | None = Field(default=None, description="Largest value of a range.")
    step: int | float | None = Field(
        default=None,
        description="Step of a range. Default: 1 for whole numbers, a twentieth of the range else.",
        gt=0,
    )
    log: bool = Field(
        default=False, description="Double from `min` up to `max` instead of adding a step."
    )
    when: Expression | None = Field(
        default=None,
        description="CEL condition over params; the flag is set only while it is true.",
    )

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.values is None) == (self.min is None and self.max is None):
            raise ValueError("give either values, or min and max")
        if self.values is None:
            self._check_range()
        self._check_values(self.expanded())
        return self

    def _check_range(self) -> None:
        if self.min is None or self.max is None:
            raise ValueError("a range needs both min and max")
        if not (math.isfinite(self.min) and math.isfinite(self.max)):
            raise ValueError("min and max must be finite")
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        if self.log and (self.min <= 0 or self.step is not None):
            raise ValueError("a log range doubles from min: min must be above 0, and no step")
        if not self.log and (self.max - self.min) / self._step() > VALUES_LIMIT:
            raise ValueError(f"more than {VALUES_LIMIT} values; choose a larger step")

    def _check_values(self, values: list[Scalar]) -> None:
        if not values:
            raise ValueError("the list of values is empty; give at least one")
        if len(values) > VALUES_LIMIT:
            raise ValueError(f"more than {VALUES_LIMIT} values")
        if any(isinstance(v, float) and not math.isfinite(v) for v in values):
            raise ValueError("values must be finite")
        if len({(type(v) is bool, v) for v in values}) < len(values):
            raise ValueError("a value is given twice")

    def _step(self) -> float:
        assert self.min is not None
        assert self.max is not None
        if self.step is not None:
            return self.step
        whole = isinstance(self.min, int) and isinstance(self.max, int)
        return 1 if whole else (self.max - self.min) / 20 or 1

    def expanded(self) -> list[Scalar]:
        """Every value that may be tried, in order."""
        if self.values is not None:
            return list(self.values)
        assert self.min is not None
        assert self.max is not None
        if self.log:
            doublings = int(math.log2(self.max / self.min) + 1e-9) + 1
            return [self.min * 2**n for n in range(doublings)]
        step = self._step()
        count = int((self.max - self.min) / step + 1e-9) + 1
        return [_tidy(self.min + n * step) for n in range(count)]


def _tidy(value: float) -> int | float:
    """0.1 + 2 * 0.1 is 0.3 to a person."""
    return value if isinstance(value, int) else float(f"{value:.12g}")


def _long_parameter(value: Any) -> Any:
    if isinstance(value, bool | int | float | str):
        raise ValueError(f"write a list such as [{value}]; a fixed flag belongs to engine.args")
    return {"values": value} if isinstance(value, list) else value


Parameter = Annotated[
    ParameterSpec,
    BeforeValidator(_long_parameter, json_schema_input_type=list[Scalar] | ParameterSpec),
]


class WeightedScenario(_Model):
    """A scenario and how much it counts."""

    scenario: str = Field(description="Lengths in genai-bench's form, e.g. `D(1000,200)`.")
    weight: float = Field(default=1.0, gt=0, description="Its weight in the score.")

    @field_validator("scenario")
    @classmethod
    def _runs(cls, text: str) -> str:
        return parse_scenario(text).text

    @property
    def lengths(self) -> Scenario:
        """The scenario as numbers."""
        return parse_scenario(self.scenario)


def _long_scenario(value: Any) -> Any:
    return {"scenario": value} if isinstance(value, str) else value


class ConcurrencyRange(_Model):
    """Bounds of a search for the highest concurrency that holds every SLO."""

    min: int = Field(default=1, ge=1, description="Lowest concurrency.")
    max: int = Field(default=256, ge=1, description="Highest concurrency.")


class ConcurrencySearch(_Model):
    """Find the highest concurrency that holds every SLO."""

    search: ConcurrencyRange = Field(description="Where to look.")


class Workload(_Model):
    """The traffic."""

    scenarios: list[
        Annotated[
            WeightedScenario,
            BeforeValidator(_long_scenario, json_schema_input_type=str | WeightedScenario),
        ]
    ] = Field(
        description="Lengths of prompts and outputs, each a text or {scenario, weight}.",
        min_length=1,
    )
    concurrency: list[Annotated[int, Field(ge=1, le=4096)]] | ConcurrencySearch = Field(
        default=[1, 8, 32], description="Requests in flight; every scenario runs at each."
    )
    requests: int = Field(default=200, ge=1, description="Requests of one point, at least.")
    maxTime: Duration = Field(
        default="5m", description="Longest time of one point; whole minutes, rounded up.", gt=0
    )
    warmupRequests: int = Field(
        default=20, ge=0, description="Requests sent before anything counts."
    )
    sharedPrefix: int = Field(
        default=0,
        ge=0,
        description="Tokens that all prompts begin with alike; without them prefix caching has "
        "nothing to do.",
    )
    maxErrorRate: float = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="Share of failed requests above which a run is not valid.",
    )
    requestParams: dict[str, Any] = Field(
        default={}, description="Further fields of each request, such as temperature."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if isinstance(self.concurrency, list):
            if not self.concurrency:
                raise ValueError("concurrency: the list is empty; give at least one")
            if len(set(self.concurrency)) < len(self.concurrency):
                raise ValueError("concurrency: a value is given twice")
            points = len(self.scenarios) * len(self.concurrency)
            if points > POINTS_LIMIT:
                raise ValueError(
                    f"{points} points (scenarios x concurrency); at most {POINTS_LIMIT}"
                )
        texts = [s.scenario for s in self.scenarios]
        if len(set(texts)) < len(texts):
            raise ValueError("scenarios: one is given twice")
        return self


class Objective(_Model):
    """A number to maximize or minimize among trials that hold every SLO."""

    metric: Metric = Field(description="What is measured.")
    statistic: Statistic | None = Field(
        default=None, description="Only for latencies. Default: mean."
    )
    direction: Direction | None = Field(
        default=None, description="Default: the one in which the metric is better."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.statistic is not None and not self.metric.is_latency:
            raise ValueError(f"{self.metric} is a rate over the whole run; it takes no statistic")
        if self.direction is not None and self.direction != self.metric.direction:
            raise ValueError(f"{self.metric} is better when you {self.metric.direction} it")
        return self


class Slo(_Model):
    """A limit that must hold at every point."""

    metric: Metric = Field(description="What is limited.")
    statistic: Statistic | None = Field(
        default=None, description="For latencies; p99 unless said otherwise."
    )
    limit: Annotated[float, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]})] = (
        Field(
            description="Latencies: a duration such as `500ms`, not to be exceeded. Rates: a number "
            "to be reached.",
            gt=0,
        )
    )

    @model_validator(mode="before")
    @classmethod
    def _with_unit(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or "metric" not in raw or "limit" not in raw:
            return raw
        if raw["metric"] not in list(Metric):
            return raw
        if Metric(raw["metric"]).is_latency:
            return {"statistic": Statistic.P99, **raw, "limit": parse_duration(raw["limit"])}
        if isinstance(raw["limit"], str):
            unit = Metric(raw["metric"]).unit
            raise ValueError(f"limit: {raw['metric']} is a plain number of {unit}, without a unit")
        return raw

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.statistic is not None and not self.metric.is_latency:
            raise ValueError(f"{self.metric} is a rate over the whole run; it takes no statistic")
        return self

    @field_serializer("limit")
    def _limit_with_unit(self, limit: float) -> float | str:
        return format_duration(limit) if self.metric.is_latency else limit

    @property
    def title(self) -> str:
        """How the SLO is named in listings: `ttft p99`."""
        return f"{self.metric} {self.statistic}" if self.statistic else str(self.metric)

    def violation(self, value: float) -> float:
        """How far `value` misses the limit, relative; zero or less when the SLO holds.

        >>> Slo(metric="ttft", limit="200ms").violation(0.3)
        0.5
        """
        if self.metric.direction is Direction.MINIMIZE:
            return value / self.limit - 1
        return self.limit / value - 1 if value > 0 else math.inf


class Baseline(_Model):
    """The params that every winner is compared with."""

    params: dict[str, Scalar] = Field(
        description="Flags as in production; a flag that is not named keeps the engine's default."
    )


class Search(_Model):
    """How params are chosen."""

    sampler: Literal["auto", "tpe", "grid", "random"] = Field(
        default="tpe",
        description="`auto`: grid when everything fits into the budget, else tpe.",
    )
    seed: int = Field(default=0, ge=0, description="Makes proposals repeatable.")
    baseline: Literal[True] | Baseline = Field(
        default=True, description="`true`: the engine's defaults; or {params} as in production."
    )


class Budget(_Model):
    """What the search may cost. The confirm and undo trials come on top of `trials`."""

    trials: int = Field(default=30, ge=1, le=300, description="Explored params, baseline included.")
    parallel: int = Field(default=1, ge=1, le=64, description="Trials at a time.")
    gpuHours: float | None = Field(
        default=None, gt=0, description="GPU-hours; starting, failing and idling count."
    )
    wallTime: Duration | None = Field(default=None, description="Time since the study began.")
    patience: int | None = Field(
        default=None, ge=1, description="Stop after so many trials without a better one."
    )
    retries: int = Field(
        default=2,
        ge=0,
        le=10,
        description="How often params are tried again after the world broke.",
    )


class Confirm(_Model):
    """How the answer is made sure of."""

    finalists: int = Field(default=3, ge=1, le=10, description="How many are measured again.")
    repeats: int = Field(
        default=3, ge=0, le=20, description="Fresh servers for each of them; 0 skips the proof."
    )


class Publish(_Model):
    """Where the answer goes in Git."""

    branch: str = Field(default="autotuner/results", description="Branch of the results.")
    path: str = Field(default="results", description="Folder on that branch.")


class Spec(_Model):
    """What is tuned, with what, for which traffic."""

    description: str = Field(default="", description="One line for people.")
    model: Model = Field(description="The model that is served.")
    engine: Engine = Field(description="The program that serves it.")
    deployment: Deployment = Field(description="Where it runs.")
    parameters: dict[str, Parameter] = Field(
        description="Flags that may change: a list of values, or {values|min,max,step,log, when}.",
        min_length=1,
    )
    constraints: list[Expression] = Field(
        default=[], description="CEL conditions over params that hold before anything starts."
    )
    workload: Workload = Field(description="The traffic.")
    objectives: list[Objective] = Field(
        default=[Objective(metric=Metric.OUTPUT_THROUGHPUT)],
        description="What to maximize or minimize; the first decides, the others are drawn.",
        min_length=1,
    )
    slos: list[Slo] = Field(default=[], description="Limits that must hold.")
    search: Search = Field(default=Search(), description="How params are chosen.")
    budget: Budget = Field(default=Budget(), description="What it may cost.")
    confirm: Confirm = Field(default=Confirm(), description="How the answer is made sure of.")
    publish: Publish = Field(default=Publish(), description="Where the answer goes in Git.")

    @field_validator("objectives", "slos")
    @classmethod
    def _no_twins(cls, items: list[Any]) -> list[Any]:
        if len({(i.metric, i.statistic) for i in items}) < len(items):
            raise ValueError("the same metric and statistic is given twice")
        return items


class TuningTask(_Model):
    """A tuning task: model, engine, flags that may change, traffic, limits."""

    apiVersion: Literal["inference-autotuner/v1alpha1"] = Field(
        default=API_VERSION, description="Version of this format."
    )
    kind: Literal["TuningTask"] = Field(default="TuningTask", description="Always TuningTask.")
    metadata: Metadata = Field(description="What the task is called.")
    spec: Spec = Field(description="What is tuned.")
