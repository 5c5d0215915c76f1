"""Stage: the choices for one stage of a space. Each block kind defines its own stage, with the choices of its genes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from edgenas.errors import shown
from edgenas.space.blocks.genes import BlockGenes, plain_number
from edgenas.space.blocks.spec import Activation, BlockSpec


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    if list(values) != sorted(set(values)):
        raise ValueError(f"expected distinct choices in ascending order, got {shown(list(values))}")
    return values


def _odd(values: tuple[int, ...]) -> tuple[int, ...]:
    if any(value % 2 == 0 for value in values):
        raise ValueError(f"expected odd kernel sizes, got {shown(list(values))}")
    return values


# The bounds are far beyond any use: a value past them is a slip, and would make a space too large to list.
PositiveInt = Annotated[int, Field(gt=0, le=10_000, strict=True)]
Depth = Annotated[int, Field(gt=0, le=50, strict=True)]
Expand = Annotated[float, Field(ge=1, le=100), AfterValidator(plain_number)]
Choices = Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=50), AfterValidator(_ascending)]
Depths = Annotated[tuple[Depth, ...], Field(min_length=1, max_length=50), AfterValidator(_ascending)]
Kernels = Annotated[Choices, AfterValidator(_odd)]
Expands = Annotated[tuple[Expand, ...], Field(min_length=1, max_length=50), AfterValidator(_ascending)]


class SpacePart(BaseModel):
    """A part of a space's YAML file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Stage(SpacePart, ABC):
    """A stage: its choices, and what is fixed (stride of its first block, activation, options of its block kind).

    A block kind adds a `block` field with its name, and for each of its genes a field of that name with the choices.

    Attributes:
        spec: BlockSpec of the kind.
        genes: genes of the kind.
    """

    spec: ClassVar[type[BlockSpec]]
    genes: ClassVar[type[BlockGenes]]
    width: Choices
    depth: Depths
    stride: PositiveInt
    activation: Activation

    @property
    def positions(self) -> int:
        """Greatest number of blocks of the stage."""
        return self.depth[-1]

    @property
    def gene_choices(self) -> dict[str, tuple[float, ...]]:
        """Choices of each gene of a block, by its name."""
        return {name: getattr(self, name) for name in self.genes.names()}

    @property
    def n_blocks(self) -> int:
        """Number of distinct gene values of one block."""
        return math.prod(map(len, self.gene_choices.values()))

    @property
    @abstractmethod
    def unwritten(self) -> list[Any]:
        """Fixed settings that the text form of an arch does not state, for the digest of `structure_id`."""

    @abstractmethod
    def make_spec(self, before: BlockSpec, width: int, genes: Any, stride: int, name: str) -> BlockSpec:
        """Return the BlockSpec of one block.

        Args:
            before: the block whose output it reads.
            width: output channels.
            genes: its genes, of this kind.
            stride: of the block.
            name: its position, like `stage2.block1`.
        """

    def without_squeeze_excite(self) -> Self:
        """Return the stage without squeeze-excite; unchanged where the kind has none."""
        return self
