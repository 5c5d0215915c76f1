"""What `edgenas race` prints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgenas.display import print_table, tell
from edgenas.report.search_findings import offspring


def print_race(found: Mapping[str, Any], folder: Path) -> None:
    """A line for each strategy: its share of the hypervolume at some numbers of evaluations, and its seconds."""
    strategies = found["strategies"]
    marks = list(next(iter(strategies.values()))["at"])
    columns = ["strategy", "seeds", *(f"at {mark}" for mark in marks), "seconds"]
    rows = [
        [name, str(len(one["seeds"])), *(_share(one["at"][mark]) for mark in marks), _seconds(one["seconds"])]
        for name, one in strategies.items()
    ]
    print("share of the hypervolume that all trials found: median (least to greatest)\n")
    print_table(columns, rows, right=columns[1:])
    for one in strategies.values():
        if made := offspring(one["origins"]):
            print()
            tell(f"{made}.")
    print(f"\nfigure   {folder}/race.png")
    print(f"all      {folder}/race.json")


def _share(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:.3f} ({spread['least']:.3f} to {spread['greatest']:.3f})"


def _seconds(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:.1f} ({spread['least']:.1f} to {spread['greatest']:.1f})"
