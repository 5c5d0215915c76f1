"""MACs and bytes of many networks at once, by their genes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edgenas.latency.device import Precision
from edgenas.latency.gene_table import GeneTable
from edgenas.quantities import MACS, PEAK_ACTIVATION_BYTES, WEIGHT_BYTES, Quantity
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.cost import cost, int8_weight_bytes
from edgenas.space.graph_variant import GraphVariant
from edgenas.space.space import ClassifierSpace, Genes

Floats = npt.NDArray[np.float64]
COMPUTED = (MACS, WEIGHT_BYTES, PEAK_ACTIVATION_BYTES)
"""The quantities of a `CostTable`."""


@dataclass(frozen=True)
class CostTable:
    """Lookup table of the costs of a space's networks, see `space.cost`: a search needs thousands at a time.

    The costs of every block of the space are computed once, when the first are asked for.

    Attributes:
        space: the search space, with the number of classes of its networks.
        variant: graph variant, which peak activation bytes depend on.
        precisions: precisions of the files that are deployed. Weight bytes are those of the largest file. Peak
            activation bytes are always those of fp32, which int8 stays below.
    """

    space: ClassifierSpace
    variant: GraphVariant = "direct"
    precisions: Sequence[Precision] = ("fp32",)

    @cached_property
    def _table(self) -> GeneTable:
        return GeneTable.of(self.space, self._block_costs)

    def _block_costs(self, blocks: Sequence[BlockSpec]) -> Floats:
        """Return MACs, peak activation bytes, and weight bytes in each precision, a row for each block."""
        rows = []
        for block in blocks:
            costs = cost([block], self.variant)
            weight_bytes = {"fp32": costs.weight_bytes, "int8": int8_weight_bytes([block])}
            rows.append([costs.macs, costs.peak_activation_bytes, *map(weight_bytes.__getitem__, self.precisions)])
        return np.array(rows, dtype=float)

    def __call__(self, quantity: Quantity, genes: Genes) -> Floats:
        """Return a quantity of `COMPUTED` for canonical genes, shape (n, genes), as values of shape (n,)."""
        if quantity == PEAK_ACTIVATION_BYTES:
            return np.asarray(self._table.maxima(genes)[:, 1])
        sums = self._table.sums(genes)
        return np.asarray(sums[:, 0] if quantity == MACS else sums[:, 2:].max(axis=1))
