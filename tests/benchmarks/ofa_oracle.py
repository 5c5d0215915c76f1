"""Published measurements of once-for-all's MobileNetV3 space of width 1.2, as functions of genes.

Read from the folder that EDGENAS_DATA names: the accuracy predictor of the once-for-all authors and the block
latencies of a Samsung Note10 and of an i7-8700K. `check` compares with the test vector of that folder's README.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgenas.latency.gene_table import GeneTable
from edgenas.space.blocks.head import HeadSpec
from edgenas.space.blocks.inverted_residual import InvertedResidualSpec
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.blocks.stem import StemSpec
from edgenas.space.loading import load_space
from edgenas.space.ofa_settings import arch_from_ofa
from edgenas.space.space import Genes, SearchSpace

Floats = npt.NDArray[np.float64]
Blocks = dict[tuple[object, ...], float]
"""Latencies in ms by what a block is."""
CLASSES = 1000
RESOLUTIONS = [160, 176, 192, 208, 224]
STAGES, POSITIONS = 5, 4
TEST_VECTOR = {"ks": [3, 5, 7, 3] * 5, "e": [3, 4, 6, 6] * 5, "d": [2, 3, 4, 3, 2], "r": 192}
TEST_TOP1, TEST_MS = 79.94157, 26.04090


def data() -> Path:
    """The folder of the published measurements."""
    folder = os.environ.get("EDGENAS_DATA")
    if not folder:
        raise SystemExit("EDGENAS_DATA is not set: it names the folder of the published measurements")
    return Path(folder) / "ofa"


@cache
def space() -> SearchSpace:
    """Width 1.2 at the resolutions of the reference run."""
    return load_space({"preset": "ofa-mbv3-w1.2", "resolution": RESOLUTIONS})


class Top1:
    """The published predictor: genes, shape (n, genes), to top-1 in percent, shape (n,)."""

    def __init__(self) -> None:
        import torch

        state = torch.load(data() / "imagenet_top1_predictor_w1.2.pth", weights_only=True, map_location="cpu")
        arrays = [array.numpy().astype(np.float32) for array in state.values()]
        self._layers = list(zip(arrays[::2], arrays[1::2], strict=True))
        # The first layer sees one-hot genes: its product is a sum of rows.
        self._rows = np.ascontiguousarray(self._layers[0][0].T)

    def __call__(self, genes: Genes) -> Floats:
        hidden = self._features(genes) @ self._rows + self._layers[0][1]
        for weight, bias in self._layers[1:]:
            hidden = np.maximum(hidden, 0) @ weight.T + bias
        return 100.0 * hidden[:, 0].astype(np.float64)

    def _features(self, genes: Genes) -> npt.NDArray[np.float32]:
        """60 of kernels, 60 of expand ratios, zero where a position is inactive; 8 of resolutions 112 to 224."""
        features = np.zeros((len(genes), 128), dtype=np.float32)
        rows = np.arange(len(genes))
        resolution = np.asarray(space().resolution)[genes[:, 0]]
        features[rows, 120 + (resolution - 112) // 16] = 1
        names = list(space().choices)
        for stage in range(STAGES):
            depth = genes[:, names.index(f"stage{stage + 1}.depth")] + 2
            for block in range(POSITIONS):
                active, place = rows[depth > block], 3 * (POSITIONS * stage + block)
                for start, gene in ((0, "kernel"), (60, "expand")):
                    choice = genes[active, names.index(f"stage{stage + 1}.block{block}.{gene}")]
                    features[active, start + place + choice] = 1
        return features


def latency_ms(device: str) -> Callable[[Genes], Floats]:
    """Genes, shape (n, genes), to the sum of a device's blocks (`note10` or `i7`) in ms, shape (n,)."""
    blocks = {"note10": _note10_blocks, "i7": _i7_blocks}[device]
    # The Note10's blocks were measured separately at every resolution, even where their shapes are equal.
    parts = [_gene_table(resolution, blocks(resolution)) for resolution in RESOLUTIONS]
    whole = GeneTable(
        space().with_classes(CLASSES),
        stem=np.concatenate([part.stem for part in parts]),
        first=tuple(map(np.concatenate, zip(*(part.first for part in parts), strict=True))),
        later=tuple(
            None if later[0] is None else np.concatenate(later)
            for later in zip(*(part.later for part in parts), strict=True)
        ),
        head=np.concatenate([part.head for part in parts]),
    )
    return lambda genes: whole.sums(genes)[:, 0]


