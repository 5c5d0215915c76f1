"""Two tables beside each other: identities, rows only one has, ratios and ranks of those both have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgenas.latency.table import LatencyTable
from edgenas.records.latency import BLOCK, NETWORK, LatencyRow

WORST = 5


@dataclass(frozen=True)
class CommonRows:
    """Rows of one kind that both tables have. Ratios are p50 of the second over p50 of the first.

    Attributes:
        count: how many there are.
        median: of the ratios.
        low: their 5 % quantile.
        high: their 95 % quantile.
        kendall_tau: rank correlation of the latencies; None of fewer than two, or where one side is all ties.
    """

    count: int
    median: float
    low: float
    high: float
    kendall_tau: float | None


@dataclass(frozen=True)
class TableDiff:
    """How two tables differ.

    Attributes:
        identity: fields that differ, with both values; `unknown` differs from everything.
        only_first: rows that the second table lacks.
        only_second: rows that the first table lacks.
        common: what both have, by kind.
        worst: up to five rows, (first, second), whose ratios are farthest from their kind's median, farthest first.
    """

    identity: dict[str, tuple[Any, Any]]
    only_first: tuple[LatencyRow, ...]
    only_second: tuple[LatencyRow, ...]
    common: dict[str, CommonRows]
    worst: tuple[tuple[LatencyRow, LatencyRow], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; rows by what names them."""
        return {
            "identity": {name: list(pair) for name, pair in self.identity.items()},
            "only_first": [_named(row) for row in self.only_first],
            "only_second": [_named(row) for row in self.only_second],
            "common": {kind: asdict(rows) for kind, rows in self.common.items()},
            "worst": [
                {**_named(a), "first_us": a.p50_us, "second_us": b.p50_us, "ratio": b.p50_us / a.p50_us}
                for a, b in self.worst
            ],
        }


def diff_tables(first: LatencyTable, second: LatencyTable) -> TableDiff:
    """Compare two tables row by row, whatever their identities: another device, or another session of one."""
    mine, other = ({row.name: row for row in table.rows} for table in (first, second))
    pairs = {
        kind: [(row, other[name]) for name, row in mine.items() if name in other and row.kind == kind]
        for kind in (BLOCK, NETWORK)
    }
    common = {kind: _common(found) for kind, found in pairs.items() if found}
    far = [
        (abs(np.log(b.p50_us / a.p50_us / common[kind].median)), (a, b))
        for kind, found in pairs.items()
        for a, b in found
    ]
    far.sort(key=lambda entry: -entry[0])
    return TableDiff(
        identity=first.identity.differences(second.identity),
        only_first=tuple(row for name, row in mine.items() if name not in other),
        only_second=tuple(row for name, row in other.items() if name not in mine),
        common=common,
        worst=tuple(pair for _, pair in far[:WORST]),
    )


def _common(pairs: Sequence[tuple[LatencyRow, LatencyRow]]) -> CommonRows:
    from scipy.stats import kendalltau

    first, second = (np.array([pair[side].p50_us for pair in pairs]) for side in (0, 1))
    low, median, high = np.quantile(second / first, [0.05, 0.5, 0.95]).tolist()
    ranked = len(set(first.tolist())) > 1 and len(set(second.tolist())) > 1
    tau = float(kendalltau(first, second).statistic) if ranked else None
    return CommonRows(len(pairs), median, low, high, tau)


def _named(row: LatencyRow) -> dict[str, Any]:
    return dict(zip(("kind", "space", "num_classes", "key"), row.name, strict=True))
