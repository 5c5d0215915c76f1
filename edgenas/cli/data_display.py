"""What `edgenas data check` prints."""

from __future__ import annotations

from collections.abc import Sequence

from edgenas.display import print_table
from edgenas.markup import visible
from edgenas.training.data.check import FolderCheck

LISTED = 10
"""Files listed for each problem; `--json` lists all."""


def print_folder_check(check: FolderCheck) -> None:
    """Print the result of `edgenas data check`."""
    splits = list(check.counts)
    rows = [[name, *(str(check.counts[split][name]) for split in splits)] for name in check.classes]
    totals = ["all", *(str(sum(check.counts[split].values())) for split in splits)]
    print_table(["class", *splits], [*rows, totals], right=splits)
    sizes = ", ".join(f"{name} {side}" for name, side in check.shorter_side_px.items())
    print(f"\nshorter sides in pixels: {sizes}")
    _print_list("cannot be read", [f"{name}: {cause}" for name, cause in check.broken.items()])
    _print_list("look like images but are left out", [f"{name}: {cause}" for name, cause in check.left_out.items()])
    _print_list("are not images and left out", list(check.ignored))
    _print_list(
        "are hidden or made by tools (thumbnails, recycle bins) and left out",
        [f"{name} ({count} images)" for name, count in check.set_aside.items()],
    )
    for groups, text in (
        (check.duplicates, "images occur more than once"),
        (check.contradictions, "images occur in different classes"),
        (check.leaks, "images are in more than one split"),
    ):
        _print_list(text, [_group_text(group) for group in groups])
    for remark in check.remarks:
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
