"""The tuning task: what a person writes. The one source of JSON Schema, docs and web form."""

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from inference_autotuner.optimizer.engine import engine_names
from inference_autotuner.optimizer.fields import (
    Argument,
    Duration,
    Expression,
    FlagName,
    Float,
    Folder,
    Int,
    Name,
    TaskModel,
    Text,
    VariableName,
    Word,
    expression,
)
from inference_autotuner.optimizer.fields import Scalar as Scalar
from inference_autotuner.optimizer.goals import Objective as Objective
from inference_autotuner.optimizer.goals import Slo as Slo
from inference_autotuner.optimizer.metrics import Metric
from inference_autotuner.optimizer.parameters import Parameter as Parameter
from inference_autotuner.optimizer.parameters import ParameterSpec as ParameterSpec
from inference_autotuner.optimizer.units import parse_duration
from inference_autotuner.optimizer.workload import POINTS_LIMIT as POINTS_LIMIT
from inference_autotuner.optimizer.workload import ConcurrencyRange as ConcurrencyRange
from inference_autotuner.optimizer.workload import ConcurrencySearch as ConcurrencySearch
from inference_autotuner.optimizer.workload import WeightedScenario as WeightedScenario
from inference_autotuner.optimizer.workload import Workload as Workload

API_VERSION: Literal["inference-autotuner/v1alpha1"] = "inference-autotuner/v1alpha1"
_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


class Metadata(TaskModel):
    """What the task is called."""

    name: str = Field(
        description="Lower-case letters, digits and dashes, a letter first; studies and "
        "Kubernetes objects are named after it.",
        pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$",
        max_length=35,
    )
    labels: dict[Name, Text] = Field(default={}, description="Your own labels, for listings.")


class Model(TaskModel):
    """The model that is served."""

    name: Word = Field(
        description="A path or a hub id; in mode `ome` the name of an OME model. A relative path "
        "starts at the task file.",
    )
    tokenizer: Word | None = Field(
        default=None,
        description="Tokenizer that genai-bench counts tokens with: a folder or a hub id. Default: "
        "made from the file for GGUF, else the model itself.",
    )
    servedName: Word | None = Field(
        default=None,
        description="The model name in requests. Default: the engine's own rule.",
    )


class Engine(TaskModel):
    """The program that serves the model."""

    name: str = Field(
        description="Which engine.", json_schema_extra=lambda s: s.update(enum=list(engine_names()))
    )
    version: Word | None = Field(
        default=None,
        description="Its version. Flags are checked against the catalog where it knows the "
        "version; unset means the catalog's own.",
    )
    runtime: Word | None = Field(default=None, description="The OME ServingRuntime (mode `ome`).")
    image: Word | None = Field(
        default=None, description="The container image (modes `kubernetes` and `docker`)."
    )
    binary: Word | None = Field(
        default=None,
        description="The engine's program (mode `process`). Default: found on PATH.",
    )
    args: dict[FlagName, Argument] = Field(
        default={}, description="Fixed flags, under the engine's own names without dashes."
    )
    env: dict[VariableName, Text] = Field(
        default={}, description="Environment variables of the engine."
    )

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in engine_names():
            words = ", ".join(f"'{known}'" for known in engine_names())
            raise PydanticCustomError("enum", "there are {expected}", {"expected": words})
        return name


def _gpu_count(value: Any) -> Any:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 4096
    if not (value is None or isinstance(value, str) or is_count):
        raise ValueError('give a whole number, or an expression such as params["tp-size"]')
    return expression(value) if isinstance(value, str) else value


GpuCount = Annotated[
    int | str | None,
    BeforeValidator(_gpu_count),
    WithJsonSchema({"type": ["integer", "string", "null"], "minimum": 0, "maximum": 4096}),
]


