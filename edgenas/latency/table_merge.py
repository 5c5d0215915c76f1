"""Tables of one identity put together, circumstances and all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from edgenas.errors import TableError
from edgenas.latency.table import STATISTIC, LatencyTable
from edgenas.records.latency import UNKNOWN

SESSIONS = "sessions"
"""Circumstances of the tables that a merged one was made of."""


def merge_tables(tables: Sequence[LatencyTable], names: Sequence[str]) -> LatencyTable:
    """One table of all rows; of a row that several have, the one of the table named last stands.

    A row stays what one session measured: medians and intervals of two sessions cannot be pooled without their
    samples, and merging a table with itself must not make it look better. Name the newest table last.

    Args:
        tables: in order.
        names: of the tables, for messages.

    Raises:
        TableError: fewer than two tables, or identities that differ in a field or do not know it.
    """
    if len(tables) < 2:
        raise TableError(f"expected two or more tables to merge, got {len(tables)}")
    for table, name in zip(tables[1:], names[1:], strict=True):
        for field, (first, other) in tables[0].identity.differences(table.identity).items():
            why = f"; {UNKNOWN} equals nothing, not even {UNKNOWN}" if UNKNOWN in (first, other) else ""
            raise TableError(
                f"{names[0]} and {name} are no tables of one identity: {field} is {first} in the first, {other} in "
                f"the other{why}"
            )
    rows = {row.name: row for table in tables for row in table.rows}
    circumstances = combined(session for table in tables for session in sessions(table.circumstances))
    return LatencyTable(tables[0].identity, circumstances, tuple(rows.values()))


def out_of_order(tables: Sequence[LatencyTable]) -> bool:
    """Whether one is named after another that was measured on a later day, so that older rows replace newer ones."""
    dates = [str(table.circumstances.get("measured_at")) for table in tables if table.circumstances.get("measured_at")]
    return dates != sorted(dates)


def sessions(circumstances: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Circumstances of each table that one was made of; itself where it was not merged."""
    kept = circumstances.get(SESSIONS)
    if isinstance(kept, list) and kept and all(isinstance(one, dict) for one in kept):
        return kept
    return [circumstances]


def combined(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Circumstances of a merged table, from those of its sessions.

    What all share stands as it is; of dates the first and the last, of drift and foreign load the worst, of warnings
    all. What else differs stands only under `sessions`, where each session's own circumstances are kept whole.
    """
    kept = list(parts)
    found: dict[str, Any] = {}
    for key in dict.fromkeys(key for session in kept for key in session):
        values = [session.get(key) for session in kept]
        if all(value == values[0] for value in values):
            found[key] = values[0]
        elif key in _RULES and (known := [value for value in values if isinstance(value, _RULES[key][0])]):
            found[key] = _RULES[key][1](known)
    return {**found, SESSIONS: [dict(session) for session in kept]}


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
