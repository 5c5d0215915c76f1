"""The base of the sections of a config."""

from __future__ import annotations

from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationInfo,
    field_validator,
)

from edgenas.errors import refuse_grouped_digits


class Section(BaseModel):
    """A frozen section, which refuses unknown keys, and true or false for a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # Python would read true as 1.
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation not in (bool, bool | None):
            raise ValueError(f"expected a value other than true or false, got {str(value).lower()}")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_digits(cls, value: Any, info: ValidationInfo) -> Any:
        return refuse_grouped_digits(value, cls.model_fields[str(info.field_name)].annotation)
