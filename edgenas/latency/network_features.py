"""Features of a network's latency beside the sum of its blocks' latencies, computed from sums over blocks."""

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
"""Number of values before the latencies by stage: latency, paper values, and latency of gated blocks."""
ADDITIVE = 1 + 1 + (SUMMED - 1)
"""Number of `network_features` after the sum that belong to the sum, a constant and the network's quantities."""


def paper_values(blocks: Sequence[BlockSpec]) -> Floats:
    """Return the quantities `PAPER` of each block, shape (blocks, 7).

    Activations are counted on expanded channels. Depthwise MACs, and depthwise MACs of unaligned channels, are separate
    because int8 speeds them up less.
    """
    return np.array([_paper(block) for block in blocks], dtype=np.float64).reshape(len(blocks), len(PAPER))


def _paper(block: BlockSpec) -> list[float]:
    computed = cost([block])
    depthwise = [conv for conv in block.convs() if conv.groups > 1]
    macs = [sum(conv.macs for conv in convs) for convs in (depthwise, [c for c in depthwise if c.groups % LANES])]
    quantities = [computed.macs, computed.weight_bytes, block.wide_elements, *macs]
    millions = [quantity / 1e6 for quantity in quantities]
    return [1, *millions[:3], block.gates, *millions[3:]]


def block_values(blocks: Sequence[BlockSpec], cost_us: Floats, n_stages: int) -> Floats:
    """Return the values that are summed over a network's blocks, shape (blocks, `SUMMED` + stages + 2).

    Args:
        blocks: blocks with the names that `SearchSpace.unroll` gives.
        cost_us: microseconds of each block, shape (blocks,).
        n_stages: number of stages of the space.
    """
    paper = paper_values(blocks)
    gated = cost_us * paper[:, PAPER.index("gates")]
    return np.column_stack([cost_us, paper, gated, cost_us[:, None] * _is_in_part(blocks, n_stages)])


def quantity_values(blocks: Sequence[BlockSpec], n_stages: int) -> Floats:
    """Return the values that `weighted_sums` converts into sums of `block_values`, if latency is linear in `PAPER`.

    Returns:
        Paper values, paper values of gated blocks, and paper values by stage, shape
        (blocks, (1 + 1 + stages + 2) × 7).
    """
    paper = paper_values(blocks)
    gated = paper[:, PAPER.index("gates"), None]
    factors = np.column_stack([np.ones(len(paper)), gated, _is_in_part(blocks, n_stages)])
    return (factors[:, :, None] * paper[:, None, :]).reshape(len(paper), -1)


def weighted_sums(quantities: Floats, coefficients_us: Sequence[float]) -> Floats:
    """Return the sums of `block_values` from sums of `quantity_values`, (n, values) → (n, `SUMMED` + stages + 2).

    Args:
        quantities: sums of `quantity_values` over the blocks of each network.
        coefficients_us: microseconds per unit of each quantity of `PAPER`.
    """
    by_quantity = quantities.reshape(len(quantities), -1, len(PAPER))
    cost_us = by_quantity @ np.asarray(coefficients_us)
    return np.column_stack([cost_us[:, 0], by_quantity[:, 0], cost_us[:, 1:]])


def _is_in_part(blocks: Sequence[BlockSpec], n_stages: int) -> npt.NDArray[np.bool_]:
    """Return whether each block is in the stem, each stage and the head, shape (blocks, stages + 2)."""
    parts = ["stem", *(f"stage{number}" for number in range(n_stages)), "head"]
    indices = np.array([parts.index(block.name.split(".")[0]) for block in blocks])
    return np.asarray(indices[:, None] == np.arange(len(parts)))


def network_features(sums: Floats, resolution: npt.NDArray[np.int64]) -> Floats:
    """Return the features of networks, shape (n, features).

    They are the sum of block latencies, 1, and the features that the ratio of measured latency to the sum may depend
    on. All of these but the last two are additive quantities divided by the sum, so that a calibration can fit any
    latency that is linear in the quantities.

    Args:
        sums: sums of `block_values`, shape (n, values).
        resolution: input resolution of each network, shape (n,).
    """
    total = sums[:, :1]
    size = np.column_stack([np.log(total), np.log(resolution)])
    return np.column_stack([total, np.ones(len(sums)), 1 / total, sums[:, 1:] / total, size])


def n_features(n_stages: int) -> int:
    """Return the number of `network_features`."""
    return 1 + 1 + 1 + (SUMMED - 1 + n_stages + 2) + 2
