"""Time, MACs and memory traffic of a block of an inspected model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Bound = Literal["memory", "arithmetic"]


@dataclass(frozen=True)
class BlockTotals:
    """Sums over the operators of one block; see `Operator`."""

    name: str
    operators: int
    time_us: float
    macs: int
    bytes_moved: int
