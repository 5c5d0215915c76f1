"""What a network's latency depends on beside the sum of its blocks' costs, from sums over blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgenas.space.blocks.spec import LANES, BlockSpec
from edgenas.space.cost import cost

Floats = npt.NDArray[np.float64]
PAPER = (
    *("blocks", "macs_millions", "weight_megabytes", "activations_millions", "gates"),
    *("depthwise_millions", "unaligned_depthwise_millions"),
)
SUMMED = 1 + len(PAPER) + 1
"""Cost, paper values, cost of gated blocks; behind them the costs by stage."""
ADDITIVE = 1 + 1 + (SUMMED - 1)
"""Of `network_features`, those behind the sum that it, a constant and the whole network's quantities become."""


def paper_values(blocks: Sequence[BlockSpec]) -> Floats:
    """Return the quantities `PAPER` of each block, shape (blocks, 7); activations are those of expanded channels.

    Depthwise MACs, and those of unaligned channels, are separate because int8 speeds them up less.
    """
    return np.array([_paper(block) for block in blocks], dtype=np.float64).reshape(len(blocks), len(PAPER))


def _paper(block: BlockSpec) -> list[float]:
    paper = cost([block])
    depthwise = [conv for conv in block.convs() if conv.groups > 1]
    macs = [sum(conv.macs for conv in convs) for convs in (depthwise, [c for c in depthwise if c.groups % LANES])]
    quantities = [paper.macs, paper.weight_bytes, block.wide_elements, *macs]
    millions = [quantity / 1e6 for quantity in quantities]
    return [1, *millions[:3], block.gates, *millions[3:]]


def block_values(blocks: Sequence[BlockSpec], cost_us: Floats, n_stages: int) -> Floats:
    """What is summed over a network's blocks, shape (blocks, `SUMMED` + stages + 2).

    Args:
        blocks: named by stage, as `SearchSpace.unroll` does.
        cost_us: of each, shape (blocks,).
        n_stages: of the space.
    """
    paper = paper_values(blocks)
    gated = cost_us * paper[:, PAPER.index("gates")]
    return np.column_stack([cost_us, paper, gated, cost_us[:, None] * _by_place(blocks, n_stages)])


def quantity_values(blocks: Sequence[BlockSpec], n_stages: int) -> Floats:
    """Return what `weighted_sums` converts into the sums of `block_values`, for blocks whose cost is linear in `PAPER`.

    Shape (blocks, (1 + 1 + stages + 2) × 7): the paper values, those of gated blocks, and those by stage.
    """
    paper = paper_values(blocks)
    gated = paper[:, PAPER.index("gates"), None]
    own = np.column_stack([np.ones(len(paper)), gated, _by_place(blocks, n_stages)])
    return (own[:, :, None] * paper[:, None, :]).reshape(len(paper), -1)


def weighted_sums(quantities: Floats, coefficients_us: Sequence[float]) -> Floats:
    """Return the sums of `block_values` from sums of `quantity_values`, (n, values) → (n, `SUMMED` + stages + 2).

    Args:
        quantities: sums over the blocks of each network.
        coefficients_us: microseconds per unit of each quantity of `PAPER`.
    """
    by_quantity = quantities.reshape(len(quantities), -1, len(PAPER))
    cost_us = by_quantity @ np.asarray(coefficients_us)
    return np.column_stack([cost_us[:, 0], by_quantity[:, 0], cost_us[:, 1:]])


def _by_place(blocks: Sequence[BlockSpec], n_stages: int) -> npt.NDArray[np.bool_]:
    """Return where each block stands, shape (blocks, stages + 2)."""
    places = ["stem", *(f"stage{number}" for number in range(n_stages)), "head"]
    own = np.array([places.index(block.name.split(".")[0]) for block in blocks])
    return np.asarray(own[:, None] == np.arange(len(places)))


def network_features(sums: Floats, resolution: npt.NDArray[np.int64]) -> Floats:
    """Features of networks: the sum of block costs, then 1, then what the ratio to it may depend on.

    All but the last two are additive quantities over that sum, so that any law linear in them is in reach.

    Args:
        sums: of `block_values`, shape (n, values).
        resolution: shape (n,).
    """
    total = sums[:, :1]
    size = np.column_stack([np.log(total), np.log(resolution)])
    return np.column_stack([total, np.ones(len(sums)), 1 / total, sums[:, 1:] / total, size])


def n_features(n_stages: int) -> int:
    """How many `network_features` gives."""
    return 1 + 1 + 1 + (SUMMED - 1 + n_stages + 2) + 2
