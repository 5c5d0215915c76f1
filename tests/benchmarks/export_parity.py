"""Parity of exported files over random subnets of every preset, as JSON lines.

    python tests/benchmarks/export_parity.py --subnets 100 --out parity.jsonl

Weights are random, batch norm is recalibrated on noise, and images are noise: what is proven is the exporter, not
a trained network. Each line is one subnet with its figures, or the words of the gate that it failed. What `--out` holds
already is not done again. The last line printed sums up every preset; the exit code is 1 if a subnet failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine, versions

from edgenas import SuperNet, load_space, materialise
from edgenas.deploy.onnx.exporter import EXPORTER_VERSION, export_onnx
from edgenas.deploy.onnx.parity import check_parity
from edgenas.errors import ParityError
from edgenas.files import append_jsonl, read_jsonl
from edgenas.space.graph_variant import GRAPH_VARIANTS, GraphVariant
from edgenas.space.loading import preset_names
from edgenas.training.materialise import preprocess_for

CLASSES = 10
CALIBRATION_IMAGES = 32
LOGIT_STD = 3.0
"""Of trained networks' logits, so that differences are of the size that the gate is meant for."""


def where() -> dict[str, Any]:
    """Return the machine and versions of the figures."""
    return {**machine(), **versions("torch", "onnxruntime"), "exporter_version": EXPORTER_VERSION}


def measure(preset: str, number: int, image_count: int, variant: GraphVariant) -> dict[str, Any]:
    """One line: the parity of the preset's random subnet of this number."""
    space = load_space(preset)
    arch = space.sample(np.random.default_rng((number, 0)))
    generator = torch.Generator().manual_seed(number)
    shape = (CALIBRATION_IMAGES + image_count, 3, arch.resolution, arch.resolution)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    torch.manual_seed(number)
    preprocess = preprocess_for(arch)
    subnet = materialise(SuperNet(space.with_classes(CLASSES)), arch, images[:CALIBRATION_IMAGES])
    with torch.no_grad():
        logits = subnet(preprocess(images[:CALIBRATION_IMAGES]))
        classifier = subnet.blocks["head"].classifier
        classifier.weight *= LOGIT_STD / logits.std(0).mean()
        classifier.bias -= subnet(preprocess(images[:CALIBRATION_IMAGES])).mean(0)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = export_onnx(subnet, Path(folder) / "model.onnx", variant=variant)
        exported = time.perf_counter()
        try:
            found: dict[str, Any] = asdict(check_parity(subnet, path, images[CALIBRATION_IMAGES:], preprocess))
        except ParityError as error:
            found = {"images": image_count, "failed": str(error).replace(folder, "")}
    seconds = {"export_seconds": exported - started, "parity_seconds": time.perf_counter() - exported}
    return {
        "preset": preset,
        "number": number,
        "graph_variant": variant,
        "arch": arch.id,
        **found,
        **seconds,
        "machine": where(),
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return, by preset, the number of passed networks and their worst figures."""
    found: dict[str, Any] = {}
    for preset in dict.fromkeys(row["preset"] for row in rows):
        own = [row for row in rows if row["preset"] == preset]
        passed = [row for row in own if "failed" not in row]
        worst = {
            f"worst_{key}": max((row[key] for row in passed), default=None)
            for key in ("max_abs_difference", "mean_abs_difference", "optimisation_difference")
        }
        agreement = min((row["top1_agreement"] for row in passed), default=None)
        found[preset] = {"subnets": len(own), "passed": len(passed), **worst, "least_top1_agreement": agreement}
    return found


def _key(row: dict[str, Any]) -> tuple[str, int, int, str]:
    return row["preset"], row["number"], row["images"], row["graph_variant"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=preset_names(), choices=preset_names())
    parser.add_argument("--subnets", type=int, default=100, help="of each preset")
    parser.add_argument("--images", type=int, default=256, help="noise images that each is compared on")
    parser.add_argument("--graph-variant", default="blocked", choices=GRAPH_VARIANTS, help="the others are in tests")
    parser.add_argument("--out", type=Path, default=Path("export_parity.jsonl"), help="appended to, and resumed")
    arguments = parser.parse_args()
    done = {_key(row) for row in read_jsonl(arguments.out)}
    # Preset by preset in turn, so that a run that is stopped has some of each.
    for number in range(arguments.subnets):
        for preset in arguments.presets:
            if (preset, number, arguments.images, arguments.graph_variant) not in done:
                row = measure(preset, number, arguments.images, arguments.graph_variant)
                append_jsonl(arguments.out, row)
                print(preset, number, row.get("failed", row.get("max_abs_difference")), file=sys.stderr, flush=True)
    asked = product(arguments.presets, range(arguments.subnets))
    wanted = {(preset, number, arguments.images, arguments.graph_variant) for preset, number in asked}
    rows = [row for row in read_jsonl(arguments.out) if _key(row) in wanted]
    print(
        json.dumps({"machine": where(), "graph_variant": arguments.graph_variant, "presets": summary(rows)}, indent=2)
    )
    return int(any("failed" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
