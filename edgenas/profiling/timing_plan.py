"""Timing plans: the blocks and the networks of a space that are measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from edgenas.errors import ConfigError
from edgenas.latency.block_cost import MIN_BLOCKS, block_features
from edgenas.space.arch import Arch, StageGenes
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.blocks.stage import Stage
from edgenas.space.covering_samples import covering
from edgenas.space.space import ClassifierSpace, SearchSpace


@dataclass(frozen=True)
class Plan:
    """Distinct blocks to time, and networks for calibration."""

    blocks: tuple[BlockSpec, ...]
    networks: tuple[Arch, ...]


def make_plan(space: ClassifierSpace, *, blocks: int | None = None, networks: int, seed: int) -> Plan:
    """Choose the blocks and networks to time.

    Args:
        space: space of the blocks and networks.
        blocks: number of distinct blocks; None for all. Blocks with the smallest and largest features of every kind are
            chosen first, then those farthest from the chosen blocks. The other blocks are regressed.
        networks: number of networks, see `space.covering_samples.covering`.
        seed: seed of the choice of networks.

    Raises:
        ConfigError: there are fewer blocks than the extremes of all kinds.
    """
    distinct = distinct_blocks(space)
    if blocks is not None and blocks < len(distinct):
        distinct = _spread(distinct, blocks)
    return Plan(distinct, tuple(covering(space, networks, seed)))


def least_blocks(space: ClassifierSpace) -> int:
    """Return the number of blocks of the smallest plan, see `make_plan`."""
    return len(_extremes(distinct_blocks(space)))


def check_blocks(space: ClassifierSpace, blocks: int | None) -> None:
    """Refuse fewer blocks than the regression of the others needs.

    Args:
        space: space of the blocks.
        blocks: number of blocks to time; None for all.

    Raises:
        ConfigError: the message gives the least number.
    """
    if blocks is not None:
        distinct = distinct_blocks(space)
        _check_count(min(blocks, len(distinct)), len(_extremes(distinct)))


def _check_count(blocks: int, least: int) -> None:
    if blocks < least:
        raise ConfigError(f"profile.blocks: expected at least {least} blocks, to regress the others from, got {blocks}")


def distinct_blocks(space: ClassifierSpace) -> tuple[BlockSpec, ...]:
    """Return every BlockSpec of the space's networks, in network order.

    A block is determined by its genes, its stage, its input size and its input channels. So for every resolution and
    every pair of successive widths it is enough to unroll architectures whose stages together have all genes of every
    position.
    """
    distinct: dict[BlockSpec, None] = {}
    for index in range(len(space.stages)):
        for resolution in space.resolution:
            for arch in _covering_archs(space, resolution, index):
                specs = (spec for spec in space.unroll(arch) if _belongs(spec, index, len(space.stages)))
                distinct.update(dict.fromkeys(specs))
    ends = {"stem": -1, "head": 1}
    return tuple(sorted(distinct, key=lambda spec: ends.get(spec.name, 0)))


def _belongs(spec: BlockSpec, stage_index: int, n_stages: int) -> bool:
    """Return whether a spec belongs to a stage. The stem belongs to the first stage, and the head to the last."""
    ends = {"stem": 0, "head": n_stages - 1}
    return ends.get(spec.name) == stage_index or spec.name.startswith(f"stage{stage_index}.")


def _covering_archs(space: SearchSpace, resolution: int, stage_index: int) -> Iterator[Arch]:
    """Yield architectures that together have every block of one stage. Their other stages are the smallest."""
    stages = list(space.smallest.stages)
    before = max(stage_index - 1, 0)
    for width in space.stages[before].width:
        stages[before] = StageGenes(width, stages[before].blocks)
        for genes in _covering_stages(space.stages[stage_index]):
            stages[stage_index] = genes
            yield space.arch(resolution, stages)


def _covering_stages(stage: Stage) -> Iterator[StageGenes]:
    """Yield stages of the greatest depth that together have every block at every position, for every width."""
    blocks = [[stage.make_genes(genes) for genes in product(*choices.values())] for choices in stage.gene_choices]
    for width, number in product(stage.width, range(max(stage.n_blocks))):
        yield StageGenes(width, tuple(genes[min(number, len(genes) - 1)] for genes in blocks))


def _spread(blocks: tuple[BlockSpec, ...], count: int) -> tuple[BlockSpec, ...]:
    """Return `count` blocks in network order, chosen as the extremes of every kind and by greedy maximin distance."""
    points = _coordinates(blocks)
    points = (points - points.min(axis=0)) / np.maximum(np.ptp(points, axis=0), 1e-12)
    chosen = _extremes(blocks)
    _check_count(count, len(chosen))
    distance = np.min([np.linalg.norm(points - points[index], axis=1) for index in chosen], axis=0)
    while len(chosen) < count:
        distance[chosen] = -1.0
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return tuple(blocks[index] for index in sorted(chosen))


def _coordinates(blocks: tuple[BlockSpec, ...]) -> npt.NDArray[np.float64]:
    """Return the coordinates of each block, its kind and features, shape (blocks, axes).

    Features that a kind lacks are 0.
    """
    features = [block_features(block) for block in blocks]
    names = dict.fromkeys(name for values in features for name in values)
    kinds = [[float(block.family == kind) for kind in _kinds(blocks)] for block in blocks]
    return np.column_stack([kinds, [[values.get(name, 0.0) for name in names] for values in features]])


def _kinds(blocks: tuple[BlockSpec, ...]) -> list[str]:
    return list(dict.fromkeys(block.family for block in blocks))


def _extremes(blocks: tuple[BlockSpec, ...]) -> list[int]:
    """Return the indices of the blocks that the regression of the others needs.

    They have the smallest and the largest value of each feature of each kind. Kinds that need more blocks add some in
    even steps.
    """
    chosen: dict[int, None] = {}
    for kind in _kinds(blocks):
        indices = np.array([index for index, block in enumerate(blocks) if block.family == kind], dtype=np.int64)
        values = np.array([list(block_features(blocks[index]).values()) for index in indices])
        steps = np.linspace(0, len(indices) - 1, min(MIN_BLOCKS, len(indices))).astype(np.int64)
        ends = (*values.argmin(axis=0), *values.argmax(axis=0))
        chosen.update(dict.fromkeys(indices[[*ends, *steps]].tolist()))
    return list(chosen)
