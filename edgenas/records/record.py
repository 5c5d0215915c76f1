"""The base of all records: how one is checked when it is read, and how it is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    ValidationInfo,
)

from edgenas.errors import RunFolderError, explained, shown
from edgenas.files import read_json, write_json
from edgenas.space.arch import Arch, parse_arch

Verdict = Literal["within", "not significant", "over"]
"""Whether a measured latency is within its limit, from best to worst."""


class ArchParser(Protocol):
    """Reads the text of an architecture and refuses others: a search space, or the spaces of a run."""

    def parse(self, text: str) -> Arch:
        """Return the architecture that a text states.

        Raises:
            SpaceError: the text is malformed, or its architecture is another.
        """


def _arch(value: object, info: ValidationInfo) -> Arch:
    if isinstance(value, Arch):
        return value
    if not isinstance(value, str):
        raise ValueError(f"expected an architecture's text, got {shown(value)}")
    space: ArchParser | None = info.context
    return parse_arch(value) if space is None else space.parse(value)


ArchText = Annotated[Arch, PlainValidator(_arch), PlainSerializer(lambda arch: arch.id, return_type=str)]
"""An architecture, as its text in the file. A reader that gives spaces accepts only architectures of these."""
Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Microseconds = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Interval = tuple[float, float]
"""Lower and upper end."""
InsideRun = Annotated[str, Field(pattern=r"^[a-z]+(/[\w-]+)*(\.onnx)?$")]
"""A path relative to the run folder; one that leads out of the folder is refused."""


class Record(BaseModel):
    """The content of one file, or of one row of a file. Values are checked, and unknown keys are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, value: object, origin: str, remedy: str, space: ArchParser | None = None) -> Self:
        """Return the record that JSON values stand for.

        Args:
            value: parsed JSON.
            origin: the file, and the row where it has several, for messages.
            remedy: remedy for a wrong value, as an imperative clause.
            space: the search space, or the spaces, that every architecture must belong to; None to accept any.

        Raises:
            RunFolderError: a value is missing or wrong.
        """
        try:
            # In JSON mode lists become tuples, and numbers and texts keep their types.
            return cls.model_validate_json(json.dumps(value), context=space)
        except ValidationError as error:
            raise RunFolderError(f"{origin}: {explained(error.errors())}: {remedy}") from None

    @classmethod
    def read(cls, path: Path, remedy: str, space: ArchParser | None = None) -> Self:
        """Read a record from its JSON file; see `parse`.

        Raises:
            RunFolderError: a value is missing or wrong.
            UserError: the file is missing, broken or of a newer schema.
        """
        return cls.parse(read_json(path, remedy), str(path), f"delete it and {remedy}", space)

    @classmethod
    def part_of(cls, other: object) -> Self:
        """Return the record of the values that a record or a data class has under the same names."""
        return cls(**{name: getattr(other, name) for name in cls.model_fields})

    def write(self, path: Path) -> None:
        """Write the record as a JSON file, atomically."""
        write_json(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return self.model_dump(mode="json")
