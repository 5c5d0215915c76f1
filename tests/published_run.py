"""A run with accuracies and latencies from tables, so that nothing is trained and nothing is measured."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from small_run import SMALL_SPACE

from edgenas.latency.table import LatencyTable
from edgenas.profiling.timing_plan import distinct_blocks
from edgenas.records.latency import UNKNOWN, Identity, LatencyRow
from edgenas.space.arch import Arch
from edgenas.space.cost import cost
from edgenas.space.loading import load_space
from edgenas.space.space import SearchSpace

CLASSES = 10
MEASURED = 60
PUBLISHED_CONFIG = """\
name: published
space: tiny-16.yaml
accuracy: {file: measured.csv, num_classes: 10}
devices: [{table: table}]
profile: {networks: 16, rounds: 8}
search: {evaluations: 40, population: 8}
verify: {networks: 6, rounds: 8, refits: 6}
"""


def true_top1(space: SearchSpace, arch: Arch) -> float:
    """Return a top-1 in percent that grows with the MACs."""
    return 35 + 8 * float(np.log10(cost(space.with_classes(CLASSES).unroll(arch)).macs))


def block_us(macs: int) -> float:
    return 1.0 + macs / 1e4


def write_published_run(folder: Path) -> SearchSpace:
    """Write the config and all files that it names; return its space."""
    (folder / "tiny-16.yaml").write_text(SMALL_SPACE)
    (folder / "published.yaml").write_text(PUBLISHED_CONFIG)
    space = load_space(folder / "tiny-16.yaml")
    write_measured(folder / "measured.csv", space)
    block_table(space).save(folder / "table")
    return space


def write_measured(path: Path, space: SearchSpace) -> dict[str, float]:
    """Write and return the top-1 of some architectures, in percent."""
    rng = np.random.default_rng(0)
    archs = {arch.id: arch for arch in (space.smallest, space.largest, *(space.sample(rng) for _ in range(MEASURED)))}
    top1 = {text: round(true_top1(space, arch), 3) for text, arch in archs.items()}
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["arch", "top1_percent"])
        writer.writerows(top1.items())
    return top1


def block_table(space: SearchSpace, classes: int = CLASSES) -> LatencyTable:
    """Return a table of blocks only, as published ones are, for a device `far-away` with unknown runtime."""
    nan = float("nan")
    rows = tuple(
        LatencyRow("block", "", 0, block.key, block_us(cost((block,)).macs), *[nan] * 5, 0, 0, nan)
        for block in distinct_blocks(space.with_classes(classes))
    )
    identity = Identity("far-away", *[UNKNOWN] * 10)
    return LatencyTable(identity, {"latency_statistic": "mean"}, tuple({row.key: row for row in rows}.values()))
