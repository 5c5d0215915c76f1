"""MACs and bytes of many networks at once, by genes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgenas.latency.device import Precision
from edgenas.latency.gene_table import GeneTable
from edgenas.space.blocks import BlockSpec
from edgenas.space.cost import cost, int8_weight_bytes
from edgenas.space.graph_variant import ExportForm
from edgenas.space.space import Genes, SearchSpace

Floats = npt.NDArray[np.float64]
SUMMED, PEAK = ("macs", "weight_bytes"), "peak_activation_bytes"


class CostTable:
    """Costs of a space's networks by `space.cost`, looked up: a search asks for thousands at a time."""

    def __init__(
        self, space: SearchSpace, num_classes: int, form: ExportForm = "direct", precision: Precision = "fp32"
    ) -> None:
        """Compute the costs of every block of the space once.

        Args:
            space: whose networks.
            num_classes: of the networks.
            form: of their graphs, which peak activation bytes depend on.
            precision: of the file that weight bytes are of. Peak activation bytes are always of fp32, which int8 stays
                below.
        """

        def of_blocks(blocks: Sequence[BlockSpec]) -> Floats:
            return np.array([self._costs(block, form, precision) for block in blocks], dtype=float)

        self._table = GeneTable.of(space, num_classes, of_blocks)

    @staticmethod
    def _costs(block: BlockSpec, form: ExportForm, precision: Precision) -> list[int]:
        costs = cost([block], form)
        weight_bytes = costs.weight_bytes if precision == "fp32" else int8_weight_bytes([block])
        return [costs.macs, weight_bytes, costs.peak_activation_bytes]

    def __call__(self, quantity: str, genes: Genes) -> Floats:
        """`macs`, `weight_bytes` or `peak_activation_bytes` of canonical genes, shape (n, genes) to (n,)."""
        found = self._table.maxima(genes) if quantity == PEAK else self._table.sums(genes)
        values: Floats = found[:, (*SUMMED, PEAK).index(quantity)]
        return values
