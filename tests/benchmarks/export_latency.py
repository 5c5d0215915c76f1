"""The gain of graph variants, the cost of exporting, and a found network compared with a familiar one, as JSON.

    python tests/benchmarks/export_latency.py variants
    python tests/benchmarks/export_latency.py cold
    EDGENAS_DATA=... python tests/benchmarks/export_latency.py imagenet
    python tests/benchmarks/export_latency.py bundle FINISHED_RUN_FOLDER

`variants`: random subnets of two presets, as a run would export them, against plain `torch.onnx.export` of the same
subnets. The variant is chosen as in a run, on other networks. `cold`: all distinct blocks of `ofa-mbv3-w1.0` exported,
and whole networks stitched. `imagenet`: networks that once-for-all measured at 74.05 % ImageNet top-1 or more, against
torchvision's MobileNetV3-Large (74.04 %), 224 px, 1 thread; the network is chosen in one session and timed again in
another. `bundle`: an fp32 and int8 bundle of a finished run's chosen network, proven and scored on all of its
test images.

All models of a session are timed interleaved, in eight processes one after another, by the timer that runs use. Let
nothing else run beside it. `--folder` keeps the timer's rows: what it holds of the same files is not measured again.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from machine import machine, versions

from edgenas import load_space
from edgenas.deploy.onnx.block_trace import random_block
from edgenas.deploy.onnx.exporter import (
    EXPORTER_VERSION,
    _timing_graphs,
    _write_all,
    export_onnx,
    export_variants,
)
from edgenas.latency.device import probe
from edgenas.profiling.measurement import Measurement
from edgenas.profiling.session import measure_networks
from edgenas.profiling.timing_plan import distinct_blocks
from edgenas.profiling.transport_registry import TransportRegistry
from edgenas.records.verify import VerifyRecord
from edgenas.runs.run import open_run
from edgenas.space.arch import Arch
from edgenas.space.covering_samples import covering
from edgenas.space.graph_variant import GraphVariant
from edgenas.space.ofa_settings import arch_from_ofa
from edgenas.space.space import SearchSpace
from edgenas.stages.devices.fastest_variant import fastest_variant, ratios_to_plain
from edgenas.stages.shipping.bundle_network import BundleOptions
from edgenas.stages.shipping.bundling import make_bundle
from edgenas.supernet.subnet import Subnet

PRESETS = ("mobile-32", "ofa-mbv3-w1.0")
SUBNETS = 10
CLASSES = 1000
VARIANT_NETWORKS = 6
ROUNDS = 40
SEED = 0
STITCHED = 20
LEAST_TOP1 = 74.05
FAMILIAR = "mobilenet_v3_large"
CANDIDATES = 24
"""Networks of the fewest MACs among those accurate enough."""


def timed(files: Mapping[str, Path], folder: Path, session: str) -> dict[str, float]:
    """Return the p50 in microseconds by name, all timed interleaved."""
    out = folder / f"{session}.jsonl"
    measured = _measure(files, out, session)
    return {name: measurement.p50_us for name, measurement in measured.items()}


def _measure(files: Mapping[str, Path], out: Path, what: str) -> dict[str, Measurement]:
    device = probe()
    transport = TransportRegistry().transport(device)
    return measure_networks(files, device, rounds=ROUNDS, seed=SEED, out=out, transport=transport, progress=_say(what))


def _say(what: str) -> Any:
    return lambda _, done, total: print(f"{what} {done} of {total}", file=sys.stderr) if done % 200 == 0 else None


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and ends."""
    return {"median": float(np.median(values)), "lowest": min(values), "highest": max(values)}


def variants(folder: Path) -> dict[str, Any]:
    """Ratios to plain `torch.onnx.export`, by preset and over all."""
    found = {preset: _variants_of(load_space(preset), folder / preset) for preset in PRESETS}
    ratios = [subnet["ratio"] for one in found.values() for subnet in one["subnets"]]
    return {"ratio_to_plain_export": spread(ratios), "presets": found}


