"""Stage export: the chosen network, as the file that was measured, proven and bundled."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgenas.deploy.bundle import Manifest, library_versions, write_bundle
from edgenas.deploy.parity import check_parity, onnx_top1
from edgenas.pipeline.data import calibration_pictures, deployed_preprocess, run_dataset
from edgenas.pipeline.profile import run_table
from edgenas.pipeline.run import Progress, Run
from edgenas.pipeline.train import trained_supernet
from edgenas.space.cost import cost
from edgenas.training.data import Dataset
from edgenas.training.evaluate import materialise
from edgenas.training.preprocess import Preprocess

BUNDLE = "export/bundle"
PICTURES_AT_ONCE = 10_000


def run_export(run: Run, progress: Progress) -> None:
    """Prove the chosen network's file equal to the subnet that was scored, and bundle it.

    Raises:
        ParityError: the file computes something else; no bundle is written.
    """
    if run.done("export"):
        return
    verified = run.result("verify")
    dataset = run_dataset(run)
    arch = run.space.parse(verified["chosen"])
    subnet = materialise(trained_supernet(run, dataset), arch, calibration_pictures(run, dataset)).cpu()
    model, preprocess = run.folder / verified["model"], deployed_preprocess(arch, dataset)
    progress("proving the export", 0, 2)
    pictures = dataset.validation.pictures[: run.config.export.parity_images]
    parity = check_parity(subnet, model, pictures, preprocess)
    progress("proving the export", 1, 2)
    # The test split is looked at here for the first time, and only with the network already chosen.
    test_top1 = _test_top1(model, dataset, preprocess)
    progress("proving the export", 2, 2)
    entry = next(entry for entry in verified["front"] if entry["arch"] == arch.id)
    costs = cost(run.space.unroll(arch, dataset.num_classes))
    manifest = Manifest(
        name=run.config.name,
        created=datetime.now(UTC).strftime("%Y-%m-%d"),
        arch=arch.id,
        space=run.space.structure_id,
        dataset=dataset.name,
        classes=dataset.classes,
        preprocess=preprocess.to_json(),
        accuracy={
            "validation_top1": verified["val_top1"],
            "test_top1": test_top1,
            "test_images": len(dataset.test),
        },
        latency={name: found | circumstances(run, name) for name, found in entry["latency"].items()},
        costs=costs.to_json(),
        calibration_images=subnet.calibration_images,
        parity=parity.to_json(),
        versions=library_versions(),
        seed=run.config.seed,
    )
    write_bundle(run.folder / BUNDLE, model=model, manifest=manifest, replace=True)
    chosen: dict[str, Any] = {
        "arch": arch.id,
        "val_top1": verified["val_top1"],
        "test_top1": test_top1,
        "onnx": f"{BUNDLE}/model.onnx",
        "bundle": BUNDLE,
    }
    run.finish("export", {"chosen": chosen, "parity": parity.to_json(), "costs": costs.to_json()})


def _test_top1(model: Path, dataset: Dataset, preprocess: Preprocess) -> float:
    """In parts, since picture files may be more than memory holds."""
    parts = dataset.test.batches(PICTURES_AT_ONCE)
    right = sum(onnx_top1(model, part.tensor(), part.labels, preprocess) * len(part) for part in parts)
    return round(right) / len(dataset.test)


def circumstances(run: Run, device: str) -> dict[str, Any]:
    """What a bundle says of the machine that its latencies were measured on; `here` says nothing elsewhere."""
    table = run_table(run, device)
    return {"measured_with": asdict(table.identity), "cpu": table.circumstances["cpu"], "os": table.circumstances["os"]}
