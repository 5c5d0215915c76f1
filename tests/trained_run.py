"""A run whose supernet is trained, and one that is finished with results written by hand; nothing is measured."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from small_run import SMALL_CONFIG, SMALL_SPACE

from edgenas.config.reading import load_config
from edgenas.deploy.onnx.exporter import export_onnx
from edgenas.runs.folder import Run, open_run
from edgenas.runs.run_data import calibration_split, run_dataset
from edgenas.stages.start import start_run
from edgenas.stages.train import run_train, trained_supernet
from edgenas.stages.verify import model_path
from edgenas.training.materialise import materialise


def quiet(label: str, done: int, total: int) -> None:
    pass


def trained_run(cwd: Path, *overrides: str) -> Run:
    """The small config's run, trained for an epoch."""
    (cwd / "tiny-16.yaml").write_text(SMALL_SPACE)
    (cwd / "small.yaml").write_text(SMALL_CONFIG)
    config = load_config(cwd / "small.yaml", [f"space={cwd / 'tiny-16.yaml'}", "train.epochs=1", *overrides])
    run = start_run(config, cwd / "run")
    run_train(run, quiet)
    return run


def make_trained_run(folder: Path) -> None:
    """Write the run that `trained_run` returns to `folder`/run."""
    trained_run(folder)


def make_finished_run(folder: Path, trained: Path) -> None:
    """Write a copy of a trained run to `folder`/run, finished by hand."""
    finished_by_hand(copied_to(folder, trained))


def copied_to(folder: Path, run: Path) -> Run:
    """Return a copy of a run folder, in `folder`/run, which a test may change."""
    return open_run(Path(shutil.copytree(run, folder / "run", ignore=shutil.ignore_patterns(".lock*"))))


def finished_by_hand(run: Run) -> None:
    """Let a trained run have been searched, verified and exported: its chosen network is the largest subnet."""
    front = (run.space.smallest, run.space.largest)
    dataset = run_dataset(run)
    net = trained_supernet(run, dataset)
    run.finish("profile", {"predictors": {"here": {}}, "graph_variant": "direct"})
    found: list[dict[str, Any]] = [{"arch": arch.id, "val_top1": 0.5 + 0.1 * n} for n, arch in enumerate(front)]
    budget = "here=0.1ms"
    curve = {"hypervolume_by_batch": [1.0], "evaluations_by_batch": [24], "hypervolume": 1.0, "reference_point": [1.0]}
    run.finish(
        "search",
        {"strategy": "nsga2", "evaluations": 24, "seconds": 2.0, "budgets": [budget], "front": found, **curve},
    )
    for number, arch in enumerate(front):
        subnet = materialise(net, arch, calibration_split(run, dataset))
        export_onnx(subnet, run.folder / model_path(number))
    measured = dict.fromkeys(("predicted_us", "p50_us", "p95_us"), 50.0)
    latency = {"here": {**measured, "interval_us": None, "coverage": None, "verdict": "within"}}
    kept = {"dropped": False, "dropped_because": None, "eligible": True, "latency": latency}
    entries = [one | kept | {"deployed_top1": one["val_top1"]} for one in found]
    chosen = found[1]
    judged = {"candidates": [one["arch"] for one in reversed(found)], "chosen": chosen["arch"], "verdict": "within"}
    run.finish(
        "verify",
        {"front": entries, **judged, "first_predictions": {}, "val_top1": chosen["val_top1"], "model": model_path(1)},
    )
    export_onnx(subnet, run.folder / "export/bundle/model.onnx")
    handed = {
        **chosen,
        "latency": {},
        "verdict": None,
        "test_top1": 0.5,
        "onnx": "export/bundle/model.onnx",
        "bundle": "export/bundle",
    }
    run.finish("export", {"chosen": handed, "notes": []})
