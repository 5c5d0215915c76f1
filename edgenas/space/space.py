"""SearchSpace: the choices, their number, samples, the integer gene matrix, and the way to BlockSpecs.

Genes stand in one fixed order: resolution, then for each stage its depth, its width, and kernel and expand
ratio of every position up to the greatest depth. A gene is the index of a choice. Genes of positions past a
stage's depth are inactive and 0: that is the canonical form, and `canonical` maps any matrix to it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from edgenas.errors import SpaceError, shown
from edgenas.space.arch import Arch, BlockGenes, StageGenes, parse_arch, plain_number
from edgenas.space.blocks import (
    Activation,
    BlockSpec,
    HeadSpec,
    InvertedResidualSpec,
    StemSpec,
    make_divisible,
)

Genes = npt.NDArray[np.int64]
IMAGE_CHANNELS = 3
SE_REDUCTION = 4


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    if list(values) != sorted(set(values)):
        raise ValueError(f"wanted distinct choices in ascending order, got {shown(list(values))}")
    return values


def _single_line(name: str) -> str:
    if not name.strip() or not name.isprintable() or len(name) > 100:
        raise ValueError(f"wanted a name of up to 100 characters in one line, got {shown(name)}")
    return name


def _odd(values: tuple[int, ...]) -> tuple[int, ...]:
    if any(value % 2 == 0 for value in values):
        raise ValueError(f"wanted odd kernel sizes, got {shown(list(values))}")
    return values


# Bounds are far beyond any use, so what is past them is a slip; and no slip makes a space that never gets listed.
PositiveInt = Annotated[int, Field(gt=0, le=10_000, strict=True)]
Depth = Annotated[int, Field(gt=0, le=50, strict=True)]
Expand = Annotated[float, Field(ge=1, le=100), AfterValidator(plain_number)]
Choices = Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=50), AfterValidator(_ascending)]
Depths = Annotated[tuple[Depth, ...], Field(min_length=1, max_length=50), AfterValidator(_ascending)]
Kernels = Annotated[Choices, AfterValidator(_odd)]
Expands = Annotated[tuple[Expand, ...], Field(min_length=1, max_length=50), AfterValidator(_ascending)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Stem(_Part):
    """The first convolution."""

    width: PositiveInt
    kernel: PositiveInt
    stride: PositiveInt
    activation: Activation


class Stage(_Part):
    """A stage: what is fixed (stride of its first block, activation, squeeze-excite) and what may be chosen."""

    width: Choices
    depth: Depths
    kernel: Kernels
    expand: Expands
    stride: PositiveInt
    activation: Activation
    squeeze_excite: bool

    @property
    def positions(self) -> int:
        """How many blocks the stage can have."""
        return self.depth[-1]


class Head(_Part):
    """Conv 1×1 of `width`, pool, a linear layer of `features` (0: none), classifier."""

    width: PositiveInt
    features: Annotated[int, Field(ge=0, strict=True)]
    activation: Activation


class SearchSpace(_Part):
    """A MobileNet-style macro space. Frozen; equal values are equal spaces."""

    schema_version: PositiveInt = 1
    name: Annotated[str, AfterValidator(_single_line)]
    description: str = ""
    resolution: Choices
    stem: Stem
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, max_length=50)]
    head: Head

    @model_validator(mode="after")
    def _big_enough(self) -> SearchSpace:
        stride = self.stem.stride * math.prod(stage.stride for stage in self.stages)
        if self.resolution[0] * 2 < stride:
            raise ValueError(f"resolution {self.resolution[0]} is too small for a total stride of {stride}")
        return self

    @property
    def structure_id(self) -> str:
        """Name and digest of all that an arch's text leaves unsaid (strides, activations, stem, head).

        Two spaces of equal structure_id give an arch the same network, whatever choices they narrow.
        """
        stages = [[s.stride, s.activation, s.squeeze_excite] for s in self.stages]
        unsaid = [self.stem.model_dump(), self.head.model_dump(), stages]
        digest = hashlib.sha256(json.dumps(unsaid, sort_keys=True).encode()).hexdigest()
        return f"{self.name}@{digest[:8]}"

    @cached_property
    def choices(self) -> dict[str, tuple[float, ...]]:
        """Every gene's choices by its name, e.g. `stage1.block0.kernel`, in gene order."""
        genes: dict[str, tuple[float, ...]] = {"resolution": self.resolution}
        for s, stage in enumerate(self.stages):
            genes |= {f"stage{s}.depth": stage.depth, f"stage{s}.width": stage.width}
            for b in range(stage.positions):
                genes |= {
                    f"stage{s}.block{b}.kernel": stage.kernel,
                    f"stage{s}.block{b}.expand": stage.expand,
                }
        return genes

    @property
    def n_choices(self) -> npt.NDArray[np.int64]:
        """Number of choices of every gene, shape (genes,)."""
        return np.array([len(choices) for choices in self.choices.values()], dtype=np.int64)

    @property
    def size(self) -> int:
        """Exact number of distinct archs."""
        by_stage: list[int] = [
            len(stage.width) * sum((len(stage.kernel) * len(stage.expand)) ** depth for depth in stage.depth)
            for stage in self.stages
        ]
        return len(self.resolution) * math.prod(by_stage)

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
                f"genes: wanted an integer matrix of shape (n, {len(self.choices)}), "
                f"got {matrix.dtype} of shape {matrix.shape}"
            )
        outside = (matrix < 0) | (matrix >= self.n_choices)
        if outside.any():
            row, column = np.argwhere(outside)[0]
            name = list(self.choices)[column]
            raise SpaceError(
                f"genes: row {row} has {matrix[row, column]} for {name}, wanted 0 to {self.n_choices[column] - 1}"
            )
        column = 1
        for stage in self.stages:
            depth = np.asarray(stage.depth)[matrix[:, column]]
            column += 2
            for position in range(stage.positions):
                matrix[depth <= position, column : column + 2] = 0
                column += 2
        return matrix.astype(np.int64)

    def decode(self, genes: npt.ArrayLike) -> list[Arch]:
        """Archs of a gene matrix, shape (n, genes)."""
        return [self._decode_row(row) for row in self.canonical(genes).tolist()]

    def _decode_row(self, row: list[int]) -> Arch:
        values = iter(row)
        resolution = self.resolution[next(values)]
        stages = []
        for stage in self.stages:
            depth, width = stage.depth[next(values)], stage.width[next(values)]
            pairs = [(stage.kernel[next(values)], stage.expand[next(values)]) for _ in range(stage.positions)]
            stages.append(StageGenes(width, tuple(BlockGenes(*pair) for pair in pairs[:depth])))
        return Arch(resolution, tuple(stages))

    def encode(self, archs: Sequence[Arch]) -> Genes:
        """Canonical gene matrix of archs, shape (n, genes).

        Raises:
            SpaceError: an arch is not in the space; the gene and its legal values are named.
        """
        rows = [self._encode_arch(arch) for arch in archs]
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(self.choices))

    def _encode_arch(self, arch: Arch) -> list[int]:
        if len(arch.stages) != len(self.stages):
            raise SpaceError(f"arch {arch}: wanted {len(self.stages)} stages, got {len(arch.stages)}")
        row = [_index(self.resolution, arch.resolution, "resolution", arch)]
        for s, (stage, genes) in enumerate(zip(self.stages, arch.stages, strict=True)):
            row.append(_index(stage.depth, len(genes.blocks), f"stage{s}.depth", arch))
            row.append(_index(stage.width, genes.width, f"stage{s}.width", arch))
            for b, block in enumerate(genes.blocks):
                row.append(_index(stage.kernel, block.kernel, f"stage{s}.block{b}.kernel", arch))
                row.append(_index(stage.expand, block.expand, f"stage{s}.block{b}.expand", arch))
            row.extend([0, 0] * (stage.positions - len(genes.blocks)))
        return row

    def parse(self, text: str) -> Arch:
        """The arch a text names.

        Raises:
            SpaceError: the text is malformed, or its arch is not in this space.
        """
        arch = parse_arch(text)
        self.encode([arch])
        return arch

    def sample(self, rng: np.random.Generator) -> Arch:
        """A random arch: every gene drawn uniformly (so depths are as likely as each other)."""
        return self.decode(rng.integers(0, self.n_choices)[None])[0]

    def from_ofa(self, settings: Mapping[str, Any]) -> Arch:
        """The arch of once-for-all's settings.

        Args:
            settings: `ks` and `e`, one value for each position of the stages behind the first block (20 in
                the public spaces), `d`, one depth for each of these stages, and `r`, the resolution (a number
                or a list of one).

        Raises:
            SpaceError: a key is missing, a list has the wrong length, or a value is not in the space.
        """
        missing = [key for key in ("ks", "e", "d", "r") if key not in settings]
        if missing:
            raise SpaceError(f"once-for-all settings: wanted ks, e, d and r, missing {', '.join(missing)}")
        stages = self.stages[1:]
        starts = np.cumsum([0, *[stage.positions for stage in stages]]).tolist()
        wanted = {"ks": starts[-1], "e": starts[-1], "d": len(stages)}
        for key, length in wanted.items():
            if len(settings[key]) != length:
                raise SpaceError(
                    f"once-for-all settings: {key} wants {length} values in {self.name}, got {len(settings[key])}"
                )
        for number, (stage, depth) in enumerate(zip(stages, settings["d"], strict=True), start=1):
            if depth not in stage.depth:
                raise SpaceError(
                    f"once-for-all settings: stage{number}.depth is {depth}, the space has {_listed(stage.depth)}"
                )
        resolution = int(np.ravel(settings["r"])[0])
        first = self.smallest.stages[0]
        genes = [
            StageGenes(
                stage.width[-1],
                tuple(
                    BlockGenes(int(k), plain_number(e))
                    for k, e in zip(settings["ks"][start : start + d], settings["e"][start : start + d], strict=True)
                ),
            )
            for stage, start, d in zip(stages, starts, settings["d"], strict=False)
        ]
        arch = Arch(resolution, (first, *genes))
        self.encode([arch])
        return arch

    def unroll(self, arch: Arch, num_classes: int) -> tuple[BlockSpec, ...]:
        """The network of an arch as BlockSpecs: stem, blocks, head."""
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
                before = specs[-1]
                stride = stage.stride if b == 0 else 1
                specs.append(_inverted_residual(before, stage, genes.width, block, stride, f"stage{s}.block{b}"))
        last = specs[-1]
        specs.append(
            HeadSpec(
                in_channels=last.out_channels,
                in_size=last.out_size,
                width=self.head.width,
                features=self.head.features,
                out_channels=num_classes,
                activation=self.head.activation,
                name="head",
            )
        )
        return tuple(specs)


def _inverted_residual(
    before: BlockSpec, stage: Stage, width: int, genes: BlockGenes, stride: int, name: str
) -> InvertedResidualSpec:
    in_channels = before.out_channels
    mid = make_divisible(round(in_channels * genes.expand)) if genes.expand != 1 else in_channels
    return InvertedResidualSpec(
        in_channels=in_channels,
        in_size=before.out_size,
        mid_channels=mid,
        out_channels=width,
        kernel=genes.kernel,
        stride=stride,
        se_channels=make_divisible(mid // SE_REDUCTION) if stage.squeeze_excite else 0,
        activation=stage.activation,
        name=name,
    )


def _index(choices: tuple[float, ...], value: float, gene: str, arch: Arch) -> int:
    if value not in choices:
        raise SpaceError(f"arch {arch}: {gene} is {value:g}, the space has {_listed(choices)}")
    return choices.index(value)


def _listed(choices: tuple[float, ...]) -> str:
    return ", ".join(f"{choice:g}" for choice in choices)
