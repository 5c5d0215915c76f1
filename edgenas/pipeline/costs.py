"""MACs and bytes of many networks at once, by genes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgenas.latency.gene_table import GeneTable
from edgenas.space.blocks import BlockSpec
from edgenas.space.cost import cost
from edgenas.space.form import ExportForm
from edgenas.space.space import Genes, SearchSpace

Floats = npt.NDArray[np.float64]
SUMMED, PEAK = ("macs", "weight_bytes"), "peak_activation_bytes"


class CostTable:
    """What `space.cost.cost` says of a space's networks, looked up: a search asks for thousands at a time."""

    def __init__(self, space: SearchSpace, num_classes: int, form: ExportForm = "direct") -> None:
        """Look at every block of the space once."""

        def of_blocks(blocks: Sequence[BlockSpec]) -> Floats:
            costs = [cost([block], form) for block in blocks]
            return np.array([[getattr(c, name) for name in (*SUMMED, PEAK)] for c in costs], dtype=float)

        self._table = GeneTable.of(space, num_classes, of_blocks)

    def __call__(self, quantity: str, genes: Genes) -> Floats:
        """`macs`, `weight_bytes` or `peak_activation_bytes` of canonical genes, shape (n, genes) to (n,)."""
        found = self._table.maxima(genes) if quantity == PEAK else self._table.sums(genes)
        values: Floats = found[:, (*SUMMED, PEAK).index(quantity)]
        return values
