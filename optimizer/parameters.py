"""What one flag may be, as a task says it."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from inference_autotuner.optimizer.fields import Bool, Expression, Number, Scalar, TaskModel
from inference_autotuner.optimizer.ranges import Value, check_range, check_values, spell_out


class ParameterSpec(TaskModel):
    """What one flag may be: a list of values, or a range."""

    values: list[Scalar] | None = Field(
        default=None, description="The values to try; numbers are searched as an order."
    )
    min: Number | None = Field(default=None, description="Smallest value of a range.")
    max: Number | None = Field(default=None, description="Largest value of a range.")
    step: Number | None = Field(
        default=None,
        description="Step of a range. Default: 1 for whole numbers, a twentieth of the range else.",
        gt=0,
    )
    log: Bool = Field(
        default=False, description="Double from `min` up to `max` instead of adding a step."
    )
    when: Expression | None = Field(
        default=None,
        description="CEL condition over params; the flag is set only while it is true.",
    )

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.values is None:
            if self.min is None or self.max is None:
                raise ValueError("give either values, or both min and max")
            check_range(self.min, self.max, self.step, is_log=self.log)
        elif self.min is not None or self.max is not None or self.step is not None or self.log:
            raise ValueError("give either values, or min and max (with step or log), not both")
        check_values(self.expanded())
        return self

    def expanded(self) -> list[Value]:
        """Every value that may be tried, in order."""
        if self.values is not None:
            return list(self.values)
        assert self.min is not None
        assert self.max is not None
        return list(spell_out(self.min, self.max, self.step, is_log=self.log))


def _long_parameter(value: Any) -> Any:
    if isinstance(value, list):
        return {"values": value}
    if not isinstance(value, dict | ParameterSpec):
        shown = str(value).lower() if isinstance(value, bool) else value
        example = "[1, 2, 4]" if value is None else f"[{shown}]"
        raise ValueError(f"give a list such as {example}; a fixed flag belongs to engine.args")
    return value


Parameter = Annotated[
    ParameterSpec,
    BeforeValidator(_long_parameter, json_schema_input_type=list[Scalar] | ParameterSpec),
]
