"""Differences between two tables: identities, rows in one table only, and ratios and ranks of common rows."""

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
    """Statistics of the rows of one kind in both tables. Ratios are p50 of the second table / p50 of the first.

    Attributes:
        count: number of rows.
        median: median ratio.
        low: 5 % quantile of the ratios.
        high: 95 % quantile of the ratios.
        kendall_tau: rank correlation of the latencies; None if there are fewer than two rows, or all latencies of a
            table are equal.
    """

    count: int
    median: float
    low: float
    high: float
    kendall_tau: float | None


@dataclass(frozen=True)
class TableDiff:
    """Differences between two tables.

    Attributes:
        identity: fields that differ, with both values; `unknown` always differs.
        only_first: rows that only the first table has.
        only_second: rows that only the second table has.
        common: statistics of the rows that both tables have, by kind.
        worst: up to five pairs of rows (first, second) with the ratios farthest from their kind's median, farthest
            first.
    """

    identity: dict[str, tuple[Any, Any]]
    only_first: tuple[LatencyRow, ...]
    only_second: tuple[LatencyRow, ...]
    common: dict[str, CommonRows]
    worst: tuple[tuple[LatencyRow, LatencyRow], ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, with rows as their kind, space, number of classes and key."""
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
    """Compare two tables row by row. Their identities may differ."""
    first_rows, second_rows = ({row.name: row for row in table.rows} for table in (first, second))
    pairs_by_kind = {
        kind: [(row, second_rows[name]) for name, row in first_rows.items() if name in second_rows and row.kind == kind]
        for kind in (BLOCK, NETWORK)
    }
    common = {kind: _common(pairs) for kind, pairs in pairs_by_kind.items() if pairs}
    distances = [
        (abs(np.log(b.p50_us / a.p50_us / common[kind].median)), (a, b))
        for kind, pairs in pairs_by_kind.items()
        for a, b in pairs
    ]
    distances.sort(key=lambda entry: -entry[0])
    return TableDiff(
        identity=first.identity.differences(second.identity),
        only_first=tuple(row for name, row in first_rows.items() if name not in second_rows),
        only_second=tuple(row for name, row in second_rows.items() if name not in first_rows),
        common=common,
        worst=tuple(pair for _, pair in distances[:WORST]),
    )


def _common(pairs: Sequence[tuple[LatencyRow, LatencyRow]]) -> CommonRows:
    from scipy.stats import kendalltau

    first, second = (np.array([pair[side].p50_us for pair in pairs]) for side in (0, 1))
    low, median, high = np.quantile(second / first, [0.05, 0.5, 0.95]).tolist()
    is_ranked = len(set(first.tolist())) > 1 and len(set(second.tolist())) > 1
    tau = float(kendalltau(first, second).statistic) if is_ranked else None
    return CommonRows(len(pairs), median, low, high, tau)


def _named(row: LatencyRow) -> dict[str, Any]:
    return dict(zip(("kind", "space", "num_classes", "key"), row.name, strict=True))
