"""Fused inverted residuals, UIBs and cells: text, sorting and int8; the other properties are tested on all kinds."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from little_subnet import PREPROCESS, digits, int8_file
from spaces import CELLS, random_archs
from torch import Tensor, nn

from edgenas.deploy.onnx.parity import onnx_logits
from edgenas.errors import SpaceError
from edgenas.space.arch import Arch
from edgenas.space.blocks import parse_block
from edgenas.space.loading import parse_space
from edgenas.space.space import SearchSpace
from edgenas.supernet.blocks.cell import Cells
from edgenas.supernet.blocks.fused import Fused
from edgenas.supernet.blocks.uib import Uib
from edgenas.supernet.layers import ConvNorm
from edgenas.supernet.sorting import sort_middle_channels
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.fake_quantised import fake_quantised, fold_norms
from edgenas.training.materialise import materialise, predict

STAGE = {"block": "fused", "kernel": [3, 5], "expand": [2, 3, 4]}
SPACE = SearchSpace.model_validate(
    {
        "name": "fused",
        "resolution": [16],
        "stem": {"width": 8, "kernel": 3, "stride": 1, "activation": "relu"},
        "stages": [
            {**STAGE, "width": [8], "depth": [1, 2], "stride": 1, "activation": "relu"},
            {**STAGE, "width": [16, 24], "depth": [1, 2], "stride": 2, "activation": "hardswish"},
        ],
        "head": {"width": 32, "features": 0, "activation": "relu"},
    }
)
UIB = SearchSpace.model_validate(
    {
        **SPACE.model_dump(),
        "name": "uib",
        "stages": [
            {"block": "uib", "start": [0, 3], "middle": [3, 5], "expand": [2, 3, 4], **stage}
            for stage in (
                {"width": [8], "depth": [1, 2], "stride": 1, "activation": "relu"},
                {"width": [16, 24], "depth": [1, 2], "stride": 2, "activation": "hardswish"},
            )
        ],
    }
)
CELL = CELLS.model_copy(update={"resolution": (16,)})
BLOCKS = {"fused": (SPACE, "fk5"), "uib": (UIB, "ua3k5")}
"""A space of each kind, and the start of a block's text."""


def test_text_and_key_of_a_uib_are_the_documented_ones() -> None:
    arch = UIB.parse("r16_w8-ua0k3e4_w16-ua3k5e2-ua3k3e3")
    assert arch.id == "r16_w8-ua0k3e4_w16-ua3k5e2-ua3k3e3"
    key = UIB.with_classes(10).unroll(arch)[2].key
    assert key == "uib_i8_r16_o16_m16_a3_k5_s2_hardswish"
    assert parse_block(key).key == key


def test_a_stride_of_a_uib_without_a_depthwise_convolution_is_refused() -> None:
    value = UIB.model_dump()
    value["stages"][1]["middle"] = [0, 3]
    needed = r"stages\.1: .*stride 2 needs a depthwise convolution in the first block.*middle: \[\[3\], \[0, 3\]\]$"
    with pytest.raises(SpaceError, match=needed):
        parse_space(value, "here")
    value["stages"][1]["middle"] = [[3], [0, 3]]
    assert parse_space(value, "here").largest.stages[1].blocks[1].middle == 3


def test_text_and_key_are_the_documented_ones() -> None:
    arch = SPACE.parse("r16_w8-fk3e4_w16-fk5e2-fk3e3")
    assert arch.id == "r16_w8-fk3e4_w16-fk5e2-fk3e3"
    key = SPACE.with_classes(10).unroll(arch)[2].key
    assert key == "fused_i8_r16_o16_m16_k5_s2_hardswish"
    assert parse_block(key).key == key


def test_blocks_of_another_kind_are_refused() -> None:
    with pytest.raises(SpaceError, match=r"stage1\.block0 is k5e2, the space has another block kind there, like fk3e2"):
        SPACE.parse("r16_w8-fk3e4_w16-k5e2")


def logits(net: SuperNet, arch: Arch) -> Tensor:
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        return net(x, arch)


