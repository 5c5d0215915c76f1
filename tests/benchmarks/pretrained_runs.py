"""Whole runs of edgenas for `pretrained.py`, each by the command that a user would type."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from typing import Any

from pretrained_rows import Cell, score_file

from edgenas.config.sections import DataConfig
from edgenas.records.export import ExportRecord
from edgenas.runs.run import Run, open_run
from edgenas.runs.stage_costs import spent_on_results

FROM_RANDOM = ("space=mobile-96", "train.init=null", "shelf=[]", "train.recipe=within-budgets")
FROM_RANDOM += ("train.layer_decay=1", "train.learning_rate=0.003", "train.batch_size=32")
FROM_RANDOM += ("train.subnets_per_step=2", "train.label_smoothing=0.1")
"""What makes a run start from random weights: a space for networks that are trained from scratch, and its rate."""


def whole_run(
    cell: Cell, images: DataConfig, budget_ms: float, minutes: float, args: argparse.Namespace
) -> dict[str, Any]:
    """Return the fields of a row of a whole run; a stopped run resumes."""
    folder = args.work / "runs" / f"{cell.side}-{cell.set}-{cell.images}-{cell.seed}-{cell.budget}"
    settings = [f"name={cell.set}", f"seed={cell.seed}", f"data.path={images.path}"]
    settings += [f"data.validation={images.validation}", *(FROM_RANDOM if cell.side == "random" else ()), *args.set]
    options = ["run", str(args.config), "--run", str(folder), "--budget", f"{budget_ms:.4f}ms"]
    options += ["--minutes", f"{minutes:g}"]
    for setting in settings:
        options += ["--set", setting]
    finished = subprocess.run([sys.executable, "-m", "edgenas", *options], stdout=subprocess.DEVNULL, check=False)
    run = open_run(folder)
    if not run.done("export"):
        raise SystemExit(f"edgenas {' '.join(options)}: ended with exit code {finished.returncode}, without a network")
    return {"edgenas_command": " ".join(["edgenas", *options]), **_result(run, images)}


def _result(run: Run, images: DataConfig) -> dict[str, Any]:
    export = run.result(ExportRecord)
    chosen = export.chosen
    assert chosen.onnx is not None
    seconds = spent_on_results(run.folder)
    (latency,) = chosen.latency.values()
    score = score_file(run.folder / chosen.onnx, run.images.dataset, run.images.preprocess(chosen.arch), images)
    return {
        "chosen": chosen.arch.id,
        "latency_ms": 1e-3 * latency.p50_us,
        "verdict": chosen.verdict,
        "graph_variant": run.graph_variant,
        "stage_seconds": {stage: round(value, 1) for stage, value in seconds.items()},
        "minutes_used": round(sum(seconds.values()) / 60, 2),
        "peak_rss_bytes": 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
        "val_top1": chosen.val_top1,
        **score.fields(),
    }
