"""A little bundle of both precisions, made without a run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from little_subnet import CALIBRATION_IMAGES, PREPROCESS, digits, trained
from PIL import Image
from spaces import SMALL

from edgenas.budget import parse_budget
from edgenas.deploy.bundle.bundle import write_bundle
from edgenas.deploy.bundle.manifest import Int8Facts, Manifest, library_versions
from edgenas.deploy.int8.quantiser_recipe import QuantiserRecipe
from edgenas.deploy.int8.quantize import quantise
from edgenas.deploy.onnx.exporter import export_onnx
from edgenas.deploy.onnx.parity import Int8Parity, Parity
from edgenas.latency.device import probe
from edgenas.profiling.measurement import Measurement
from edgenas.records.bundle import FileAccuracy, FileLatency, SearchFacts, SplitFacts
from edgenas.records.latency import Identity
from edgenas.space.cost import cost, int8_weight_bytes
from edgenas.stages.devices.int8_export import Comparison
from edgenas.stages.shipping.bundle_latency import int8_latency
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.preprocess import Preprocess

CLASSES = ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs, halb", "七", "a | b", "*neun*")
IDENTITY = Identity("here", "onnxruntime", "1.30.0", "cpu", "fp32", 1, "all", False, 1)
FOUND = SearchFacts(
    strategy="nsga2",
    evaluations=80,
    search_seconds=60.0,
    train_seconds=120.0,
    front_networks=8,
    budgets=(parse_budget("here=1ms"),),
    spent={},
)
ACCURACY = FileAccuracy(
    validation_top1=0.98,
    test_top1=0.97,
    test_images=360,
    test_images_by_class=(36,) * 10,
    test_top1_by_class=(*(1.0,) * 7, 0.9, None, 0.8),
)
PARITY = Parity(256, 1e-5, 1e-6, top1_agreement=1.0, optimisation_difference=0.0)
INT8_PARITY = Int8Parity(256, 0.1, 0.01, 1.0, 0.0, "minmax", 360, 0.98, 0.98, val_top1_drop=0.0, max_drop=0.01)
LATENCY = FileLatency(
    p50_us=51.0,
    p95_us=60.0,
    ci_low_us=50.0,
    ci_high_us=52.0,
    count=80,
    repeat_noise=0.01,
    warnings=(),
    model_rss_bytes=None,
    process_rss_bytes=None,
    verdict="within",
    limited="p50",
    limit_us=1e3,
    value_us=51.0,
    upper_us=52.0,
    sessions=1,
    repeated=False,
    measured_with=IDENTITY,
    cpu="Abacus",
    os="Linux",
    preprocessing_included=False,
)


def int8_facts(subnet: Subnet) -> Int8Facts:
    measurement = Measurement(*6 * (51.0,), 80, (51.0,), 0.01, (), (51.0,), (60.0,), 1.0, 0)
    return Int8Facts(
        quantiser_recipe="minmax",
        recipes_tried={"minmax": 0.98},
        quantiser_images=CALIBRATION_IMAGES,
        accuracy=ACCURACY,
        latency={"here": int8_latency(LATENCY, Comparison("here", measurement, measurement))},
        parity=INT8_PARITY,
        size_bytes=1,
        costs={"weight_bytes": int8_weight_bytes(subnet.specs)},
        fine_tuning=None,
        notes=("slower here",),
    )


def little_manifest(subnet: Subnet, preprocess: Preprocess, space: str) -> Manifest:
    assert subnet.arch is not None
    assert subnet.calibration_images is not None
    predicted = {"predicted_us": 50.0, "interval_us": (45.0, 55.0), "coverage": 0.9}
    return Manifest(
        name="digits under 1 ms",
        created="2026-01-31",
        arch=subnet.arch,
        space=space,
        dataset="digits",
        classes=CLASSES,
        preprocess=preprocess,
        accuracy=ACCURACY,
        latency={"here": LATENCY.model_copy(update=predicted)},
        costs=cost(subnet.specs).to_json(),
        calibration_images=subnet.calibration_images,
        parity=PARITY,
        versions=library_versions(),
        seed=0,
        int8=int8_facts(subnet),
        deployed={"here": "model.onnx"},
        devices={"here": probe()},
        splits={"train": SplitFacts(images=1000, sha256="0" * 64)},
        found=FOUND,
    )


def little_bundle(folder: Path) -> Path:
    """Write it to `folder`/bundle: a network that knows the digits a little, in fp32 and int8."""
    dataset = digits()
    subnet = trained(dataset)
    model = export_onnx(subnet, folder / "fp32.onnx")
    inputs = PREPROCESS(dataset.train.tensor()[:CALIBRATION_IMAGES]).numpy()
    recipe = QuantiserRecipe("minmax", "ends", seven_bit_weights=True)
    int8 = quantise(model, folder / "int8.onnx", inputs, recipe, images=CALIBRATION_IMAGES)
    manifest = little_manifest(subnet, PREPROCESS, SMALL.structure_id)
    return write_bundle(folder / "bundle", model=model, int8_model=int8, manifest=manifest)


def write_images(folder: Path, count: int) -> list[Path]:
    """Test images of the digits as files, grey PNG."""
    images = digits().test.tensor()[:count]
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.png" for number in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        Image.fromarray(image[0].numpy()).save(path)
    return paths


def run_rows(bundle: Path, images: list[Path], model: str = "model.onnx") -> list[dict[str, Any]]:
    """Return the rows that the bundle's run.py prints for images."""
    command = [sys.executable, "run.py", model, "--json", *map(str, images)]
    done = subprocess.run(command, cwd=bundle, capture_output=True, text=True, encoding="utf-8", check=False)
    return list(json.loads(done.stdout)["images"])
