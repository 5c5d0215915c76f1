"""Is edgenas ahead of fine-tuning a pretrained network? The same images, budget and time for both, as JSON.

    EDGENAS_DATA=DATA python tests/benchmarks/pretrained.py prepare --work W
    python tests/benchmarks/pretrained.py rivals --work W
    python tests/benchmarks/pretrained.py edgenas --work W
    python tests/benchmarks/pretrained.py random --work W
    python tests/benchmarks/pretrained.py compare

`prepare` writes subsets of photographs. `rivals` times EfficientNet-Lite0, 1 and 2 at every 16 px (one thread, fp32,
edgenas' own timer), which also gives the budgets, and fine-tunes the largest resolution of each that is within the
budget by the same confidence limit as edgenas' verdict. They share the time that edgenas took in all, if its row is
there, and validation chooses among them. `edgenas` does whole runs of --config, `random` the same from random weights.
All append a row to --rows as soon as it is known, and pass over rows that are there; killed commands resume. `compare`
prints paired differences of test top-1, and --markdown their table.

The shelf holds EfficientNet-Lite0, 1 and 2 only, which holds for every figure made of these rows. Latencies are
measured: nothing else should run.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from machine import machine, versions
from pretrained_comparison import compare, table
from pretrained_latency import BUDGETS, LITE0_BUDGETS, budgets_ms, candidates, measure_rivals, measure_zoo
from pretrained_rivals import Finetuning
from pretrained_rows import Cell, append, done, rows_of
from pretrained_runs import whole_run
from pretrained_sets import SETS, WHOLE, Subset, prepare

from edgenas.config.sections import DataConfig
from edgenas.files import read_json, write_json, write_text
from edgenas.training.data.dataset import load_dataset

ROOT = Path(__file__).parents[2]
MINUTES = {"50": 15.0, "200": 30.0, WHOLE: 30.0}
"""Total time of a side by images a class."""
VALIDATION = 0.2
"""Share of the training images that is held out where the set has no validation folder."""


def main() -> None:
    args = parser().parse_args()
    if args.command == "compare":
        print(json.dumps(compared(args), indent=2))
        return
    subsets = [Subset(*subset) for subset in product(args.sets, args.images, args.seeds)]
    for subset in subsets:
        prepare(subset, args.work)
    if args.command == "prepare":
        print(json.dumps({"folders": [str(subset.folder(args.work)) for subset in subsets], "machine": machine()}))
        return
    milliseconds = latencies(args)
    for subset, budget in product(subsets, args.budgets):
        cell = Cell(args.command, subset.name, subset.images, budget, subset.seed)
        if not done(args.rows, cell):
            append(args.rows, "cell", {**vars(cell), **side(cell, subset, milliseconds, args)})


def parser() -> argparse.ArgumentParser:
    """Commands and their options."""
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = command.add_subparsers(dest="command", required=True)
    for name in ("prepare", "rival", "edgenas", "random"):
        part = parts.add_parser(name, aliases=["rivals"] if name == "rival" else [])
        part.set_defaults(command=name)
        part.add_argument("--work", type=Path, required=True, help="folder of images, latencies and runs")
        part.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
        part.add_argument("--images", nargs="+", choices=MINUTES, default=["50"], help="training images a class")
        part.add_argument("--seeds", nargs="+", type=int, default=[0])
        if name != "prepare":
            _add_cell_options(part)
    part = parts.add_parser("compare")
    _add_rows(part)
    part.add_argument("--other", choices=("rival", "random"), default="rival")
    part.add_argument("--markdown", type=Path, help="file for the table")
    return command


def _add_rows(part: argparse.ArgumentParser) -> None:
    default = ROOT / "examples" / "results" / "pretrained.jsonl"
    part.add_argument("--rows", type=Path, default=default, help="JSON lines, a row for each cell")


def _add_cell_options(part: argparse.ArgumentParser) -> None:
    _add_rows(part)
    part.add_argument("--budgets", nargs="+", choices=BUDGETS, default=list(LITE0_BUDGETS))
    part.add_argument("--minutes", type=float, help="total time of a side; by default 15 at 50 images a class, else 30")
    part.add_argument("--rounds", type=int, default=24, help="repetitions of each timing")
    part.add_argument("--config", type=Path, default=ROOT / "examples" / "photos.yaml", help="config of runs")
    part.add_argument("--set", action="append", default=[], help="override a key of that config")


def latencies(args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of latencies and budgets, measured once for a folder of work: it is of one machine."""
    path = args.work / "latency" / "latency.json"
    if not path.exists():
        measured, zoo = measure_rivals(args.work, args.rounds), measure_zoo(args.work, args.rounds)
        fields = {
            "latency_ms": {rival.name: latency.ms for rival, latency in measured.items()},
            "upper_ms": {rival.name: latency.upper_ms for rival, latency in measured.items()},
            "graph_variant": {rival.name: latency.variant for rival, latency in measured.items()},
            "budget_ms": budgets_ms(measured, zoo),
        }
        append(args.rows, "latency", fields)
        write_json(path, fields)
    latency: dict[str, Any] = read_json(path)
    return latency


def side(cell: Cell, subset: Subset, milliseconds: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of one side's row."""
    budget_ms, minutes = milliseconds["budget_ms"][cell.budget], args.minutes or MINUTES[cell.images]
    if cell.side == "rival":
        minutes = _minutes_of_edgenas(cell, args) or minutes
    fields = {"budget_ms": budget_ms, "minutes": minutes}
    images = DataConfig(name="imagefolder", path=subset.folder(args.work), validation=VALIDATION)
    if cell.side != "rival":
        return {**fields, **whole_run(cell, images, budget_ms, minutes, args)}
    fitting = candidates(milliseconds["upper_ms"], budget_ms)
    if not fitting:
        return {**fields, "chosen": None, "right": None}
    folder = args.work / "rivals" / f"{cell.set}-{cell.images}-{cell.seed}-{cell.budget}"
    tuning = Finetuning(images, load_dataset(images, cell.seed), minutes, cell.seed, folder)
    return {**fields, **tuning.run(fitting, milliseconds["latency_ms"], milliseconds["graph_variant"])}


def _minutes_of_edgenas(cell: Cell, args: argparse.Namespace) -> float | None:
    """Return the minutes that edgenas took for the same images and budget, its export included; None if not known."""
    edgenas = replace(cell, side="edgenas")
    return next((row["minutes_used"] for row in rows_of(args.rows, "cell") if Cell.of(row) == edgenas), None)


def compared(args: argparse.Namespace) -> dict[str, Any]:
    """Return the comparison, and write its table."""
    rows = rows_of(args.rows, "cell")
    budgets = rows_of(args.rows, "latency")[0]["budget_ms"]
    smallest = sorted(LITE0_BUDGETS, key=budgets.__getitem__)[:2]
    comparison = compare(rows, args.other, smallest)
    if args.markdown:
        write_text(args.markdown, table(comparison, args.other) + "\n")
    return {"machine": machine(), "versions": versions("numpy"), "shelf": "EfficientNet-Lite0, 1 and 2", **comparison}


if __name__ == "__main__":
    main()
