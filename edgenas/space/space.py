"""SearchSpace: the choices, their number, samples, the integer gene matrix, and the way to BlockSpecs.

Genes stand in one fixed order: resolution, then for each stage its depth, its width, and the genes of every position up
to the greatest depth, which the stage's block kind defines. A gene is the index of a choice. Genes of positions past a
stage's depth are inactive and 0: that is the canonical form, and `canonical` maps any matrix to it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, model_validator

from edgenas.errors import SpaceError, shown
from edgenas.space.arch import NETWORK_NAME, Arch, StageGenes, parse_arch
from edgenas.space.blocks import parse_stage
from edgenas.space.blocks.genes import BlockGenes, GeneValue, written
from edgenas.space.blocks.head import FeatureLayer, HeadSpec
from edgenas.space.blocks.spec import NORM_EPSILON, Activation, BlockSpec, Padding
from edgenas.space.blocks.stage import Choices, OptionalInt, PositiveInt, SpacePart, Stage
from edgenas.space.blocks.stem import StemSpec

Genes = npt.NDArray[np.int64]
IMAGE_CHANNELS = 3
DEFAULT_FORM = {"padding": "symmetric", "norm_epsilon": NORM_EPSILON}


def _single_line(name: str) -> str:
    if not name.strip() or not name.isprintable() or len(name) > 100:
        raise ValueError(f"expected a name of up to 100 characters in one line, got {shown(name)}")
    return name


def _network_name(name: str) -> str:
    if name and not NETWORK_NAME.fullmatch(name):
        raise ValueError(f"expected the name of a pretrained network, got {shown(name)}")
    return name


class Stem(SpacePart):
    """The first convolution."""

    width: PositiveInt
    kernel: PositiveInt
    stride: PositiveInt
    activation: Activation


class Head(SpacePart):
    """Conv 1×1 of `width` (0: none), pool, a linear layer of `features` (0: none), classifier; see `HeadSpec`."""

    width: OptionalInt
    features: OptionalInt
    activation: Activation
    feature_layer: FeatureLayer = "plain"


StageOfKind = SerializeAsAny[Annotated[Stage, BeforeValidator(parse_stage)]]
"""A stage of any block kind; `block` in its YAML names the kind."""


class SearchSpace(SpacePart):
    """A MobileNet-style macro space. Frozen; equal values are equal spaces.

    Attributes:
        network: name of the pretrained network that the space is of, with which the text of its archs begins; empty
            for a run's own space.
        padding: of strided convolutions, see `BlockSpec.padding`.
        norm_epsilon: what every batch norm adds to the variance.
    """

    schema_version: PositiveInt = 1
    name: Annotated[str, AfterValidator(_single_line)]
    description: str = ""
    network: Annotated[str, AfterValidator(_network_name)] = ""
    resolution: Choices
    stem: Stem
    stages: Annotated[tuple[StageOfKind, ...], Field(min_length=1, max_length=50)]
    head: Head
    padding: Padding = "symmetric"
    norm_epsilon: Annotated[float, Field(gt=0, le=0.1)] = NORM_EPSILON

    @model_validator(mode="after")
    def _big_enough(self) -> SearchSpace:
        if self.resolution[0] * 2 < self.stride:
            raise ValueError(f"resolution {self.resolution[0]} is too small for a total stride of {self.stride}")
        return self

    @property
    def stride(self) -> int:
        """Total stride of stem and stages."""
        return self.stem.stride * math.prod(stage.stride for stage in self.stages)

    @property
    def structure_id(self) -> str:
        """Name and digest of all that an arch's text does not state (strides, activations, stem, head, padding).

        Two spaces of equal structure_id give an arch the same network, whatever choices they narrow.
        """
        unwritten: list[Any] = [
            self.stem.model_dump(exclude_defaults=True),
            self.head.model_dump(exclude_defaults=True),
            [stage.unwritten for stage in self.stages],
            *([self._form] if self._form != DEFAULT_FORM else []),
        ]
        digest = hashlib.sha256(json.dumps(unwritten, sort_keys=True).encode()).hexdigest()
        return f"{self.name}@{digest[:8]}"

    @property
    def _form(self) -> dict[str, Any]:
        return {"padding": self.padding, "norm_epsilon": self.norm_epsilon}

    @cached_property
    def choices(self) -> dict[str, tuple[GeneValue, ...]]:
        """Every gene's choices by its name, e.g. `stage1.block0.kernel`, in gene order."""
        genes: dict[str, tuple[GeneValue, ...]] = {"resolution": self.resolution}
        for s, (stage, positions) in enumerate(zip(self.stages, self._block_choices, strict=True)):
            genes |= {f"stage{s}.depth": stage.depth, f"stage{s}.width": stage.width}
            for b, block in enumerate(positions):
                genes |= {f"stage{s}.block{b}.{gene}": choices for gene, choices in block.items()}
        return genes

    @cached_property
    def _block_choices(self) -> tuple[tuple[dict[str, tuple[GeneValue, ...]], ...], ...]:
        """Choices of each gene of a block, by stage and position."""
        return tuple(stage.gene_choices for stage in self.stages)

    @property
    def n_choices(self) -> npt.NDArray[np.int64]:
        """Number of choices of every gene, shape (genes,)."""
        return np.array([len(choices) for choices in self.choices.values()], dtype=np.int64)

    @property
    def size(self) -> int:
        """Exact number of distinct archs."""
        return len(self.resolution) * math.prod(stage.size for stage in self.stages)

    @cached_property
    def smallest(self) -> Arch:
        """Every gene at its smallest choice."""
        return self.decode(np.zeros((1, len(self.choices)), dtype=np.int64))[0]

    @cached_property
    def largest(self) -> Arch:
        """Every gene at its largest choice."""
        return self.decode(self.n_choices[None] - 1)[0]

    def canonical(self, genes: npt.ArrayLike) -> Genes:
        """Set inactive genes to 0. Shape (n, genes) in and out.

        Raises:
            SpaceError: wrong shape, not whole numbers, or an index outside its gene's choices.
        """
        matrix = np.array(genes)
        if matrix.ndim != 2 or matrix.shape[1] != len(self.choices) or matrix.dtype.kind not in "iu":
            raise SpaceError(
                f"genes: expected an integer matrix of shape (n, {len(self.choices)}), "
                f"got {matrix.dtype} of shape {matrix.shape}"
            )
        outside = (matrix < 0) | (matrix >= self.n_choices)
        if outside.any():
            row, column = np.argwhere(outside)[0]
            name = list(self.choices)[column]
            raise SpaceError(
                f"genes: row {row} has {matrix[row, column]} for {name}, expected 0 to {self.n_choices[column] - 1}"
            )
        column = 1
        for stage, positions in zip(self.stages, self._block_choices, strict=True):
            depth = np.asarray(stage.depth)[matrix[:, column]]
            column += 2
            for position, block in enumerate(positions):
                end = column + len(block)
                matrix[depth <= position, column:end] = 0
                column = end
        return matrix.astype(np.int64)

    def decode(self, genes: npt.ArrayLike) -> list[Arch]:
        """Return the archs of a gene matrix, shape (n, genes)."""
        return [self._decode_row(row) for row in self.canonical(genes).tolist()]

    def _decode_row(self, row: list[int]) -> Arch:
        values = iter(row)
        resolution = self.resolution[next(values)]
        stages = []
        for stage, positions in zip(self.stages, self._block_choices, strict=True):
            depth, width = stage.depth[next(values)], stage.width[next(values)]
            blocks: list[dict[str, Any]] = [
                {name: choices[next(values)] for name, choices in block.items()} for block in positions
            ]
            stages.append(StageGenes(width, tuple(stage.genes(**block) for block in blocks[:depth])))
        return self.arch(resolution, stages)

    def arch(self, resolution: int, stages: Iterable[StageGenes]) -> Arch:
        """Return the arch of a resolution and the genes of every stage, which are not checked."""
        return Arch(resolution, tuple(stages), network=self.network)

    def encode(self, archs: Sequence[Arch]) -> Genes:
        """Return the canonical gene matrix of archs, shape (n, genes).

        Raises:
            SpaceError: an arch is not in the space; the gene and its legal values are named.
        """
        rows = [self._encode_arch(arch) for arch in archs]
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(self.choices))

    def _encode_arch(self, arch: Arch) -> list[int]:
        self._require_own(arch)
        if len(arch.stages) != len(self.stages):
            raise SpaceError(f"arch {arch}: expected {len(self.stages)} stages, got {len(arch.stages)}")
        row = [_index(self.resolution, arch.resolution, "resolution", arch)]
        for s, (stage, genes) in enumerate(zip(self.stages, arch.stages, strict=True)):
            row.append(_index(stage.depth, len(genes.blocks), f"stage{s}.depth", arch))
            row.append(_index(stage.width, genes.width, f"stage{s}.width", arch))
            choices = self._block_choices[s]
            for b, block in enumerate(genes.blocks):
                row.extend(_block_indices(stage, choices[b], block, f"stage{s}.block{b}", arch))
            row.extend([0] * len(choices[0]) * (stage.positions - len(genes.blocks)))
        return row

    def _require_own(self, arch: Arch) -> None:
        """Refuse an arch of the space of another pretrained network."""
        if arch.network != self.network:
            begin = f"'{self.network}:'" if self.network else "the resolution"
            raise SpaceError(f"arch {arch}: expected one of the space {self.name}, whose texts begin with {begin}")

    def parse(self, text: str) -> Arch:
        """Return the arch that a text states.

        Raises:
            SpaceError: the text is malformed, or its arch is not in this space.
        """
        arch = parse_arch(text)
        self.encode([arch])
        return arch

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draw a random arch; every gene is uniform, so all depths are equally likely."""
        return self.decode(rng.integers(0, self.n_choices)[None])[0]

    def with_classes(self, num_classes: int) -> ClassifierSpace:
        """Return the space of classifiers of `num_classes` classes, in which an arch is a whole network."""
        fields = {name: getattr(self, name) for name in SearchSpace.model_fields}
        return ClassifierSpace.model_validate({**fields, "num_classes": num_classes})


class ClassifierSpace(SearchSpace):
    """A search space whose networks have a fixed number of classes; made by `SearchSpace.with_classes`."""

    num_classes: Annotated[int, Field(gt=0, le=1_000_000, strict=True)]

    def without_classes(self) -> SearchSpace:
        """Return the space for any number of classes."""
        return SearchSpace.model_validate({name: getattr(self, name) for name in SearchSpace.model_fields})

    def unroll(self, arch: Arch) -> tuple[BlockSpec, ...]:
        """Return the network of an arch as BlockSpecs: stem, blocks, head.

        Raises:
            SpaceError: the arch is of the space of another pretrained network.
        """
        self._require_own(arch)
        stem = self.stem
        specs: list[BlockSpec] = [
            StemSpec(
                in_channels=IMAGE_CHANNELS,
                in_size=arch.resolution,
                out_channels=stem.width,
                kernel=stem.kernel,
                stride=stem.stride,
                activation=stem.activation,
                name="stem",
            )
        ]
        for s, (stage, genes) in enumerate(zip(self.stages, arch.stages, strict=True)):
            for b, block in enumerate(genes.blocks):
                stride = stage.stride if b == 0 else 1
                specs.append(stage.make_spec(specs[-1], genes.width, block, stride, f"stage{s}.block{b}"))
        last = specs[-1]
        specs.append(
            HeadSpec(
                in_channels=last.out_channels,
                in_size=last.out_size,
                width=self.head.width or last.out_channels,
                features=self.head.features,
                out_channels=self.num_classes,
                activation=self.head.activation,
                feature_layer=self.head.feature_layer if self.head.features else "plain",
                first="conv" if self.head.width else "pool",
                name="head",
            )
        )
        if self._form == DEFAULT_FORM:
            return tuple(specs)
        return tuple(replace(spec, padding=self.padding, norm_epsilon=self.norm_epsilon) for spec in specs)


def _block_indices(
    stage: Stage, genes: dict[str, tuple[GeneValue, ...]], block: BlockGenes, position: str, arch: Arch
) -> list[int]:
    if type(block) is not stage.genes:
        example = stage.make_genes(choices[0] for choices in genes.values())
        raise SpaceError(f"arch {arch}: {position} is {block}, the space has another block kind there, like {example}")
    return [_index(choices, getattr(block, gene), f"{position}.{gene}", arch) for gene, choices in genes.items()]


def _index(choices: tuple[GeneValue, ...], value: GeneValue, gene: str, arch: Arch) -> int:
    if value not in choices:
        raise SpaceError(f"arch {arch}: {gene} is {written(value)}, the space has {listed(choices)}")
    return choices.index(value)


def listed(choices: tuple[GeneValue, ...]) -> str:
    """Return choices as messages show them."""
    return ", ".join(map(written, choices))
