"""What people see on a terminal: progress, tables, numbers in their units. Plain when piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

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

from edgenas.budget import parse_budget
from edgenas.deploy.bundle.manifest import deployed_latency
from edgenas.deploy.bundle.shipped_wording import VERDICT_WORDS, accuracy_sentence, latency_sentences
from edgenas.markup import visible
from edgenas.quantities import milliseconds

WIDTH = 80
BETWEEN = 2
FOLDED_COLUMNS = 4
"""Narrower tables are folded cell by cell where a terminal is too narrow; of wider ones that leaves slivers."""
PLAIN_SECONDS = 10.0
"""Without a terminal a running stage says where it is this often."""


class ProgressDisplay:
    """A bar with time left for every label on a terminal, a line now and then otherwise; on standard error.

    Call it with (label, done, total). Behind a colon, a label may tell how it goes: `training: 812 images/s`.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True)
        self.quiet = quiet
        self.bars = Progress(
            TextColumn("{task.description:<22}", markup=False),
            # What is told of a stage's going takes its room from the bar.
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[going]}", markup=False),
            console=self.console,
            expand=True,
            disable=quiet or not self.console.is_terminal,
        )
        self.tasks: dict[str, TaskID] = {}
        self.started: dict[str, tuple[float, int]] = {}
        self.spoken = 0.0

    def __enter__(self) -> ProgressDisplay:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def __call__(self, label: str, done: int, total: int) -> None:
        """Show that `done` of `total` is reached under `label`."""
        label, _, going = label.partition(": ")
        if self.bars.disable:
            self._line(label, done, total, going)
            return
        if label not in self.tasks:
            self.tasks[label] = self.bars.add_task(label, total=total, completed=done, going=going)
        elif self.bars.tasks[self.tasks[label]].finished and done < total:
            # Another device's, say.
            self.bars.reset(self.tasks[label], total=total, completed=done)
        self.bars.update(self.tasks[label], completed=done, total=total, going=going)

    def _line(self, label: str, done: int, total: int, going: str) -> None:
        now = time.monotonic()
        first = label not in self.started
        began, before = self.started.setdefault(label, (now, done))
        if self.quiet or not (first or done == total or now - self.spoken > PLAIN_SECONDS):
            return
        self.spoken = now
        if done == total:
            # What comes under this label again, another device's, say, has a time of its own.
            del self.started[label]
        seconds = now - began
        # What an earlier call did before it was stopped took none of this time.
        own = done - before
        left = f", about {seconds / own * (total - done):.0f} s left" if own > 0 and done < total else ""
        try:
            print(
                f"{label}: {done}/{total}, {seconds:.0f} s{left}{going and f'; {going}'}", file=sys.stderr, flush=True
            )
        except OSError:
            # Whoever read along is gone, or the log's disk is full: no reason to stop.
            self.quiet = True


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """A table on standard output; columns named in `right` are aligned to it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(Text(column), justify="right" if column in right else "left", overflow="fold")
    cells = [list(row) for row in rows]
    for row in cells:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console = Console()
    if console.is_terminal:
        # A console measures nothing as wider than itself.
        wanted = Console(width=10_000).measure(table).maximum
        if wanted <= console.width or len(columns) < FOLDED_COLUMNS:
            console.print(table)
        else:
            _print_numbered(columns, cells, right, console)
        return
    # Piped output has no width to fit into; a table folded at 80 would be harder to read and to grep.
    wide = Console(width=240, highlight=False)
    with wide.capture() as captured:
        wide.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _print_numbered(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str], console: Console
) -> None:
    """A table too wide for the terminal: its first column is told by number, and below."""
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
    """Runs as columns, as many side by side as fit, then long values, like archs, and warnings."""
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
        say(f"{number}  {name}")
        for fact in long:
            say(f"{fact} {rows[fact][number - 1]}", 3)
    for warning in warnings:
        say(warning)


def say(text: str, indent: int = 0) -> None:
    """Text folded at 80 columns, an arch's between its stages; later lines are indented by two more."""
    for line in text.splitlines() or [""]:
        for folded in fold(visible(line), WIDTH, indent):
            print(folded)