class Deployment(TaskModel):
    """Where the engine runs."""

    mode: Literal["ome", "kubernetes", "docker", "process"] = Field(
        description="OME InferenceService, plain Kubernetes Deployment, Docker container, or a "
        "process on this machine."
    )
    namespace: str = Field(
        default="default", description="Kubernetes namespace.", pattern=_LABEL, max_length=63
    )
    gpus: GpuCount = Field(
        default=None,
        description="GPUs of one trial: a number, or a CEL expression over params. Default: what "
        "the engine's parallelism flags say.",
    )
    readyTimeout: Duration = Field(
        default=parse_duration("30m"),
        description="How long an engine may take until it serves a completion.",
        gt=0,
    )


class Baseline(TaskModel):
    """The params that every winner is compared with."""

    params: dict[FlagName, Scalar] = Field(
        description="Flags as in production; a flag that is not named keeps the engine's default."
    )


def _kind_of_baseline(value: Any) -> str | None:
    if isinstance(value, dict | Baseline):
        return "<params>"
    return "<true>" if value is True else None


AnyBaseline = Annotated[
    Annotated[Literal[True], Tag("<true>")] | Annotated[Baseline, Tag("<params>")],
    Discriminator(
        _kind_of_baseline,
        custom_error_type="shape",
        custom_error_message="give true (the engine's defaults), or {params: ...} as in "
        "production; there is always a baseline, for it is what a winner must beat",
    ),
]


class Search(TaskModel):
    """How params are chosen."""

    sampler: Literal["auto", "tpe", "grid", "random"] = Field(
        default="tpe",
        description="`auto`: grid when everything fits into the budget, else tpe.",
    )
    seed: Int = Field(default=0, ge=0, lt=2**32, description="Makes proposals repeatable.")
    baseline: AnyBaseline = Field(
        default=True, description="`true`: the engine's defaults; or {params} as in production."
    )


class Budget(TaskModel):
    """What the search may cost. The confirm and undo trials come on top of `trials`."""

    trials: Int = Field(default=30, ge=1, le=300, description="Explored params, baseline included.")
    parallel: Int = Field(default=1, ge=1, le=64, description="Trials at a time.")
    gpuHours: Float | None = Field(
        default=None, gt=0, description="GPU-hours; starting, failing and idling count."
    )
    wallTime: Duration | None = Field(default=None, gt=0, description="Time since the study began.")
    patience: Int | None = Field(
        default=None, ge=1, description="Stop after so many trials without a better one."
    )
    retries: Int = Field(
        default=2,
        ge=0,
        le=10,
        description="How often params are tried again after the world broke.",
    )


class Confirm(TaskModel):
    """How the answer is made sure of."""

    finalists: Int = Field(default=3, ge=1, le=10, description="How many are measured again.")
    repeats: Int = Field(
        default=3, ge=0, le=20, description="Fresh servers for each of them; 0 skips the proof."
    )


class Publish(TaskModel):
    """Where the answer goes in Git."""

    branch: Word = Field(default="autotuner/results", description="Branch of the results.")
    path: Folder = Field(default="results", description="Folder on that branch.")


class Spec(TaskModel):
    """What is tuned, with what, for which traffic."""

    description: Text = Field(default="", description="One line for people.")
    model: Model = Field(description="The model that is served.")
    engine: Engine = Field(description="The program that serves it.")
    deployment: Deployment = Field(description="Where it runs.")
    parameters: dict[FlagName, Parameter] = Field(
        description="Flags that may change: a list of values, or a mapping with `values`, or with "
        "`min` and `max`.",
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


class TuningTask(TaskModel):
    """A tuning task: model, engine, flags that may change, traffic, limits."""

    apiVersion: Literal["inference-autotuner/v1alpha1"] = Field(
        default=API_VERSION, description="Version of this format."
    )
    kind: Literal["TuningTask"] = Field(default="TuningTask", description="Always TuningTask.")
    metadata: Metadata = Field(description="What the task is called.")
    spec: Spec = Field(description="What is tuned.")
