"""A copy of the small run with another search, as if its device had no noise."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from small_run import SmallRun

from edgenas.config.reading import dump_config, parse_config
from edgenas.files import read_json, write_text
from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.table import LatencyRow
from edgenas.profiling.timing_plan import distinct_blocks
from edgenas.runs.folder import Run, open_run
from edgenas.space.cost import cost
from edgenas.stages.profile import run_table

LATER = ("search", "verify", "export", "report", "sessions.jsonl")


def copied_run(small_run: SmallRun, folder: Path, **search: Any) -> Run:
    """Profiled and trained; with what `search` says in its config, and a budget that all of the space is within."""
    shutil.copytree(small_run.folder, folder, ignore=shutil.ignore_patterns(*LATER))
    config = open_run(folder).config
    value = config.model_dump(mode="json")
    config = parse_config(value | {"budgets": ["1s"], "search": value["search"] | search}, "a config")
    write_text(folder / "config.yaml", dump_config(config))
    run = open_run(folder)
    make_steady(run)
    return run


def make_steady(run: Run) -> None:
    """Let what was measured of a run's device be of one that never hesitates, where the larger takes longer.

    What a busy machine charges a space of a few microseconds says nothing that a test can rely on.
    """
    latency = run.folder / "latency" / "here"
    blocks_us = {
        block.key: 1.5 + cost([block]).macs / 40e3 + block.peak_activation_elements() / 8e3
        for block in distinct_blocks(run.space, 10)
    }
    table = run_table(run, "here")
    dataclasses.replace(table, rows=tuple(_steady(run, row, blocks_us) for row in table.rows)).save(latency)
    LatencyPredictor(run.space).fit(run_table(run, "here")).save(latency / "predictor.json")


def _steady(run: Run, row: LatencyRow, blocks_us: Mapping[str, float]) -> LatencyRow:
    """A row of a machine that has no noise, and charges networks less than the sum of their blocks."""
    if row.kind == "network":
        blocks = run.space.unroll(run.space.parse(row.key), row.num_classes)
        us = 3 + 0.85 * sum(blocks_us[block.key] for block in blocks)
    else:
        us = blocks_us[row.key]
    return LatencyRow(row.kind, row.space, row.num_classes, row.key, us, us, us, 0.0, us, us, 80, 8, 0.0)


def silent(*_: object) -> None:
    """No progress."""


def found(folder: Path) -> dict[str, Any]:
    """A search's result, but for what the clock says."""
    result = read_json(folder / "search" / "result.json")
    return {key: value for key, value in result.items() if key != "seconds"}