def tell(text: str) -> None:
    """A line, on a terminal folded at 80 columns; piped it stays one, to be searched for."""
    if sys.stdout.isatty():
        say(text)
    else:
        print(visible(text))


def fold(line: str, width: int, indent: int = 0) -> list[str]:
    """A line in several of at most `width` characters: at blanks, and before the `_` or `-` of an arch."""
    lines, rest, lead = [], line, " " * indent
    while len(lead + rest) > width:
        room = width - len(lead)
        at = max(rest.rfind(" ", 1, room + 1), *(rest.rfind(mark, 1, room) for mark in "_-"))
        at = at if at > 0 else room
        lines.append((lead + rest[:at]).rstrip())
        rest, lead = rest[at:].lstrip(" "), " " * (indent + BETWEEN)
    return [*lines, lead + rest]


def print_summary(summary: dict[str, Any], folder: str) -> None:
    """A run's front, the chosen network, and where its file is."""
    several = len(summary["predictors"]) > 1
    rows = []
    for entry in summary["front"]:
        for name, latency in entry["latency"].items():
            verdict = VERDICT_WORDS.get(latency["verdict"], "-")
            rows.append(
                [
                    ("* " if entry["arch"] == summary["chosen"]["arch"] else "  ") + entry["arch"],
                    *([name] if several else []),
                    _top1(entry),
                    _predicted(latency),
                    milliseconds(latency["p50_us"]) if latency["p50_us"] is not None else "-",
                    verdict if not entry["dropped"] else f"{verdict} (dropped: {entry['dropped_because']})",
                ]
            )
    columns = [
        "arch",
        *(["device"] if several else []),
        "val top-1",
        "predicted ms [interval]",
        "measured ms",
        "within budget",
    ]
    print_table(columns, rows, right=["val top-1", "predicted ms [interval]", "measured ms"])
    chosen = summary["chosen"]
    print()
    if chosen["onnx"] is not None:
        tell("These accuracies and latencies made the choice. Below are those of the file that ships.")
        print()
    print(f"budgets  {', '.join(parse_budget(text).words for text in summary['budgets'])}")
    flagged = [entry for entry in summary["front"] if any(one.get("warnings") for one in entry["latency"].values())]
    if flagged:
        print(f"warnings   the timer warnings {len(flagged)} of {len(summary['front'])} measurements; see the report")
    if "accuracy" in summary:
        print(f"accuracy {accuracy_text(summary['accuracy'])}")
    print(f"chosen   {chosen['arch']}")
    if summary.get("choice", {}).get("by", "best") != "best":
        print(f"         {summary['choice']['words']}")
    if tuned := summary.get("finetune"):
        before = "" if tuned["val_top1_before"] is None else f"{tuned['val_top1_before']:.2%} before, "
        kept = "" if not before or tuned["val_top1_after"] > tuned["val_top1_before"] else ", so it stays as it was"
        print(f"tuned    on {tuned['dataset']}: {before}{tuned['val_top1_after']:.2%} validation top-1 after{kept}")
    if chosen["onnx"] is not None:
        for line in latency_sentences(chosen["latency"]):
            tell(f"measured {line}")
        tell(f"test     {accuracy_sentence(chosen['test_top1'], chosen['val_top1'])}")
        print(f"model    {folder}/{chosen['onnx']}")
    for note in summary.get("notes", []):
        print(f"note     {note}")
    if "int8" in summary:
        print_int8(summary["int8"], folder, chosen["onnx"])
    print(f"report   {folder}/report/report.html, and report.md beside it")


def _top1(entry: dict[str, Any]) -> str:
    """Of a network of the front; with the half-width of its interval where that is known."""
    top1, interval = entry.get("deployed_top1", entry["val_top1"]), entry.get("val_top1_interval")
    if interval is None:
        return f"{top1:.2%}"
    half = (interval[1] - interval[0]) / 2
    return f"{top1:.2%} measured" if half == 0 else f"{top1:.2%} ± {half:.2%}"


