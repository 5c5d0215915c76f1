"""Sums and maxima over the blocks of networks, vectorised over a gene matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from edgenas.space.arch import StageGenes
from edgenas.space.blocks.genes import BlockGenes
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.blocks.stage import Stage
from edgenas.space.space import ClassifierSpace, Genes

Floats = npt.NDArray[np.float64]
BlockValues = Callable[[Sequence[BlockSpec]], Floats]
"""Function from blocks to the values that are summed or compared, shape (blocks, values)."""


@dataclass(frozen=True)
class GeneTable:
    """Values of every block of a space, looked up by genes instead of by block.

    A block is determined by the resolution, the width of its stage and its genes. The first block of a stage also
    depends on the width of the stage before. So a few arrays hold all values, and a network's sum takes one look-up for
    each position. Each array has an axis for every gene of the stage's block kind, written `*genes` below.

    Attributes:
        space: space of the genes.
        stem: values of the stem, shape (resolutions, values).
        first: values of each stage's first block, shape (resolutions, widths before, widths, *genes, values).
        later: values of each stage's other blocks by position, shape (resolutions, widths, *genes, values).
        head: values of the head, shape (resolutions, widths of the last stage, values).
    """

    space: ClassifierSpace
    stem: Floats
    first: tuple[Floats, ...]
    later: tuple[tuple[Floats, ...], ...]
    head: Floats

    @classmethod
    def of(cls, space: ClassifierSpace, values: BlockValues) -> GeneTable:
        """Compute the values of every block of the space once."""
        stages = range(len(space.stages))
        ends = [[_network(space, r, width=w) for w in space.stages[-1].width] for r in space.resolution]
        return cls(
            space,
            stem=_array([row[0][0] for row in ends], (len(ends),), values),
            first=tuple(_first(space, stage, values) for stage in stages),
            later=tuple(_later(space, stage, values) for stage in stages),
            head=_array([specs[-1] for row in ends for specs in row], (len(ends), len(ends[0])), values),
        )

    def sums(self, genes: Genes) -> Floats:
        """Return sums over each network's blocks; canonical genes (n, genes) → (n, values)."""
        total = np.zeros((len(genes), self.stem.shape[-1]))
        for values in self._blocks(genes):
            total += values
        return total

    def maxima(self, genes: Genes) -> Floats:
        """Return the largest value of each network's blocks, at least 0; canonical genes (n, genes) → (n, values)."""
        largest = np.zeros((len(genes), self.stem.shape[-1]))
        for values in self._blocks(genes):
            np.maximum(largest, values, out=largest)
        return largest

    def _blocks(self, genes: Genes) -> Iterator[Floats]:
        """Yield the values (n, values) of each position in turn, 0 for networks without a block at the position."""
        resolution = genes[:, 0]
        yield self.stem[resolution]
        width = np.zeros(len(genes), dtype=np.int64)
        column = 1
        for stage, first, later in zip(self.space.stages, self.first, self.later, strict=True):
            depth = np.asarray(stage.depth)[genes[:, column]]
            before, width = width, genes[:, column + 1]
            column += 2
            n_genes = len(stage.gene_names)
            for position in range(stage.positions):
                block = genes[:, column : column + n_genes].T
                column += n_genes
                if position == 0:
                    yield _where(depth > 0, first, resolution, before, width, *block)
                else:
                    yield _where(depth > position, later[position - 1], resolution, width, *block)
        yield self.head[resolution, width]


def _where(is_block: npt.NDArray[np.bool_], values: Floats, *genes: npt.NDArray[np.int64]) -> Floats:
    """Return values by genes where a position has a block, else 0."""
    # One flat index is twice as fast as several.
    flat = np.ravel_multi_index(genes, values.shape[:-1])
    rows = values.reshape(-1, values.shape[-1])
    return np.vstack([rows, np.zeros_like(rows[:1])])[np.where(is_block, flat, len(rows))]


def _first(space: ClassifierSpace, stage: int, values: BlockValues) -> Floats:
    """Return the values of a stage's first blocks."""
    choices = space.stages[stage]
    before = space.stages[stage - 1].width if stage else (space.stem.width,)
    combinations = product(space.resolution, before, choices.width, _genes(choices, 0))
    specs = [_block(space, stage, 0, *combination) for combination in combinations]
    return _array(specs, (len(space.resolution), len(before), *_shape(choices, 0)), values)


def _later(space: ClassifierSpace, stage: int, values: BlockValues) -> tuple[Floats, ...]:
    """Return the values of a stage's other blocks by position; positions with equal choices share an array."""
    choices = space.stages[stage]
    arrays: list[Floats] = []
    for position in range(1, choices.positions):
        if position > 1 and choices.gene_choices[position] == choices.gene_choices[position - 1]:
            arrays.append(arrays[-1])
            continue
        combinations = product(space.resolution, choices.width, _genes(choices, position))
        specs = [_block(space, stage, position, r, None, width, genes) for r, width, genes in combinations]
        arrays.append(_array(specs, (len(space.resolution), *_shape(choices, position)), values))
    return tuple(arrays)


def _genes(stage: Stage, position: int) -> list[BlockGenes]:
    return [stage.make_genes(values) for values in product(*stage.gene_choices[position].values())]


def _shape(stage: Stage, position: int) -> list[int]:
    return [len(stage.width), *map(len, stage.gene_choices[position].values())]


def _block(
    space: ClassifierSpace,
    stage: int,
    position: int,
    resolution: int,
    before: int | None,
    width: int,
    genes: BlockGenes,
) -> BlockSpec:
    """Return the block of these genes in a network whose other stages are the smallest."""
    stages = list(space.smallest.stages)
    if stage and before is not None:
        stages[stage - 1] = StageGenes(before, stages[stage - 1].blocks)
    stages[stage] = StageGenes(width, (genes,) * (position + 1))
    specs = space.unroll(space.arch(resolution, stages))
    return next(spec for spec in specs if spec.name == f"stage{stage}.block{position}")


def _network(space: ClassifierSpace, resolution: int, width: int) -> tuple[BlockSpec, ...]:
    stages = list(space.smallest.stages)
    stages[-1] = StageGenes(width, stages[-1].blocks)
    return space.unroll(space.arch(resolution, stages))


def _array(specs: Sequence[BlockSpec], shape: tuple[int, ...], values: BlockValues) -> Floats:
    rows = values(specs)
    return rows.reshape(*shape, rows.shape[-1])
