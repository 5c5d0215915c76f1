"""Merging of latency tables that share one identity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from edgenas.errors import TableError
from edgenas.latency.table import STATISTIC, LatencyTable
from edgenas.records.latency import UNKNOWN

SESSIONS = "sessions"
"""Circumstances of the tables that a merged table was made from."""


def merge_tables(tables: Sequence[LatencyTable], names: Sequence[str]) -> LatencyTable:
    """Return one table of all rows. A row in several tables is taken from the last of them.

    Rows are not pooled, because medians and intervals of two sessions cannot be combined without their samples, and
    merging a table with itself must not narrow the intervals.

    Args:
        tables: tables in order of priority, the newest last.
        names: names of the tables, for messages.

    Raises:
        TableError: there are fewer than two tables, or a field of their identities differs or is unknown.
    """
    if len(tables) < 2:
        raise TableError(f"expected two or more tables to merge, got {len(tables)}")
    for table, name in zip(tables[1:], names[1:], strict=True):
        for field, (first, other) in tables[0].identity.differences(table.identity).items():
            reason = f"; {UNKNOWN} never equals {UNKNOWN}" if UNKNOWN in (first, other) else ""
            raise TableError(
                f"{names[0]} and {name}: expected tables of one identity, but {field} is {first} in the first and "
                f"{other} in the other{reason}"
            )
    rows = {row.name: row for table in tables for row in table.rows}
    circumstances = _merge_circumstances(session for table in tables for session in sessions(table.circumstances))
    return LatencyTable(tables[0].identity, circumstances, tuple(rows.values()))


def out_of_order(tables: Sequence[LatencyTable]) -> bool:
    """Return whether a table follows a newer one, so that older rows replace newer ones."""
    dates = [str(table.circumstances.get("measured_at")) for table in tables if table.circumstances.get("measured_at")]
    return dates != sorted(dates)


def sessions(circumstances: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the circumstances of each table that a table was merged from, or its own if it was not merged."""
    merged = circumstances.get(SESSIONS)
    if isinstance(merged, list) and merged and all(isinstance(session, dict) for session in merged):
        return merged
    return [circumstances]


def _merge_circumstances(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge the circumstances of several sessions.

    Equal values are kept. Dates become the first and the last, drift and foreign load the largest value, and warnings
    the union. Other values that differ are only in `sessions`, which has the full circumstances of each session.
    """
    originals = list(parts)
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for session in originals for key in session):
        values = [session.get(key) for session in originals]
        if all(value == values[0] for value in values):
            merged[key] = values[0]
        elif key in _RULES and (typed := [value for value in values if isinstance(value, _RULES[key][0])]):
            merged[key] = _RULES[key][1](typed)
    return {**merged, SESSIONS: [dict(session) for session in originals]}


def _union(lists: Iterable[Iterable[Any]]) -> list[str]:
    return sorted({str(entry) for entries in lists for entry in entries})


_RULES: dict[str, tuple[type | tuple[type, ...], Callable[[Any], Any]]] = {
    "measured_at": (str, max),
    "first_measured_at": (str, min),
    "sentinel_drift": ((int, float), max),
    "foreign_load": ((int, float), max),
    "warnings": (list, _union),
    STATISTIC: (str, lambda values: ", ".join(sorted(set(values)))),
}