def _predicted(latency: dict[str, Any]) -> str:
    text = milliseconds(latency["predicted_us"])
    if latency["interval_us"] is None:
        return text
    low, high = latency["interval_us"]
    return f"{text} [{milliseconds(low)}, {milliseconds(high)}]"


def accuracy_text(source: dict[str, Any]) -> str:
    """Where accuracies come from that no supernet of the run told, and how good they are."""
    if "predictor" in source:
        return f"as {source['predictor']} predicts it; how far that is off is not known"
    return (
        f"of {source['rows']} archs measured elsewhere ({source['file']}), and learnt from them; leaving one out, RMSE "
        f"{source['rmse_points']:.2f} points, Kendall tau {source['kendall_tau']:.2f}, "
        f"{source['coverage_90']:.0%} within their 90 % interval"
    )


def print_int8(int8: dict[str, Any], folder: str, told: str) -> None:
    """The int8 form of a run's chosen network, and whether it is worth it; a path that was `told` is not repeated."""
    place = "that file" if int8["onnx"] == told else f"{folder}/{int8['onnx']}"
    print(f"int8     {place}, {int8['test_top1']:.2%} top-1 on the test images")
    for note in int8["notes"]:
        print(f"         {note}")


def print_bundle(manifest: dict[str, Any], folder: str) -> None:
    """What a bundle holds: a line for each of its files."""
    print(f"{manifest['arch']} in {folder}")
    print(f"batch {manifest['batch']}, preprocessing inside: {'yes' if manifest['preprocessing_included'] else 'no'}")
    files = {"model.onnx": manifest} | ({"model_int8.onnx": manifest["int8"]} if manifest["int8"] else {})
    rows = [
        [
            name,
            f"{known['accuracy']['validation_top1']:.2%}",
            f"{known['accuracy']['test_top1']:.2%}",
            ", ".join(f"{milliseconds(one['p50_us'])} on {device}" for device, one in known["latency"].items()),
            f"{known['size_bytes'] / 1e3:,.1f}",
        ]
        for name, known in files.items()
    ]
    print_table(["file", "val top-1", "test top-1", "ms", "kB"], rows, right=["val top-1", "test top-1", "kB"])
    for line in latency_sentences(deployed_latency(manifest)):
        print(line)
    for note in manifest["int8"].get("notes", []):
        print(note)


LISTED = 10
"""Files listed of each finding; `--json` has them all."""


def print_folder_check(found: dict[str, Any]) -> None:
    """What `data check` found in a tree of class folders."""
    splits = list(found["counts"])
    rows = [[name, *(str(found["counts"][split][name]) for split in splits)] for name in found["classes"]]
    totals = ["all", *(str(sum(found["counts"][split].values())) for split in splits)]
    print_table(["class", *splits], [*rows, totals], right=splits)
    sizes = ", ".join(f"{name} {side}" for name, side in found["shorter_side_px"].items())
    print(f"\nshorter sides in pixels: {sizes}")
    _print_list("cannot be read", [f"{name}: {cause}" for name, cause in found["broken"].items()])
    _print_list("look like images but are left out", [f"{name}: {cause}" for name, cause in found["left_out"].items()])
    _print_list("are no images and left out", list(found["ignored"]))
    _print_list(
        "are of tools or hidden (thumbnails, recycle bins) and left out",
        [f"{name} ({count} images)" for name, count in found["set_aside"].items()],
    )
    for finding, text in (
        ("duplicates", "images are there more than once"),
        ("contradictions", "images are there under different classes"),
        ("leaks", "images are in more than one split"),
    ):
        _print_list(text, [_group_text(group) for group in found[finding]])
    for remark in found["remarks"]:
        print(remark)


def _group_text(names: Sequence[str]) -> str:
    more = len(names) - LISTED
    return " = ".join(names[:LISTED]) + (f" … and {more:,} more" if more > 0 else "")


def _print_list(text: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    print(f"{len(lines)} {text}:")
    for line in lines[:LISTED]:
        print(f"  {visible(line)}")
    if len(lines) > LISTED:
        print(f"  … and {len(lines) - LISTED} more: --json lists all")
