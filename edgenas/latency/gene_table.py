"""Sums and maxima over the blocks of networks, for a whole gene matrix at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from edgenas.space.arch import Arch, BlockGenes, StageGenes
from edgenas.space.blocks import BlockSpec
from edgenas.space.space import Genes, SearchSpace, Stage

Floats = npt.NDArray[np.float64]
BlockValues = Callable[[Sequence[BlockSpec]], Floats]
"""Blocks to what is summed or compared, shape (blocks, values)."""


@dataclass(frozen=True)
class GeneTable:
    """What every block of a space is worth, found by genes instead of by block.

    A block is determined by the resolution, its stage's genes, and, at the head of a stage, the width before it. So a
    few arrays hold them all, and a network's sum is one look-up for each of its positions.

    Attributes:
        space: whose genes are looked up.
        stem: shape (resolutions, values).
        first: by stage, blocks at its head: (resolutions, widths before, widths, kernels, expands, values).
        later: by stage, the others: (resolutions, widths, kernels, expands, values); None where there are none.
        head: shape (resolutions, widths of the last stage, values).
    """

    space: SearchSpace
    stem: Floats
    first: tuple[Floats, ...]
    later: tuple[Floats | None, ...]
    head: Floats

    @classmethod
    def of(cls, space: SearchSpace, num_classes: int, values: BlockValues) -> GeneTable:
        """Look at every block of the space once."""
        stages = range(len(space.stages))
        ends = [[_network(space, num_classes, r, width=w) for w in space.stages[-1].width] for r in space.resolution]
        return cls(
            space,
            stem=_array([row[0][0] for row in ends], (len(ends),), values),
            first=tuple(_first(space, num_classes, stage, values) for stage in stages),
            later=tuple(_later(space, num_classes, stage, values) for stage in stages),
            head=_array([specs[-1] for row in ends for specs in row], (len(ends), len(ends[0])), values),
        )

    def sums(self, genes: Genes) -> Floats:
        """Sums over each network's blocks; canonical genes (n, genes) → (n, values)."""
        total = np.zeros((len(genes), self.stem.shape[-1]))
        for values in self._blocks(genes):
            total += values
        return total

    def maxima(self, genes: Genes) -> Floats:
        """The largest value among each network's blocks, none below 0; canonical genes (n, genes) → (n, values)."""
        largest = np.zeros((len(genes), self.stem.shape[-1]))
        for values in self._blocks(genes):
            np.maximum(largest, values, out=largest)
        return largest

    def _blocks(self, genes: Genes) -> Iterator[Floats]:
        """Values (n, values) of one position after another; 0 where a network has no block there."""
        resolution = genes[:, 0]
        yield self.stem[resolution]
        width = np.zeros(len(genes), dtype=np.int64)
        column = 1
        for stage, first, later in zip(self.space.stages, self.first, self.later, strict=True):
            depth = np.asarray(stage.depth)[genes[:, column]]
            before, width = width, genes[:, column + 1]
            column += 2
            for position in range(stage.positions):
                kernel, expand = genes[:, column], genes[:, column + 1]
                column += 2
                if position == 0:
                    yield _where(depth > 0, first, resolution, before, width, kernel, expand)
                elif later is not None:
                    yield _where(depth > position, later, resolution, width, kernel, expand)
        yield self.head[resolution, width]


def _where(held: npt.NDArray[np.bool_], values: Floats, *genes: npt.NDArray[np.int64]) -> Floats:
    """Values of these genes where a position is held, else 0; by one flat index, which is twice as fast as several."""
    flat = np.ravel_multi_index(genes, values.shape[:-1])
    rows = values.reshape(-1, values.shape[-1])
    return np.vstack([rows, np.zeros_like(rows[:1])])[np.where(held, flat, len(rows))]


def _first(space: SearchSpace, num_classes: int, stage: int, values: BlockValues) -> Floats:
    """Without a stage before it, the stem's width is the only one before."""
    own = space.stages[stage]
    before = space.stages[stage - 1].width if stage else (space.stem.width,)
    axes = (space.resolution, before, own.width, own.kernel, own.expand)
    specs = [_block(space, num_classes, stage, 0, *genes) for genes in product(*axes)]
    return _array(specs, tuple(map(len, axes)), values)


def _later(space: SearchSpace, num_classes: int, stage: int, values: BlockValues) -> Floats | None:
    own = space.stages[stage]
    if own.positions < 2:
        return None
    axes = (space.resolution, own.width, own.kernel, own.expand)
    specs = [_block(space, num_classes, stage, 1, r, None, w, k, e) for r, w, k, e in product(*axes)]
    return _array(specs, tuple(map(len, axes)), values)


def _block(
    space: SearchSpace,
    num_classes: int,
    stage: int,
    position: int,
    resolution: int,
    before: int | None,
    width: int,
    kernel: int,
    expand: float,
) -> BlockSpec:
    """The block of these genes: every stage at its smallest but this one, and the width of the one before it."""
    stages = [_smallest(each) for each in space.stages]
    if stage and before is not None:
        stages[stage - 1] = StageGenes(before, stages[stage - 1].blocks)
    stages[stage] = StageGenes(width, (BlockGenes(kernel, expand),) * (position + 1))
    specs = space.unroll(Arch(resolution, tuple(stages)), num_classes)
    return next(spec for spec in specs if spec.name == f"stage{stage}.block{position}")


def _network(space: SearchSpace, num_classes: int, resolution: int, width: int) -> tuple[BlockSpec, ...]:
    stages = [_smallest(stage) for stage in space.stages]
    stages[-1] = StageGenes(width, stages[-1].blocks)
    return space.unroll(Arch(resolution, tuple(stages)), num_classes)


def _smallest(stage: Stage) -> StageGenes:
    return StageGenes(stage.width[0], (BlockGenes(stage.kernel[0], stage.expand[0]),) * stage.depth[0])


def _array(specs: Sequence[BlockSpec], shape: tuple[int, ...], values: BlockValues) -> Floats:
    found = values(specs)
    return found.reshape(*shape, found.shape[-1])
