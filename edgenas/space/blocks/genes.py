"""BlockGenes: the choices made for one block. Each block kind defines its own genes and their text form."""

from __future__ import annotations

import re
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, Self

_INTEGER, _FRACTION = r"([0-9]{1,9})", r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"


def gene(letter: str, *, fraction: bool = False) -> Any:
    """Return the field of a gene whose value follows `letter` in the text form; a `fraction` may have decimals."""
    return field(metadata={"letter": letter, "fraction": fraction})


@dataclass(frozen=True, order=True)
class BlockGenes:
    """The choices for one block, one field a gene.

    Attributes:
        prefix: letters that begin the text form, and tell the block kind from others.
    """

    prefix: ClassVar[str]

    def __str__(self) -> str:
        return self.prefix + "".join(f"{each.metadata['letter']}{self._written(each)}" for each in fields(self))

    def _written(self, each: Field[Any]) -> str:
        value = getattr(self, each.name)
        return f"{value:g}" if each.metadata["fraction"] else str(value)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the genes, in the order of the text form."""
        return tuple(each.name for each in fields(cls))

    @classmethod
    def parse(cls, token: str) -> Self | None:
        """Read a text form back; None if it is of another kind."""
        each_gene = [each.metadata for each in fields(cls)]
        pattern = [each["letter"] + (_FRACTION if each["fraction"] else _INTEGER) for each in each_gene]
        match = re.fullmatch(cls.prefix + "".join(pattern), token)
        return cls(*(plain_number(float(value)) for value in match.groups())) if match else None


def plain_number(value: float) -> float:
    """Return 4 for 4.0, so that equal archs print and hash alike."""
    return int(value) if value == int(value) else value
