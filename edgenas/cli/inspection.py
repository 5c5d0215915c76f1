"""How `edgenas inspect` shows what it found: in as many columns as the terminal has."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from edgenas.display import print_table
from edgenas.quantities import milliseconds

WIDEST = 110
"""Of prose; piped output has no width to fit into."""
LONGEST_BAR, SHORTEST_BAR = 30, 8
BETWEEN = 2
"""Blanks that part the columns of a table."""
COLUMNS = ("block", "ms", "share", "kMACs", "kB moved", "bound", "reached")
BAR_PLACE = 3


def print_inspection(found: dict[str, Any]) -> None:
    """A bar for every block, the costliest operators, memory, and how it was measured.

    Args:
        found: `Inspection.to_json()`.
    """
    console = Console()
    width = console.width if console.is_terminal else WIDEST
    told = found["circumstances"]
    _print_prose(f"{found['model']}  {found['metadata'].get('arch', '')}".rstrip(), width)
    _print_prose(
        f"{milliseconds(found['p50_us'])} ms p50, {milliseconds(found['p95_us'])} ms p95 over {told['runs']} runs in "
        f"one process, {told['threads']} thread(s), {told['runtime']} {told['runtime_version']} "
        f"({told['provider']}), {told['cpu']}",
        width,
    )
    if found["batch_size"] > 1:
        each = milliseconds(found["p50_us"] / found["batch_size"])
        _print_prose(
            f"a batch of {found['batch_size']}: all numbers are of {found['batch_size']} inputs at once, which makes "
            f"{each} ms p50 an input",
            width,
        )
    if not found["metadata"]:
        _print_prose(f"not exported by edgenas, so there are no blocks: grouped by {told['grouped_by']}", width)
    print()
    _print_blocks(found["blocks"], console)
    _print_costliest(found, width)
    _print_circumstances(found, width)


def _print_blocks(blocks: Sequence[dict[str, Any]], console: Console) -> None:
    cells = [_cells(block) for block in blocks]
    room = LONGEST_BAR
    if console.is_terminal:
        taken = sum(max(map(len, column)) + BETWEEN for column in zip(COLUMNS, *cells, strict=True))
        room = min(LONGEST_BAR, max(SHORTEST_BAR, console.width - taken))
    ink = "█" if console.is_terminal else "#"
    longest = max(block["time_us"] for block in blocks)
    bars = [ink * max(1, round(room * block["time_us"] / longest)) for block in blocks]
    rows = [[*row[:BAR_PLACE], bar, *row[BAR_PLACE:]] for row, bar in zip(cells, bars, strict=True)]
    columns = [*COLUMNS[:BAR_PLACE], "", *COLUMNS[BAR_PLACE:]]
    print_table(columns, rows, right=["ms", "share", "kMACs", "kB moved", "reached"])


def _cells(block: dict[str, Any]) -> list[str]:
    """Of every column but the bar."""
    return [
        block["name"],
        milliseconds(block["time_us"]),
        f"{block['share']:.1%}",
        f"{block['macs'] / 1e3:,.0f}",
        f"{block['bytes_moved'] / 1e3:,.0f}",
        block["bound"],
        f"{block['attained']:.0%}",
    ]


def _print_costliest(found: dict[str, Any], width: int) -> None:
    print(f"\nThe {len(found['costliest'])} costliest of {len(found['operators'])} operators:")
    for number, operator in enumerate(found["costliest"], start=1):
        print(f"{number}. {operator['block']} {operator['label']}, {milliseconds(operator['time_us'])} ms")
        _print_prose(operator["why"], width, "   ")


def _print_circumstances(found: dict[str, Any], width: int) -> None:
    paper, grown = found["peak_activation_bytes"], found["memory"]
    counted = f"{paper / 1e3:,.1f} kB of activations at most" if paper is not None else "activations of unknown shapes"
    inputs = "one input" if found["batch_size"] == 1 else f"{found['batch_size']} inputs at once"
    lines = {"memory": f"counted: {counted}, {found['weight_bytes'] / 1e3:,.1f} kB of weights, {inputs}"}
    if grown:
        loaded, peak = (grown[key] / 1e6 for key in ("load_bytes", "peak_bytes"))
        lines[""] = f"measured: a fresh process grew by {loaded:.1f} MB on loading it, {peak:.1f} MB at its peak"
    lines["bounds"] = (
        f"{found['macs_per_us'] / 1e3:.3g} GMAC/s and {found['bytes_per_us'] / 1e3:.3g} GB/s, the fastest of a matrix "
        "product, a copy in cache and this model's own operators; memory binds below "
        f"{found['ridge_macs_per_byte']:.2g} MACs a byte; reached: the time a bound allows over the time taken"
    )
    lines["times"] = (
        f"the profiler adds {found['profiler_us']:.1f} µs to an operator: taken off, and the rest brought to the p50 "
        "of runs without it, which took turns with the profiled ones"
    )
    print()
    for name, text in lines.items():
        _print_prose(text, width, " " * 10, first=f"{name:<10}")


def _print_prose(text: str, width: int, indent: str = "", *, first: str | None = None) -> None:
    lead = indent if first is None else first
    wrapped = textwrap.fill(
        text, min(width, WIDEST), initial_indent=lead, subsequent_indent=indent, break_on_hyphens=False
    )
    print(wrapped)
