"""A bundle's manifest, gathered from the run, the parity checks and the measurements."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgenas.deploy.bundle.bundle import INT8_MODEL, MODEL
from edgenas.deploy.bundle.manifest import Manifest, library_versions
from edgenas.deploy.onnx.parity import Parity
from edgenas.files import shipped
from edgenas.latency.device import Device
from edgenas.records.search import SearchRecord
from edgenas.records.train import TrainRecord
from edgenas.records.verify import VerifyRecord
from edgenas.runs.run import Run
from edgenas.runs.stage_costs import spent
from edgenas.space.cost import cost, int8_weight_bytes
from edgenas.stages.bundle_files import Int8Export
from edgenas.stages.bundle_latency import Timed, fp32_latency, fp32_spread, latency, verdict
from edgenas.stages.bundle_network import Network, test_scores, validation_top1
from edgenas.stages.int8_export import Comparison
from edgenas.stages.predictors import run_variant
from edgenas.training.data.dataset import Dataset


def make_manifest(network: Network, fp32: Path, parity: Parity, int8: Int8Export | None, timed: Timed) -> Manifest:
    """Return the manifest of a network's files; this scores the test images."""
    run, dataset, arch, options = network.run, network.images.dataset, network.arch, network.options
    costs = cost(network.space.unroll(arch), run_variant(run))
    return Manifest(
        name=run.config.name,
        created=datetime.now(UTC).strftime("%Y-%m-%d"),
        arch=arch.id,
        space=run.space.structure_id,
        dataset=dataset.name,
        classes=dataset.classes,
        preprocess=network.preprocess.to_json(),
        accuracy={
            "validation_top1": validation_top1(network, fp32),
            # The test split is looked at here for the first time, and only with the network already chosen.
            **test_scores(network, fp32),
        },
        latency=fp32_latency(network, timed),
        costs=costs.to_json(),
        calibration_images=network.subnet.calibration_images,
        parity=parity.to_json(),
        versions=library_versions(),
        seed=run.config.seed,
        graph_variant=run_variant(run),
        batch="dynamic" if options.dynamic_batch else 1,
        preprocessing_included=options.embed_preprocessing,
        size_bytes=fp32.stat().st_size,
        int8=_int8_section(network, int8, timed) if int8 else {},
        deployed={
            name: INT8_MODEL if int8 and device.run.precision == "int8" else MODEL
            for name, device in run.devices.measured.items()
        },
        devices={name: bundled_device(device) for name, device in run.devices.measured.items()},
        splits=_splits(dataset),
        found=_found(run),
        fine_tuning=network.fine_tuning,
        licences=_licences(run),
        verdict=verdict(network, timed),
    )


def bundled_device(device: Device) -> dict[str, Any]:
    """Return a device as a manifest describes it, without the places of a browser on the machine that measured."""
    run = device.run.model_copy(update={"chromium": None, "onnxruntime_web": None})
    return device.model_copy(update={"run": run}).model_dump(mode="json")


def _int8_section(network: Network, int8: Int8Export, timed: Timed) -> dict[str, Any]:
    recipe = int8.choice.recipe
    compared = {name: Comparison(name, one.measured["fp32"], one.measured["int8"]) for name, one in timed.items()}
    return {
        "quantiser_recipe": recipe.id,
        "recipes_tried": {tried.id: top1 for tried, top1 in int8.choice.top1.items()},
        "quantiser_images": network.run.config.export.calibration_images,
        "accuracy": {
            "validation_top1": int8.parity.val_top1,
            **test_scores(network, int8.path),
        },
        "latency": {
            name: latency(network, name, timed[name], "int8", recipe) | one.to_json() | fp32_spread(one.fp32)
            for name, one in compared.items()
        },
        "parity": int8.parity.to_json(),
        "size_bytes": int8.path.stat().st_size,
        "costs": {"weight_bytes": int8_weight_bytes(network.space.unroll(network.arch))},
        "fine_tuning": int8.tuning.to_json() if int8.tuning else None,
        "notes": [*([str(int8.tuning)] if int8.tuning else []), *(str(one) for one in compared.values())],
    }


def _splits(dataset: Dataset) -> dict[str, dict[str, Any]]:
    found = {}
    for name, split in dataset.splits.items():
        digest = hashlib.sha256()
        split.update(digest)
        found[name] = {"images": len(split), "sha256": digest.hexdigest()}
    return found


def _found(run: Run) -> dict[str, Any]:
    searched = run.result(SearchRecord)
    return {
        "strategy": searched.strategy,
        "evaluations": searched.evaluations,
        "search_seconds": searched.seconds,
        "train_seconds": run.result(TrainRecord).train_seconds,
        "front_networks": len(run.result(VerifyRecord).front),
        "budgets": [str(budget) for budget in searched.budgets],
        "spent": {stage: asdict(cost) for stage, cost in spent(run.folder).items()},
    }


def _licences(run: Run) -> tuple[str, ...]:
    """Return the licence of the shipped table that predictors were carried over from, where others measured it."""
    base = run.config.profile.base
    if base is None or not (shipped("latency_tables") / base / "table.csv").exists():
        return ()
    licence = shipped("latency_tables") / Path(base).parts[0] / "LICENSE"
    if not licence.exists():
        return ()
    text = licence.read_text(encoding="utf-8").strip()
    return (f"Predictions rest on the latency table {base}: {' '.join(text.split())}",)
