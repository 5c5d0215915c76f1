"""Stage: the choices for one stage of a space. Each block kind defines its own stage, with the choices of its genes.

A gene's choices are one list for all blocks of a stage, `kernel: [3, 5]`, or a list for each position up to the
greatest depth, `kernel: [[5, 7], [3, 5], [3]]`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from edgenas.errors import shown
from edgenas.space.blocks.genes import BlockGenes, GeneValue, plain_number
from edgenas.space.blocks.spec import Activation, BlockSpec

LARGEST_KERNEL = 31


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    if list(values) != sorted(set(values)):
        raise ValueError(f"expected distinct choices in ascending order, got {shown(list(values))}")
    return values


def _odd(values: tuple[int, ...]) -> tuple[int, ...]:
    if any((value % 2 == 0 and value > 0) or value > LARGEST_KERNEL for value in values):
        raise ValueError(f"expected odd kernel sizes up to {LARGEST_KERNEL}, got {shown(list(values))}")
    return values


# The bounds are far beyond any use: a value past them is a slip, and would make a space too large to list.
PositiveInt = Annotated[int, Field(gt=0, le=10_000, strict=True)]
OptionalInt = Annotated[int, Field(ge=0, le=10_000, strict=True)]
Depth = Annotated[int, Field(gt=0, le=50, strict=True)]
Expand = Annotated[float, Field(ge=1, le=100, strict=True), AfterValidator(plain_number)]
Choices = Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=50), AfterValidator(_ascending)]
Depths = Annotated[tuple[Depth, ...], Field(min_length=1, max_length=50), AfterValidator(_ascending)]


def are_lists(value: Any) -> bool:
    """Return whether choices are a list for each position, instead of one for all."""
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(each, list | tuple) for each in value)


def _for_each_position(one: Any) -> Callable[[Any], Any]:
    """Return the validator of choices for all positions or for each; `one` is the type of the choices of a position."""
    validate = TypeAdapter(one).validate_python

    def choices(value: Any) -> Any:
        if not are_lists(value):
            return validate(value)
        # Of equal choices there is one form, so that equal spaces are equal values.
        by_position = tuple(map(validate, value))
        return by_position if len(set(by_position)) > 1 else by_position[0]

    return choices


_AS_IS = PlainSerializer(lambda choices: choices)
Kernels = Annotated[
    tuple[int, ...] | tuple[tuple[int, ...], ...],
    PlainValidator(_for_each_position(Annotated[Choices, AfterValidator(_odd)])),
    _AS_IS,
]
OptionalSizes = Annotated[tuple[OptionalInt, ...], Field(min_length=1, max_length=50), AfterValidator(_ascending)]
OptionalKernels = Annotated[
    tuple[int, ...] | tuple[tuple[int, ...], ...],
    PlainValidator(_for_each_position(Annotated[OptionalSizes, AfterValidator(_odd)])),
    _AS_IS,
]
"""Kernel sizes of a convolution that 0 leaves out."""
_Ratios = Annotated[tuple[Expand, ...], Field(min_length=1, max_length=50), AfterValidator(_ascending)]
Expands = Annotated[
    tuple[float, ...] | tuple[tuple[float, ...], ...], PlainValidator(_for_each_position(_Ratios)), _AS_IS
]


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"expected distinct choices, got {shown(list(values))}")
    return values


def _ratio(value: Any) -> bool | float:
    try:
        return TypeAdapter[bool | float](bool | _Ratio).validate_python(value)
    except ValidationError:
        raise ValueError(
            f"expected true, false, a share from 0 to 1, or a list of shares in ascending order, got {shown(value)}"
        ) from None


def _fixed_or_choices(fixed: Any, choices: Any) -> PlainValidator:
    """Return the validator of a setting that a stage fixes, or leaves to its blocks as a list of choices."""
    validate, validate_list = TypeAdapter(fixed).validate_python, TypeAdapter(choices).validate_python
    return PlainValidator(lambda value: validate_list(value) if isinstance(value, list | tuple) else validate(value))


_ActivationList = Annotated[tuple[Activation, ...], Field(min_length=1), AfterValidator(_distinct)]
Activations = Annotated[Activation | tuple[Activation, ...], _fixed_or_choices(Activation, _ActivationList), _AS_IS]
"""An activation, or a list of choices whose last counts as the largest."""
_Ratio = Annotated[float, Field(ge=0, le=1, strict=True), AfterValidator(plain_number)]
_RatioList = Annotated[tuple[_Ratio, ...], Field(min_length=1), AfterValidator(_ascending)]
SqueezeRatios = Annotated[
    bool | float | tuple[float, ...], _fixed_or_choices(Annotated[Any, AfterValidator(_ratio)], _RatioList), _AS_IS
]
"""Squeezed channels as a share of others, 0 for no squeeze-excite; true and false are a quarter and none."""


class SpacePart(BaseModel):
    """A part of a space's YAML file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Stage(SpacePart, ABC):
    """A stage: its choices, and what is fixed (stride of its first block, activation, options of its block kind).

    A block kind adds a `block` field with its name, and for each of its genes a field of that name with the choices,
    for all positions or for each.

    Attributes:
        spec: BlockSpec of the kind.
        genes: genes of the kind.
        kernels: names of the genes that are kernel sizes.
        joint: names of genes none of which changes the sizes that another needs in a supernet.
    """

    spec: ClassVar[type[BlockSpec]]
    genes: ClassVar[type[BlockGenes]]
    kernels: ClassVar[tuple[str, ...]] = ("kernel",)
    joint: ClassVar[tuple[str, ...]] = ()
    width: Choices
    depth: Depths
    stride: PositiveInt
    activation: Activations

    @property
    def positions(self) -> int:
        """Greatest number of blocks of the stage."""
        return self.depth[-1]

    @model_validator(mode="before")
    @classmethod
    def _one_list_for_each_position(cls, value: Any) -> Any:
        """Refuse another number of lists than there are positions, before equal lists become one."""
        depth = value.get("depth") if isinstance(value, Mapping) else None
        positions = depth[-1] if isinstance(depth, list | tuple) and depth else None
        for name in cls.genes.names() if isinstance(positions, int) else ():
            choices = value.get(name)
            if are_lists(choices) and len(choices) != positions:
                raise ValueError(
                    f"{name}: expected one list for all blocks, or {positions} lists, one for each block up to the "
                    f"greatest depth, got {len(choices)}"
                )
        return value

    @property
    def gene_names(self) -> tuple[str, ...]:
        """Names of the genes of the stage's blocks: those of the kind that the stage doesn't fix."""
        return tuple(name for name in self.genes.names() if isinstance(getattr(self, name, None), tuple))

    def make_genes(self, values: Iterable[GeneValue]) -> BlockGenes:
        """Return a block's genes; the values are in the order of `gene_names`."""
        named: dict[str, Any] = dict(zip(self.gene_names, values, strict=True))
        return self.genes(**named)

    def fixed(self, name: str) -> Any:
        """Return the values that the stage fixes, for `unwritten`; "gene" where its blocks have a choice."""
        return "gene" if name in self.gene_names else getattr(self, name)

    @property
    def gene_choices(self) -> tuple[dict[str, tuple[GeneValue, ...]], ...]:
        """Choices of each gene of a block, by its name; for each position."""
        genes = {name: getattr(self, name) for name in self.gene_names}
        return tuple(
            {name: values[position] if are_lists(values) else values for name, values in genes.items()}
            for position in range(self.positions)
        )

    def choice_lists(self, name: str) -> tuple[tuple[GeneValue, ...], ...]:
        """Return the choices of a gene, of the depth or of the width: one list, or one for each position.

        Where the kind lacks the gene, or the stage fixes it, the list is empty.
        """
        choices = getattr(self, name, ())
        choices = choices if isinstance(choices, tuple) else ()
        return choices if are_lists(choices) else (tuple(choices),)

    def with_choices(self, name: str, lists: Sequence[Sequence[GeneValue]]) -> Self:
        """Return the stage with other choices, see `choice_lists`; those of positions past the depth are dropped."""
        value = self.model_dump() | {name: lists if len(lists) > 1 else lists[0]}
        for gene in self.gene_names:
            if are_lists(value[gene]):
                value[gene] = value[gene][: max(value["depth"])]
        return type(self).model_validate(value)

    @property
    def n_blocks(self) -> tuple[int, ...]:
        """Number of distinct gene values of the block at each position."""
        return tuple(math.prod(map(len, choices.values())) for choices in self.gene_choices)

    @property
    def size(self) -> int:
        """Number of distinct widths, depths and blocks."""
        return len(self.width) * sum(math.prod(self.n_blocks[:depth]) for depth in self.depth)

    @property
    def unwritten(self) -> list[Any]:
        """Fixed settings that the text form of an arch does not state, for the digest of `structure_id`.

        These are stride and activation; a kind with more of them adds them.
        """
        return [self.stride, self.fixed("activation")]

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

    def without_kernel(self, size: int) -> Self | None:
        """Return the stage without a kernel size; None where it has no other."""
        stage = self
        for gene in self.kernels:
            left = [tuple(kernel for kernel in kernels if kernel != size) for kernels in stage.choice_lists(gene)]
            if not all(left):
                return None
            stage = stage.with_choices(gene, left)
        return stage

    def without_average_pool(self) -> Self | None:
        """Return the stage without average pooling between its layers; None where nothing would be left."""
        return self

    def without_squeeze_excite(self, operator: str) -> Self:
        """Return the stage without squeeze-excite that needs an operator; unchanged where the kind has none."""
        return self

    def without_activation(self, activation: Activation) -> Self:
        """Return the stage without an activation; relu takes its place where no other choice is left."""
        if isinstance(self.activation, tuple):
            left = tuple(each for each in self.activation if each != activation)
            return self.model_copy(update={"activation": left or ("relu",)})
        return self.model_copy(update={"activation": "relu"}) if self.activation == activation else self

    def activation_of(self, genes: BlockGenes) -> Activation:
        """Return the activation of a block: the stage's, or the block's own choice."""
        activation = self.activation if genes.activation is None else genes.activation
        assert not isinstance(activation, tuple)
        return activation
