"""What `edgenas inspect` prints, fitted to the terminal's width."""

from __future__ import annotations

import textwrap

from rich.console import Console

from edgenas.deploy.inspection.block_totals import BlockTotals
from edgenas.deploy.inspection.inspect import Inspection
from edgenas.display import print_table
from edgenas.quantities import milliseconds

WIDEST = 110
"""Maximum width of prose; piped output has no width."""
LONGEST_BAR, SHORTEST_BAR = 30, 8
BETWEEN = 2
"""Blanks between the columns of a table."""
COLUMNS = ("block", "ms", "share", "kMACs", "kB moved", "bound", "reached")
BAR_PLACE = 3


def print_inspection(inspection: Inspection) -> None:
    """Print a bar for every block, the slowest operators, memory, and the measurement."""
    console = Console()
    width = console.width if console.is_terminal else WIDEST
    circumstances = inspection.circumstances
    _print_prose(f"{inspection.model}  {inspection.metadata.get('arch', '')}".rstrip(), width)
    _print_prose(
        f"{milliseconds(inspection.p50_us)} ms p50, {milliseconds(inspection.p95_us)} ms p95 over "
        f"{circumstances['runs']} runs in one process, {circumstances['threads']} thread(s), "
        f"{circumstances['runtime']} {circumstances['runtime_version']} ({circumstances['provider']}), "
        f"{circumstances['cpu']}",
        width,
    )
    if inspection.batch_size > 1:
        each = milliseconds(inspection.p50_us / inspection.batch_size)
        _print_prose(
            f"a batch of {inspection.batch_size}: all numbers are for {inspection.batch_size} inputs at once: "
            f"{each} ms p50 an input",
            width,
        )
    if not inspection.metadata:
        _print_prose(
            f"not exported by edgenas, so there are no blocks: grouped by {circumstances['grouped_by']}", width
        )
    print()
    _print_blocks(inspection, console)
    _print_slowest(inspection, width)
    _print_circumstances(inspection, width)


def _print_blocks(inspection: Inspection, console: Console) -> None:
    blocks = inspection.blocks
    cells = [_cells(inspection, block) for block in blocks]
    room = LONGEST_BAR
    if console.is_terminal:
        taken = sum(max(map(len, column)) + BETWEEN for column in zip(COLUMNS, *cells, strict=True))
        room = min(LONGEST_BAR, max(SHORTEST_BAR, console.width - taken))
    ink = "█" if console.is_terminal else "#"
    longest = max(block.time_us for block in blocks)
    bars = [ink * max(1, round(room * block.time_us / longest)) for block in blocks]
    rows = [[*row[:BAR_PLACE], bar, *row[BAR_PLACE:]] for row, bar in zip(cells, bars, strict=True)]
    columns = [*COLUMNS[:BAR_PLACE], "", *COLUMNS[BAR_PLACE:]]
    print_table(columns, rows, right=["ms", "share", "kMACs", "kB moved", "reached"])


def _cells(inspection: Inspection, block: BlockTotals) -> list[str]:
    """Return the cells of a block, without the bar."""
    return [
        block.name,
        milliseconds(block.time_us),
        f"{block.time_us / inspection.p50_us:.1%}",
        f"{block.macs / 1e3:,.0f}",
        f"{block.bytes_moved / 1e3:,.0f}",
        inspection.bound(block),
        f"{inspection.attained(block):.0%}",
    ]


def _print_slowest(inspection: Inspection, width: int) -> None:
    print(f"\nThe {len(inspection.costliest)} slowest of {len(inspection.operators)} operators:")
    for number, operator in enumerate(inspection.costliest, start=1):
        print(f"{number}. {operator.block} {operator.role or operator.op}, {milliseconds(operator.time_us)} ms")
        _print_prose(inspection.why(operator), width, "   ")


def _print_circumstances(inspection: Inspection, width: int) -> None:
    counted_bytes, growth = inspection.peak_activation_bytes, inspection.memory
    counted = (
        f"{counted_bytes / 1e3:,.1f} kB of activations at most"
        if counted_bytes is not None
        else "activations of unknown shapes"
    )
    inputs = "one input" if inspection.batch_size == 1 else f"{inspection.batch_size} inputs at once"
    lines = {"memory": f"counted: {counted}, {inspection.weight_bytes / 1e3:,.1f} kB of weights, {inputs}"}
    if growth:
        loaded, peak = growth.load_bytes / 1e6, growth.peak_bytes / 1e6
        lines[""] = f"measured: a new process grew by {loaded:.1f} MB on loading it, {peak:.1f} MB at its peak"
    lines["bounds"] = (
        f"{inspection.macs_per_us / 1e3:.3g} GMAC/s and {inspection.bytes_per_us / 1e3:.3g} GB/s, the fastest of "
        "a matrix product, a copy in cache and this model's own operators; memory is the bound below "
        f"{inspection.ridge:.2g} MACs per byte; reached: time by the bound over measured time"
    )
    lines["times"] = (
        f"the profiler adds {inspection.profiler_us:.1f} µs to an operator: subtracted, and the rest scaled to "
        "the p50 of runs without it, which alternated with the profiled ones"
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
