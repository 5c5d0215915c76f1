"""BlockGenes: the choices made for one block. Each block kind defines its own genes and their text form."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, Field, dataclass, field, fields
from typing import Any, ClassVar, Self, get_args

from edgenas.space.blocks.spec import Activation

GeneValue = float | str
"""A choice of a gene: a number, or the name of an activation."""
_INTEGER, _FRACTION = r"([0-9]{1,9})", r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_ACTIVATION = f"({'|'.join(sorted(get_args(Activation), key=len, reverse=True))})"


def gene(letter: str, *, fraction: bool = False) -> Any:
    """Return the field of a gene whose value follows `letter` in the text form; a `fraction` may have decimals."""
    return field(metadata={"letter": letter, "pattern": _FRACTION if fraction else _INTEGER})


def optional_gene(letter: str, pattern: str = _FRACTION) -> Any:
    """Return the keyword field of a gene that is None, and absent from the text form, where a stage fixes it."""
    return field(metadata={"letter": letter, "pattern": pattern}, default=None)


@dataclass(frozen=True, order=True)
class BlockGenes:
    """The choices for one block, one field a gene.

    Attributes:
        prefix: letters that begin the text form, and tell the block kind from others.
        activation: name of the activation.
    """

    prefix: ClassVar[str]
    _: KW_ONLY
    activation: Activation | None = optional_gene("", _ACTIVATION)

    def __str__(self) -> str:
        values = [(each.metadata["letter"], getattr(self, each.name)) for each in self._genes()]
        return self.prefix + "".join(f"{letter}{written(value)}" for letter, value in values if value is not None)

    @classmethod
    def _genes(cls) -> list[Field[Any]]:
        """Return the fields in the order of the text form: optional ones last, and of these the activation."""
        return sorted(fields(cls), key=lambda each: (each.kw_only, not each.metadata["letter"]))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the genes, in the order of the text form."""
        return tuple(each.name for each in cls._genes())

    @classmethod
    def parse(cls, token: str) -> Self | None:
        """Read a text form back; None if it is of another kind."""
        parts = [
            f"(?:{each.metadata['letter']}{each.metadata['pattern']}){'?' if each.kw_only else ''}"
            for each in cls._genes()
        ]
        match = re.fullmatch(cls.prefix + "".join(parts), token)
        return cls(**dict(zip(cls.names(), map(_read, match.groups()), strict=True))) if match else None


def _read(text: Any) -> Any:
    is_number = text is not None and text[0].isdigit()
    return plain_number(float(text)) if is_number else text


def written(value: GeneValue) -> str:
    """Return a gene's value as texts and messages show it."""
    return value if isinstance(value, str) else f"{value:.9g}"


def plain_number(value: float) -> float:
    """Return 4 for 4.0, so that equal archs print and hash alike."""
    return int(value) if value == int(value) else value