@pytest.mark.parametrize(("space", "block"), BLOCKS.values(), ids=BLOCKS)
def test_sorting_keeps_what_the_largest_and_the_trained_ratios_compute(space: SearchSpace, block: str) -> None:
    torch.manual_seed(0)
    net = SuperNet(space.with_classes(4), kernel_transforms=True).double().eval()
    for tensor in net.state_dict().values():
        tensor += 0.3 * torch.rand_like(tensor)
    sorted_all, sorted_rest = copy.deepcopy(net), copy.deepcopy(net)
    sort_middle_channels(sorted_all)
    sort_middle_channels(sorted_rest, trained=2)
    largest, middle, smallest = (
        space.parse(f"r16_w8-{block}e{e}-{block}e{e}_w24-{block}e{e}-{block}e{e}") for e in (4, 3, 2)
    )
    torch.testing.assert_close(logits(sorted_all, largest), logits(net, largest), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(logits(sorted_rest, middle), logits(net, middle), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(logits(sorted_all, middle), logits(net, middle))
    assert not torch.allclose(logits(sorted_rest, smallest), logits(net, smallest))
    importance = sorted_all.blocks["stage1_block1"].project.conv.weight.abs().sum(dim=(0, 2, 3))
    assert (importance.diff() <= 0).all()


def scaled_pair(block: nn.Module) -> tuple[ConvNorm, ConvNorm] | None:
    """Two convolutions with a ReLU between them, of which the second reads nothing else."""
    if isinstance(block, Cells) and "first" in block.reduction.layers:
        return block.reduction.layers["first"], block.reduction.layers["second"]  # type: ignore[return-value]
    if not isinstance(block, Fused | Uib) or not isinstance(block.expand.activation, nn.ReLU):
        return None
    middle = block.middle if isinstance(block, Uib) else None
    return block.expand, block.project if middle is None else middle


@torch.no_grad()
def unevenly_scaled(subnet: Subnet, octaves: float) -> Subnet:
    """The same function, with expanded channels that differ by up to `octaves` powers of two: hard to round to int8.

    ReLU passes a channel's factor on to the next convolution, which is divided by it (arXiv 1906.04721, section 4.1).
    """
    twin, generator = fold_norms(subnet), torch.Generator().manual_seed(0)
    for block in twin.blocks.values():
        pair = scaled_pair(block)
        if pair is not None:
            first, second = pair
            scale = 2 ** (octaves * (torch.rand(len(first.norm.bias), generator=generator) - 0.5))
            first.conv.weight *= scale.view(-1, 1, 1, 1)
            first.norm.bias *= scale
            depthwise = second.conv.groups > 1
            second.conv.weight /= scale.view((-1, 1, 1, 1) if depthwise else (1, -1, 1, 1))
    return twin


@pytest.mark.parametrize(
    ("space", "archs"),
    [
        (SPACE, [SPACE.largest, *random_archs(SPACE, 1)]),
        (UIB, [UIB.largest]),
        (CELL, [CELL.largest, *random_archs(CELL, 2)]),
    ],
    ids=["fused", "uib", "cell"],
)
def test_simulated_int8_computes_what_the_int8_file_computes(
    space: SearchSpace, archs: list[Arch], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    dataset = digits()
    calibration, images = dataset.train.tensor()[:128], dataset.validation.tensor()[:100]
    net = SuperNet(space.with_classes(dataset.num_classes))
    for arch in archs:
        subnet = unevenly_scaled(materialise(net, arch, calibration), 12)
        runtime = onnx_logits(int8_file(subnet, calibration, tmp_path), images, PREPROCESS)
        simulated = fake_quantised(fold_norms(subnet)).train()
        with torch.no_grad():
            simulated(PREPROCESS(calibration))
            error = (simulated.eval()(PREPROCESS(images)) - runtime).abs().mean()
        # Without simulating, the error is that of quantisation.
        assert error < 0.4 * (predict(subnet, images) - runtime).abs().mean()