def _variants_of(space: SearchSpace, folder: Path) -> dict[str, Any]:
    variant, ratios = _chosen_variant(space, folder)
    rng = np.random.default_rng(SEED)
    archs = [space.sample(rng) for _ in range(SUBNETS // len(PRESETS))]
    files: dict[str, Path] = {}
    for number, arch in enumerate(archs):
        subnet = _random_subnet(space, arch)
        files[f"exported {arch}"] = export_onnx(subnet, folder / f"{number}.onnx", variant=variant, for_timing=True)
        files[f"plain {arch}"] = plain_export(subnet, subnet.resolution, folder / f"{number}-plain.onnx")
    found = timed(files, folder, "subnets")
    pairs = [(arch.id, found[f"exported {arch}"], found[f"plain {arch}"]) for arch in archs]
    subnets = [{"arch": arch, "p50_us": own, "plain_p50_us": plain, "ratio": own / plain} for arch, own, plain in pairs]
    return {
        "graph_variant": variant,
        "chosen_by": {name: spread(values) for name, values in ratios.items()},
        "ratio_to_plain_export": spread([subnet["ratio"] for subnet in subnets]),
        "subnets": subnets,
    }


def _chosen_variant(space: SearchSpace, folder: Path) -> tuple[GraphVariant, dict[GraphVariant, tuple[float, ...]]]:
    """Return the variant that a run chooses."""
    networks = {arch.id: space.with_classes(CLASSES).unroll(arch) for arch in covering(space, VARIANT_NETWORKS, SEED)}
    files = {f"{variant} {arch}": path for (variant, arch), path in export_variants(networks, folder).items()}
    outs = folder / "graph_variants.jsonl"
    found = _measure(files, outs, "variants")
    ratios = ratios_to_plain({(name.split()[0], name.split()[1]): one for name, one in found.items()})  # type: ignore[misc]
    return fastest_variant([ratios]), ratios


def _random_subnet(space: SearchSpace, arch: Arch) -> Subnet:
    """Return the network with the weights that networks for timing have."""
    specs = space.with_classes(CLASSES).unroll(arch)
    subnet = Subnet(specs, arch).eval()
    for name, spec in zip(subnet.blocks, specs, strict=True):
        subnet.blocks[name] = random_block(spec).eval()
    return subnet


def plain_export(network: torch.nn.Module, resolution: int, path: Path) -> Path:
    """Export a network as a plain call of torch's exporter does."""
    pixels = torch.zeros(1, 3, resolution, resolution)
    torch.onnx.export(network, (pixels,), str(path), dynamo=True, external_data=False, verbose=False)
    return path


def cold(folder: Path) -> dict[str, Any]:
    """Seconds for all distinct blocks of a space, regardless of image size, and for stitching a network of them."""
    space = load_space("ofa-mbv3-w1.0")
    started = time.perf_counter()
    blocks = distinct_blocks(space.with_classes(CLASSES))
    networks: dict[str, Any] = {block.key: [block] for block in blocks}
    listed = time.perf_counter()
    graphs = _timing_graphs(networks)
    exported = time.perf_counter()
    _write_all(networks, graphs, "blocked", folder / "blocks")
    written = time.perf_counter()
    seconds = []
    rng = np.random.default_rng(SEED)
    for _ in range(STITCHED):
        arch = space.sample(rng)
        before = time.perf_counter()
        _write_all({arch.id: space.with_classes(CLASSES).unroll(arch)}, graphs, "blocked", folder)
        seconds.append(time.perf_counter() - before)
    return {
        "distinct_blocks": len(blocks),
        "distinct_graphs": len(graphs),
        "listing_seconds": listed - started,
        "export_seconds": exported - listed,
        "seconds_to_write_a_file_of_each_block": written - exported,
        "stitch_seconds": spread(seconds),
    }


def imagenet(folder: Path) -> dict[str, Any]:
    """Networks of once-for-all at least as accurate as MobileNetV3-Large, against it."""
    space, rows = load_space("ofa-mbv3-w1.0"), _accurate_enough()
    archs = {_arch(space, row).id: float(row["top1_mean"]) for row in rows}
    networks = {arch: space.with_classes(CLASSES).unroll(space.parse(arch)) for arch in archs}
    variant, _ = _chosen_variant(space, folder)
    files = {arch: path for (_, arch), path in export_variants(networks, folder, variants=[variant]).items()}
    familiar = plain_export(_familiar(), 224, folder / "familiar.onnx")
    choosing = timed({**files, FAMILIAR: familiar}, folder, "choosing")
    best = min(archs, key=lambda arch: choosing[arch])
    judging = timed({best: files[best], FAMILIAR: familiar}, folder, "judging")
    return {
        "graph_variant": variant,
        "arch": best,
        "imagenet_top1_percent": archs[best],
        "p50_us": judging[best],
        f"{FAMILIAR}_p50_us": judging[FAMILIAR],
        "ratio": judging[best] / judging[FAMILIAR],
        "ratios_of_all_candidates_when_choosing": spread([choosing[arch] / choosing[FAMILIAR] for arch in archs]),
        "candidates": len(archs),
    }


def _accurate_enough() -> list[dict[str, str]]:
    """Rows of the fewest MACs."""
    data = os.environ.get("EDGENAS_DATA")
    if not data:
        raise SystemExit("EDGENAS_DATA is not set: it names the folder that holds ofa/imagenet_top1_w1.0.csv")
    with open(Path(data) / "ofa" / "imagenet_top1_w1.0.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if float(row["top1_mean"]) >= LEAST_TOP1]
    return sorted(rows, key=lambda row: int(row["macs"]))[:CANDIDATES]


def _arch(space: SearchSpace, row: Mapping[str, str]) -> Arch:
    lists = {key: [int(value) for value in row[key].split("-")] for key in ("ks", "e", "d", "r")}
    return arch_from_ofa(space, lists)


def _familiar() -> torch.nn.Module:
    """With batch norm's statistics taken on noise: fresh ones let signals fade towards slow, denormal numbers."""
    torch.manual_seed(SEED)
    network = torchvision.models.mobilenet_v3_large()
    with torch.no_grad():
        for _ in range(50):
            network.train()(torch.randn(8, 3, 224, 224))
    return network.eval()


def bundle(run_folder: Path, folder: Path) -> dict[str, Any]:
    """Seconds of one bundle in both precisions."""
    run = open_run(run_folder)
    arch = run.space.parse(run.result(VerifyRecord).to_json()["chosen"])
    started = time.perf_counter()
    manifest = make_bundle(run, arch, BundleOptions("int8"), folder / "bundle", lambda *_: None)
    seconds = time.perf_counter() - started
    shutil.rmtree(folder / "bundle")
    return {
        "run": run.config.name,
        "arch": arch.id,
        "seconds": seconds,
        "fp32": dict(manifest.accuracy),
        "int8": dict(manifest.int8["accuracy"]),
        "quantiser_recipe": manifest.int8["quantiser_recipe"],
        "recipes_tried": manifest.int8["recipes_tried"],
        "size_bytes": {"fp32": manifest.size_bytes, "int8": manifest.int8["size_bytes"]},
        "int8_notes": manifest.int8["notes"],
        "test_top1_drop_points": 100 * (manifest.accuracy["test_top1"] - manifest.int8["accuracy"]["test_top1"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["variants", "cold", "imagenet", "bundle"])
    parser.add_argument("run_folder", nargs="?", type=Path, help="of `bundle`")
    parser.add_argument("--folder", type=Path, help="where models and the timer's rows go; kept")
    arguments = parser.parse_args()
    if (arguments.run_folder is None) == (arguments.what == "bundle"):
        parser.error("a finished run's folder goes with `bundle`, and with nothing else")
    where = {**machine(), **versions("torch", "onnxruntime"), "exporter_version": EXPORTER_VERSION}
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        made = {
            "variants": lambda: variants(folder),
            "cold": lambda: cold(folder),
            "imagenet": lambda: imagenet(folder),
            "bundle": lambda: bundle(arguments.run_folder, folder),
        }[arguments.what]()
    print(json.dumps({"what": arguments.what, "machine": where, **made}, indent=2))


if __name__ == "__main__":
    main()
