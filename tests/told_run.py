"""A run whose accuracies are told by a file and whose latencies by a table: nothing is trained, nothing is measured."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from small_run import SMALL_SPACE

from edgenas.latency.table import UNKNOWN, Identity, LatencyRow, LatencyTable
from edgenas.profiling.timing_plan import distinct_blocks
from edgenas.space.arch import Arch
from edgenas.space.cost import cost
from edgenas.space.loading import load_space
from edgenas.space.space import SearchSpace

CLASSES = 10
MEASURED = 60
TOLD_CONFIG = """\
name: told
space: tiny-16.yaml
accuracy: {file: measured.csv, num_classes: 10}
devices: [{table: table}]
profile: {networks: 16, rounds: 8}
search: {evaluations: 40, population: 8}
verify: {networks: 6, rounds: 8, refits: 6}
"""


def true_top1(space: SearchSpace, arch: Arch) -> float:
    """Grows with the MACs, in percent."""
    return 35 + 8 * float(np.log10(cost(space.unroll(arch, CLASSES)).macs))


def block_us(macs: int) -> float:
    return 1.0 + macs / 1e4


def write_told(folder: Path) -> SearchSpace:
    """Everything that the config names; returns its space."""
    (folder / "tiny-16.yaml").write_text(SMALL_SPACE)
    (folder / "told.yaml").write_text(TOLD_CONFIG)
    space = load_space(folder / "tiny-16.yaml")
    write_measured(folder / "measured.csv", space)
    block_table(space).save(folder / "table")
    return space


def write_measured(path: Path, space: SearchSpace) -> dict[str, float]:
    """Top-1 of some archs, in percent; returns them."""
    rng = np.random.default_rng(0)
    archs = {arch.id: arch for arch in (space.smallest, space.largest, *(space.sample(rng) for _ in range(MEASURED)))}
    top1 = {text: round(true_top1(space, arch), 3) for text, arch in archs.items()}
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["arch", "top1_percent"])
        writer.writerows(top1.items())
    return top1


def block_table(space: SearchSpace, classes: int = CLASSES) -> LatencyTable:
    """Blocks alone, as tables from elsewhere are: a device `far-away` whose runtime is not known."""
    nan = float("nan")
    rows = tuple(
        LatencyRow("block", "", 0, block.key, block_us(cost((block,)).macs), *[nan] * 5, 0, 0, nan)
        for block in distinct_blocks(space, classes)
    )
    identity = Identity("far-away", *[UNKNOWN] * 10)
    return LatencyTable(identity, {"latency_statistic": "mean"}, tuple({row.key: row for row in rows}.values()))