def _gene_table(resolution: int, blocks: Blocks) -> GeneTable:
    narrowed = load_space({"preset": "ofa-mbv3-w1.2", "resolution": [resolution]})
    return GeneTable.of(
        narrowed.with_classes(CLASSES), lambda specs: np.array([[_block_ms(spec, blocks)] for spec in specs])
    )


def _block_ms(spec: BlockSpec, blocks: Blocks) -> float:
    before, after = (spec.in_size, spec.in_channels), (spec.out_size, spec.out_channels)
    if isinstance(spec, StemSpec):
        return blocks["stem", before, after]
    if isinstance(spec, InvertedResidualSpec):
        return blocks["block", before, after, spec.mid_channels, spec.kernel, spec.stride]
    assert isinstance(spec, HeadSpec)
    wide, pooled, features = (spec.in_size, spec.width), (1, spec.width), (1, spec.features)
    parts = [("expand", before, wide), ("features", pooled, features), ("classes", features)]
    return sum(blocks[part] for part in parts) + blocks.get(("pool", wide), 0.0)


def _note10_blocks(resolution: int) -> Blocks:
    names = {"Conv": "stem", "Conv_1": "expand", "Conv_2": "features"}
    blocks: Blocks = {}
    for row in _rows("samsung_note10_w1.2_blocks.csv"):
        if int(row["network_resolution"]) != resolution:
            continue
        before, ms = _shape(row["input_hwc"]), float(row["mean_ms"])
        if row["op"] == "expanded_conv":
            genes = [int(row[key]) for key in ("expand_channels", "kernel", "stride")]
            blocks["block", before, _shape(row["output_hwc"]), *genes] = ms
        elif row["op"] in names:
            blocks[names[row["op"]], before, _shape(row["output_hwc"])] = ms
        else:
            blocks[{"AvgPool2D": "pool", "Logits": "classes"}[row["op"]], before] = ms
    return blocks


def _i7_blocks(resolution: int) -> Blocks:
    """Equal at all resolutions."""
    names = {"first_conv": "stem", "final_expand_layer": "expand", "feature_mix_layer": "features"}
    blocks: Blocks = {}
    for row in _rows("i7_8700k_blocks.csv"):
        before, ms = _shape(row["input_hwc"]), float(row["mean_ms"])
        if row["op"] == "MBConv":
            genes = (before[1] * int(row["expand_ratio"]), int(row["kernel"]), int(row["stride"]))
            blocks["block", before, _shape(row["output_hwc"]), *genes] = ms
        elif row["op"] in names:
            blocks[names[row["op"]], before, _shape(row["output_hwc"])] = ms
        else:
            blocks["classes", before] = ms
    return blocks


def _shape(hwc: str) -> tuple[int, int]:
    """Size and channels of e.g. 56x56x24, or of a vector's length."""
    *size, channels = hwc.split("x")
    return int(size[0]) if size else 1, int(channels)


def _rows(name: str) -> Sequence[dict[str, str]]:
    with open(data() / name, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def check() -> None:
    """Stop unless the test vector comes out."""
    genes = space().encode([arch_from_ofa(space(), TEST_VECTOR)])
    top1, ms = float(Top1()(genes)[0]), float(latency_ms("note10")(genes)[0])
    if abs(top1 - TEST_TOP1) > 1e-4 or abs(ms - TEST_MS) > 1e-4:
        raise SystemExit(f"test vector: expected {TEST_TOP1} % and {TEST_MS} ms, got {top1:.5f} % and {ms:.5f} ms")
