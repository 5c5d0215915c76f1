"""MACs and bytes of many networks at once, by their genes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgenas.latency.device import Precision
from edgenas.latency.gene_table import GeneTable
from edgenas.quantities import MACS, PEAK_ACTIVATION_BYTES, WEIGHT_BYTES, Quantity
from edgenas.space.blocks import BlockSpec
from edgenas.space.cost import cost, int8_weight_bytes
from edgenas.space.graph_variant import GraphVariant
from edgenas.space.space import Genes, SearchSpace

Floats = npt.NDArray[np.float64]
COMPUTED = (MACS, WEIGHT_BYTES, PEAK_ACTIVATION_BYTES)
"""The quantities of a `CostTable`, in the order of its columns."""


class CostTable:
    """Lookup table of the costs of a space's networks, see `space.cost`: a search needs thousands at a time."""

    def __init__(
        self, space: SearchSpace, num_classes: int, variant: GraphVariant = "direct", precision: Precision = "fp32"
    ) -> None:
        """Compute the costs of every block of the space once.

        Args:
            space: the search space.
            num_classes: number of classes of the networks.
            variant: graph variant, which peak activation bytes depend on.
            precision: precision of the file whose weight bytes are computed. Peak activation bytes are always those of
                fp32, which int8 stays below.
        """

        def of_blocks(blocks: Sequence[BlockSpec]) -> Floats:
            return np.array([self._costs(block, variant, precision) for block in blocks], dtype=float)

        self._table = GeneTable.of(space, num_classes, of_blocks)

    @staticmethod
    def _costs(block: BlockSpec, variant: GraphVariant, precision: Precision) -> list[int]:
        costs = cost([block], variant)
        weight_bytes = costs.weight_bytes if precision == "fp32" else int8_weight_bytes([block])
        return [costs.macs, weight_bytes, costs.peak_activation_bytes]

    def __call__(self, quantity: Quantity, genes: Genes) -> Floats:
        """Return a quantity of `COMPUTED` for canonical genes, shape (n, genes), as values of shape (n,)."""
        columns = self._table.maxima(genes) if quantity == PEAK_ACTIVATION_BYTES else self._table.sums(genes)
        values: Floats = columns[:, COMPUTED.index(quantity)]
        return values
