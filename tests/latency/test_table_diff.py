from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau
from small_tables import IDENTITY, LATENCIES, TABLES, row, table

from edgenas.latency.table import LatencyTable
from edgenas.latency.table_diff import diff_tables


@given(TABLES)
def test_a_table_beside_itself_is_all_ones(a: LatencyTable) -> None:
    found = diff_tables(a, a)
    assert found.identity == {}
    assert found.only_first == found.only_second == ()
    common = found.common["block"]
    assert (common.count, common.median, common.low, common.high) == (len(a.rows), 1.0, 1.0, 1.0)
    assert common.kendall_tau in (None, pytest.approx(1.0))
    assert all(pair["ratio"] == 1 for pair in found.to_json()["worst"])


@given(TABLES, TABLES)
def test_every_row_is_common_or_only_in_one(a: LatencyTable, b: LatencyTable) -> None:
    there, back = diff_tables(a, b), diff_tables(b, a)
    assert (there.only_first, there.only_second) == (back.only_second, back.only_first)
    common = {one.name for one in a.rows} & {one.name for one in b.rows}
    assert {one.name for one in (*there.only_first, *there.only_second)} == {
        one.name for one in (*a.rows, *b.rows) if one.name not in common
    }
    assert sum(rows.count for rows in there.common.values()) == len(common)


@given(st.lists(st.tuples(LATENCIES, LATENCIES), min_size=2, max_size=20))
def test_figures_are_those_of_numpy_and_scipy(pairs: list[tuple[float, float]]) -> None:
    a, b = (table([row(f"k{n}", pair[side]) for n, pair in enumerate(pairs)]) for side in (0, 1))
    found = diff_tables(a, b).common["block"]
    first, second = np.array(pairs).T
    assert found.median == pytest.approx(np.median(second / first))
    tau = kendalltau(first, second).statistic if len(set(first)) > 1 and len(set(second)) > 1 else None
    assert found.kendall_tau == pytest.approx(tau)


def test_the_worst_five_are_the_farthest_from_the_median_in_either_direction() -> None:
    factors = [1, 1, 1, 1, 1, 1.1, 1.2, 0.5, 3, 0.9, 1.01]
    a = table([row(f"k{n}", 10) for n, _ in enumerate(factors)])
    b = table([row(f"k{n}", 10 * factor) for n, factor in enumerate(factors)])
    worst = [pair["ratio"] for pair in diff_tables(a, b).to_json()["worst"]]
    assert worst == pytest.approx([3, 0.5, 1.2, 0.9, 1.1])


def test_blocks_and_networks_are_reported_separately_and_identities_compared() -> None:
    a = table([row("k", 10), row("n", 100, kind="network"), row("a")])
    b = replace(table([row("k", 20), row("n", 300, kind="network"), row("b")]), identity=replace(IDENTITY, threads=2))
    found = diff_tables(a, b)
    assert {kind: rows.median for kind, rows in found.common.items()} == {"block": 2.0, "network": 3.0}
    assert found.identity == {"threads": (1, 2)}
    assert [[one.key for one in rows] for rows in (found.only_first, found.only_second)] == [["a"], ["b"]]
