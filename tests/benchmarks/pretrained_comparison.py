"""Paired comparison of edgenas with its rivals: a difference in each cell, and their mean, with 95 % intervals."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pretrained_rows import answers

from edgenas.statistics.significance import holm_significant

Z95 = 1.96
"""Half width of a 95 % interval, in standard errors."""
Key = tuple[str, str, str]
"""Set, images a class, budget."""
Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Difference:
    """Top-1 of one side minus that of another on the same test images, as a fraction.

    Attributes:
        by_image: difference of the share of seeds that classify each image correctly, shape (n,).
        seeds: seeds that both sides have.
    """

    by_image: npt.NDArray[np.float64]
    seeds: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Return the difference."""
        return float(self.by_image.mean())

    @property
    def error(self) -> float:
        """Return its standard error over test images, for fixed networks."""
        return standard_error(self.by_image)

    @property
    def p_worse(self) -> float:
        """Return the p-value of the one-sided test that the first side is not worse."""
        if self.error == 0:
            return 1.0 if self.mean >= 0 else 0.0
        return math.erfc(-self.mean / self.error / math.sqrt(2)) / 2


def standard_error(values: npt.NDArray[np.float64]) -> float:
    """Return the standard error of a mean."""
    return float(values.std(ddof=1) / len(values) ** 0.5)


def differences(rows: Rows, side: str, other: str) -> dict[Key, Difference]:
    """Return the difference of each cell that both sides have, over the seeds that both have.

    Raises:
        SystemExit: two rows of a cell are of other test images.
    """
    by_side: dict[str, dict[tuple[Key, int], Mapping[str, Any]]] = defaultdict(dict)
    for row in rows:
        if row.get("right") is not None:
            by_side[row["side"]][(row["set"], row["images"], row["budget"]), row["seed"]] = row
    pairs: dict[Key, dict[int, npt.NDArray[np.float64]]] = defaultdict(dict)
    for (key, seed), first in by_side[side].items():
        second = by_side[other].get((key, seed))
        if second is None:
            continue
        if first["test_digest"] != second["test_digest"]:
            raise SystemExit(f"{key}, seed {seed}: {side} and {other} were tested on other images")
        pairs[key][seed] = answers(dict(first)).astype(float) - answers(dict(second))
    return {
        key: Difference(np.mean(list(found.values()), axis=0), tuple(sorted(found)))
        for key, found in sorted(pairs.items())
    }


def pooled(cells: Mapping[Key, Difference]) -> tuple[float, float]:
    """Return the mean over cells and its standard error.

    Cells of one set share its test images. So cells are averaged by image within a set first, and only sets are
    independent.
    """
    by_set: dict[str, list[npt.NDArray[np.float64]]] = defaultdict(list)
    for (name, _, _), difference in cells.items():
        by_set[name].append(difference.by_image)
    mean, variance = 0.0, 0.0
    for found in by_set.values():
        share, by_image = len(found) / len(cells), np.mean(found, axis=0)
        mean += share * float(by_image.mean())
        variance += (share * standard_error(by_image)) ** 2
    return mean, variance**0.5


def compare(rows: Sequence[Mapping[str, Any]], other: str, smallest: Sequence[str]) -> dict[str, Any]:
    """Return the comparison of edgenas with another side, in points of test top-1.

    Args:
        rows: rows of all cells.
        other: `rival` or `random`.
        smallest: names of the two smallest budgets.
    """
    cells = differences(rows, "edgenas", other)
    worse = dict(zip(cells, holm_significant([cell.p_worse for cell in cells.values()]), strict=True))
    small = {key: cell for key, cell in cells.items() if key[2] in smallest}
    return {
        "cells": [{**_described(key, cell, rows, other), "worse": worse[key]} for key, cell in cells.items()],
        f"without_{other}": sorted({_place(row) for row in rows if row["side"] == other and row["chosen"] is None}),
        "significantly_worse": sum(worse.values()),
        "mean": _points(*pooled(cells)) if cells else None,
        "mean_at_smallest_budgets": _points(*pooled(small)) if small else None,
    }


def _described(key: Key, cell: Difference, rows: Rows, other: str) -> dict[str, Any]:
    name, images, budget = key
    return {
        "set": name,
        "images": images,
        "budget": budget,
        "seeds": list(cell.seeds),
        "edgenas_top1": round(_mean_top1(rows, "edgenas", key, cell.seeds), 4),
        f"{other}_top1": round(_mean_top1(rows, other, key, cell.seeds), 4),
        **_points(cell.mean, cell.error),
    }


def _mean_top1(rows: Rows, side: str, key: Key, seeds: Sequence[int]) -> float:
    found = [
        row["test_top1"]
        for row in rows
        if (row["side"], row["set"], row["images"], row["budget"]) == (side, *key) and row["seed"] in seeds
    ]
    return float(np.mean(found))


def _points(mean: float, error: float) -> dict[str, Any]:
    interval = [round(100 * (mean + sign * Z95 * error), 2) for sign in (-1, 1)]
    return {"points": round(100 * mean, 2), "interval95": interval}


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["set"], row["images"], row["budget"], row["seed"]


def table(comparison: Mapping[str, Any], other: str) -> str:
    """Return the comparison as a Markdown table; a cell without a rival is n/a."""
    columns = ("set", "images a class", "budget", "seeds", "edgenas", other, "difference, points (95 %)")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for cell in comparison["cells"]:
        low, high = cell["interval95"]
        values = [cell["set"], cell["images"], cell["budget"], ", ".join(map(str, cell["seeds"]))]
        values += [f"{100 * cell[f'{side}_top1']:.1f} %" for side in ("edgenas", other)]
        values.append(f"{cell['points']:+.1f} ({low:+.1f} to {high:+.1f}){', worse' if cell['worse'] else ''}")
        lines.append(f"| {' | '.join(values)} |")
    lines += [f"| {' | '.join(map(str, place))} | | n/a | n/a |" for place in comparison[f"without_{other}"]]
    return "\n".join(lines)
