"""The traffic, as a task says it."""

from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from inference_autotuner.optimizer.fields import Duration, Float, Int, Json, Name, TaskModel
from inference_autotuner.optimizer.scenario import ALLOWED, Scenario, parse_scenario
from inference_autotuner.optimizer.units import parse_duration

POINTS_LIMIT = 24  # a measurement must fit into 8 KiB


class WeightedScenario(TaskModel):
    """A scenario and how much it counts."""

    scenario: str = Field(description="Lengths in genai-bench's form, e.g. `D(1000,200)`.")
    weight: Float = Field(default=1.0, gt=0, le=1e6, description="Its weight in the score.")

    @field_validator("scenario")
    @classmethod
    def _runs(cls, text: str) -> str:
        return parse_scenario(text).text

    @property
    def lengths(self) -> Scenario:
        """The scenario as numbers."""
        return parse_scenario(self.scenario)


def _long_scenario(value: Any) -> Any:
    if not isinstance(value, str | dict | WeightedScenario):
        raise ValueError(f"give a scenario, or {{scenario, weight}}; allowed are {ALLOWED}")
    return {"scenario": value} if isinstance(value, str) else value


class ConcurrencyRange(TaskModel):
    """Bounds of a search for the highest concurrency that holds every SLO."""

    min: Int = Field(default=1, ge=1, le=4096, description="Lowest concurrency.")
    max: Int = Field(default=256, ge=1, le=4096, description="Highest concurrency.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class ConcurrencySearch(TaskModel):
    """Find the highest concurrency that holds every SLO."""

    search: ConcurrencyRange = Field(description="Where to look.")


def _shape(value: Any) -> str | None:
    if isinstance(value, list):
        return "<list>"
    return "<search>" if isinstance(value, dict | ConcurrencySearch) else None


Concurrency = Annotated[
    Annotated[list[Annotated[Int, Field(ge=1, le=4096)]], Tag("<list>")]
    | Annotated[ConcurrencySearch, Tag("<search>")],
    Discriminator(
        _shape,
        custom_error_type="shape",
        custom_error_message="give a list such as [1, 8, 32], or {search: {min: 1, max: 256}}",
    ),
]


class Workload(TaskModel):
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
    concurrency: Concurrency = Field(
        default=[1, 8, 32], description="Requests in flight; every scenario runs at each."
    )
    requests: Int = Field(
        default=200, ge=1, le=1_000_000, description="Requests of one point, at least."
    )
    maxTime: Duration = Field(
        default=parse_duration("5m"),
        description="Longest time of one point; whole minutes, rounded up.",
        gt=0,
    )
    warmupRequests: Int = Field(
        default=20, ge=0, le=100_000, description="Requests sent before anything counts."
    )
    sharedPrefix: Int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Tokens that all prompts begin with alike; without them prefix caching has "
        "nothing to do.",
    )
    maxErrorRate: Float = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="Share of failed requests above which a run is not valid.",
    )
    requestParams: dict[Name, Json] = Field(
        default={}, description="Further fields of each request, such as temperature."
    )

    @field_validator("scenarios")
    @classmethod
    def _distinct(cls, scenarios: list[WeightedScenario]) -> list[WeightedScenario]:
        texts = [s.scenario for s in scenarios]
        if twice := [t for t in texts if texts.count(t) > 1]:
            raise ValueError(f"{twice[0]} is given twice")
        return scenarios

    @field_validator("concurrency")
    @classmethod
    def _once_each(cls, value: list[int] | ConcurrencySearch) -> list[int] | ConcurrencySearch:
        if isinstance(value, list):
            if not value:
                raise ValueError("the list is empty; give at least one")
            if twice := [n for n in value if value.count(n) > 1]:
                raise ValueError(f"{twice[0]} is given twice")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        levels = len(self.concurrency) if isinstance(self.concurrency, list) else 1
        points = len(self.scenarios) * levels
        if points > POINTS_LIMIT:
            raise ValueError(
                f"{points} points (scenarios times concurrency); at most {POINTS_LIMIT}"
            )
        return self
