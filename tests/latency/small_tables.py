"""Small tables for tests, and hypothesis strategies of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from edgenas.latency.table import LatencyTable
from edgenas.records.latency import Identity, LatencyRow

IDENTITY = Identity("pi", "onnxruntime", "1.31.1", "cpu", "fp32", 1, "all", False, 1)


def row(key: str, p50: float = 10.0, *, kind: str = "block", **changes: Any) -> LatencyRow:
    space, classes = ("s@1", 10) if kind == "network" else ("", 0)
    values: dict[str, Any] = {"p95_us": 1.1 * p50, "mean_us": p50, "std_us": 0.01 * p50}
    values |= {"ci_low_us": 0.99 * p50, "ci_high_us": 1.01 * p50, "count": 400, "rounds": 20, "repeat_noise": 0.01}
    return LatencyRow(kind, space, classes, key, p50, **(values | changes))


def table(rows: Sequence[LatencyRow], circumstances: Mapping[str, Any] | None = None) -> LatencyTable:
    return LatencyTable(IDENTITY, dict(circumstances or {}), tuple(rows))


KEYS = st.integers(0, 30).map(lambda n: f"ir_i8_r{n + 4}_o8_m8_k3_s1_se0_relu")
LATENCIES = st.floats(0.5, 1e6)
ROWS = st.lists(st.tuples(KEYS, LATENCIES), min_size=1, max_size=12, unique_by=lambda drawn: drawn[0]).map(
    lambda drawn: [row(key, p50) for key, p50 in drawn]
)
CIRCUMSTANCES = st.fixed_dictionaries(
    {},
    optional={
        "measured_at": st.dates().map(str),
        "first_measured_at": st.dates().map(str),
        "cpu": st.sampled_from(["one", "other"]),
        "sentinel_drift": st.floats(0, 0.5) | st.none(),
        "warnings": st.lists(st.sampled_from(["loud", "hot"]), max_size=2),
        "call_overhead_us": st.floats(0.1, 9),
    },
)
TABLES = st.builds(table, ROWS, CIRCUMSTANCES)
