"""What `edgenas tables` prints: lines of at most 80 columns, numbers first, keys folded; --json prints all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgenas.display import print_folded
from edgenas.latency.table import LatencyTable
from edgenas.latency.table_check import Warning
from edgenas.latency.table_diff import TableDiff
from edgenas.quantities import milliseconds
from edgenas.records.latency import UNKNOWN

LISTED = 3
"""Rows listed for each warning."""


def print_check(name: str, table: LatencyTable, warnings: Sequence[Warning]) -> None:
    """Print the warnings about a table."""
    print_folded(f"{name}: {counted(table)}")
    for warning in warnings:
        print_folded(f"{'SERIOUS' if warning.serious else 'warning'}  {warning.text}")
        _list(warning.rows)
    serious = sum(warning.serious for warning in warnings)
    print(f"{len(warnings)} warnings, {serious} serious" if warnings else "no warnings")


def print_diff(first: str, second: str, diff: TableDiff) -> None:
    """Print how two tables differ."""
    print_folded(f"A  {first}")
    print_folded(f"B  {second}")
    both = [field for field, pair in diff.identity.items() if set(pair) == {UNKNOWN}]
    for field, (a, b) in diff.identity.items():
        if field not in both:
            print_folded(f"{field}: {a} in A, {b} in B")
    if both:
        print_folded(f"{UNKNOWN} in both: {', '.join(both)}")
    if not diff.identity:
        print("same identity: one device and setting")
    for letter, rows in (("A", diff.only_first), ("B", diff.only_second)):
        if rows:
            print(f"only in {letter}: {len(rows)} rows")
            _list([row.key for row in rows])
    for kind, common in diff.common.items():
        tau = "-" if common.kendall_tau is None else f"{common.kendall_tau:.3f}"
        print_folded(
            f"{common.count} common {kind}s: p50 of B / A {common.median:.3f} in the median, 90 % within "
            f"{common.low:.3f} to {common.high:.3f}; Kendall tau {tau}"
        )
    if not diff.common:
        print("no common rows")
        return
    print("farthest from the median ratio:")
    for a, b in diff.worst:
        print_folded(f"{b.p50_us / a.p50_us:.3f}  {milliseconds(a.p50_us)} ms, {milliseconds(b.p50_us)} ms  {a.key}", 2)


def print_written(table: LatencyTable, folder: str, notes: Iterable[str] = ()) -> None:
    """Print the path of a new table, and notes."""
    print_folded(f"wrote {folder}: {counted(table)}")
    for note in notes:
        print_folded(note)
    print_folded(f"check it: edgenas tables check {folder}")


def counted(table: LatencyTable) -> str:
    """Return the numbers of blocks and networks as text."""
    blocks = len(table.blocks())
    return f"{blocks} blocks, {len(table.rows) - blocks} networks"


def _list(keys: Sequence[str]) -> None:
    for key in keys[:LISTED]:
        print_folded(key, 2)
    if len(keys) > LISTED:
        print(f"  … and {len(keys) - LISTED} more: --json lists all")
