"""Progress, tables and summaries on a terminal. Plain text when piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from edgenas.markup import visible

WIDTH = 80
BETWEEN = 2
FOLDED_COLUMNS = 4
"""On a narrow terminal, tables of fewer columns are folded cell by cell; wider ones would become unreadable."""
PLAIN_SECONDS = 10.0
"""Interval between progress lines of a running stage without a terminal."""


class ProgressDisplay:
    """Progress on standard error: a bar for every label on a terminal, a line every few seconds otherwise.

    Call it with (label, done, total). A label may have details after a colon: `training: 812 images/s`.

    Args:
        quiet: whether to show nothing.
        console: where bars are drawn; default: standard error.
        clock: seconds, for time left.
    """

    def __init__(
        self, *, quiet: bool = False, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console = console or Console(stderr=True)
        self.clock = clock
        self.quiet = quiet
        self.bars = Progress(
            TextColumn("{task.description:<22}", markup=False),
            # The details take their room from the bar.
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[details]}", markup=False),
            console=self.console,
            expand=True,
            disable=quiet or not self.console.is_terminal,
        )
        self.tasks: dict[str, TaskID] = {}
        self.started: dict[str, tuple[float, int]] = {}
        self.last_line = 0.0

    def __enter__(self) -> ProgressDisplay:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def __call__(self, label: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps are done under `label`."""
        label, _, details = label.partition(": ")
        if self.bars.disable:
            self._line(label, done, total, details)
            return
        if label not in self.tasks:
            self.tasks[label] = self.bars.add_task(label, total=total, completed=done, details=details)
        elif self.bars.tasks[self.tasks[label]].finished and done < total:
            # The same label starts again, for example for another device.
            self.bars.reset(self.tasks[label], total=total, completed=done)
        self.bars.update(self.tasks[label], completed=done, total=total, details=details)

    def _line(self, label: str, done: int, total: int, details: str) -> None:
        now = self.clock()
        first = label not in self.started
        began, before = self.started.setdefault(label, (now, done))
        if self.quiet or not (first or done == total or now - self.last_line > PLAIN_SECONDS):
            return
        self.last_line = now
        if done == total:
            # If the label starts again, for example for another device, its time starts again too.
            del self.started[label]
        seconds = now - began
        # Steps of an earlier process took none of this time.
        steps = done - before
        left = f", about {seconds / steps * (total - done):.0f} s left" if steps > 0 and done < total else ""
        try:
            print(
                f"{label}: {done}/{total}, {seconds:.0f} s{left}{details and f'; {details}'}",
                file=sys.stderr,
                flush=True,
            )
        except OSError:
            # The reader of standard error is gone, or the disk is full: the work continues.
            self.quiet = True


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[str] = (),
    console: Console | None = None,
) -> None:
    """Print a table.

    Args:
        columns: their headings.
        rows: a cell for each column.
        right: columns that are aligned to the right.
        console: where to print; default: standard output.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(Text(column), justify="right" if column in right else "left", overflow="fold")
    cells = [list(row) for row in rows]
    for row in cells:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console = console or Console()
    if console.is_terminal:
        # A console measures nothing as wider than itself.
        width = Console(width=10_000).measure(table).maximum
        if width <= console.width or len(columns) < FOLDED_COLUMNS:
            console.print(table)
        else:
            _print_numbered(columns, cells, right, console)
        return
    # Piped output has no width; a table folded at 80 columns would be harder to read and to grep.
    wide = Console(width=240, highlight=False)
    with wide.capture() as captured:
        wide.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _print_numbered(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str], console: Console
) -> None:
    """Print a table too wide for the terminal: numbers stand for its first column, which is printed below."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", *columns[1:]):
        table.add_column(Text(column), justify="right" if column in right else "left", overflow="fold")
    marks = [str(number) + ("*" if row[0].startswith("* ") else "") for number, row in enumerate(rows, start=1)]
    for mark, row in zip(marks, rows, strict=True):
        table.add_row(mark, *(Text(visible(cell)) for cell in row[1:]))
    console.print(table)
    print(f"\n{columns[0]}")
    for mark, row in zip(marks, rows, strict=True):
        for line in fold(f"{mark}  {visible(row[0]).removeprefix('* ').strip()}", console.width):
            print(line)


def print_comparison(
    names: Sequence[str], rows: Mapping[str, Sequence[str]], warnings: Sequence[str], width: int = WIDTH
) -> None:
    """Print runs as columns, as many side by side as fit, then long values, like architectures, and warnings."""
    longest = max(map(len, rows))
    room = max(12, min(24, (width - longest) // min(len(names), 3) - BETWEEN))
    long = [fact for fact, values in rows.items() if any(len(value) > room for value in values)]
    at_once = max(1, (width - longest) // (room + BETWEEN))
    for start in range(0, len(names), at_once):
        part = slice(start, start + at_once)
        heads = [f"{number}" for number in range(start + 1, min(start + at_once, len(names)) + 1)]
        print_table(["", *heads], [[fact, *rows[fact][part]] for fact in rows if fact not in long], right=heads)
        print()
    for number, name in enumerate(names, start=1):
        print_folded(f"{number}  {name}")
        for fact in long:
            print_folded(f"{fact} {rows[fact][number - 1]}", 3)
    for warning in warnings:
        print_folded(warning)


def print_folded(text: str, indent: int = 0) -> None:
    """Print text folded at 80 columns, architectures between their stages; later lines are indented by two more."""
    for line in text.splitlines() or [""]:
        for folded in fold(visible(line), WIDTH, indent):
            print(folded)


def print_line(text: str) -> None:
    """Print a line, folded at 80 columns on a terminal; piped output keeps it whole, so that grep finds it."""
    if sys.stdout.isatty():
        print_folded(text)
    else:
        print(visible(text))


def fold(line: str, width: int, indent: int = 0) -> list[str]:
    """Return a line in parts of at most `width` characters, split at blanks and before the `_` or `-` of an arch."""
    lines, rest, lead = [], line, " " * indent
    while len(lead + rest) > width:
        room = width - len(lead)
        at = max(rest.rfind(" ", 1, room + 1), *(rest.rfind(mark, 1, room) for mark in "_-"))
        at = at if at > 0 else room
        lines.append((lead + rest[:at]).rstrip())
        rest, lead = rest[at:].lstrip(" "), " " * (indent + BETWEEN)
    return [*lines, lead + rest]
