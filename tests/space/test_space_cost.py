import csv
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from spaces import EVERY_SPACE, random_archs, spaces_and_archs
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.flop_counter import FlopCounterMode

from edgenas.space.arch import Arch
from edgenas.space.blocks import parse_block
from edgenas.space.cost import cost
from edgenas.space.loading import load_space
from edgenas.space.ofa_settings import arch_from_ofa
from edgenas.space.space import SearchSpace
from edgenas.supernet.layers import ConvNorm
from edgenas.supernet.subnet import Subnet


def folded_elements(subnet: nn.Module) -> int:
    """Weights and biases as deployed: batch norm folded by torch."""
    for module in subnet.modules():
        if isinstance(module, ConvNorm):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()
    return sum(parameter.numel() for parameter in subnet.parameters())


def check_cost(space: SearchSpace, arch: Arch, num_classes: int) -> None:
    specs = space.with_classes(num_classes).unroll(arch)
    with torch.device("meta"):
        subnet = Subnet(specs, arch).eval()
        pixels = torch.zeros(1, 3, arch.resolution, arch.resolution)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        subnet(pixels)
    found = cost(specs)
    assert 2 * found.macs == counter.get_total_flops()
    assert found.params == sum(parameter.numel() for parameter in subnet.parameters())
    assert found.weight_bytes == 4 * folded_elements(subnet)
    assert found.peak_activation_bytes == 4 * max(spec.peak_activation_elements() for spec in specs)


@pytest.mark.parametrize("name", EVERY_SPACE)
def test_costs_of_presets_equal_torchs_own_counts(name: str) -> None:
    space = EVERY_SPACE[name]
    for arch in [*random_archs(space, 1), space.smallest, space.largest]:
        check_cost(space, arch, num_classes=10)


@settings(max_examples=15)
@given(spaces_and_archs(count=1))
def test_costs_of_any_space_equal_torchs_own_counts(drawn: tuple[SearchSpace, list[Arch]]) -> None:
    space, (arch,) = drawn
    check_cost(space, arch, num_classes=5)


def test_costs_of_a_hand_worked_network() -> None:
    space = SearchSpace.model_validate(
        {
            "name": "hand",
            "resolution": [4],
            "stem": {"width": 8, "kernel": 3, "stride": 2, "activation": "relu"},
            "stages": [
                {
                    "width": [8],
                    "depth": [1],
                    "kernel": [3],
                    "expand": [2],
                    "stride": 1,
                    "activation": "relu",
                    "squeeze_excite": False,
                }
            ],
            "head": {"width": 16, "features": 0, "activation": "relu"},
        }
    )
    found = cost(space.with_classes(2).unroll(space.smallest))
    # Stem 3·3·3·8 at 2×2; expand 8·16, depthwise 9·16, project 16·8 at 2×2; head 8·16 at 2×2, classifier 16·2.
    weights = {"stem": 216, "expand": 128, "depthwise": 144, "project": 128, "head": 128, "classifier": 32}
    assert found.macs == 4 * (sum(weights.values()) - 32) + 32
    norms = 8 + 16 + 16 + 8 + 16
    assert found.params == sum(weights.values()) + 2 * norms + 2
    assert found.weight_bytes == 4 * (sum(weights.values()) + norms + 2)
    # The stem: 3·16 in, 8·4 out are 80; the block: 32 kept, 64 and 64 around its depthwise convolution.
    assert found.peak_activation_bytes == 4 * 160


def test_a_squeezed_vector_counts_where_it_outdoes_its_tensor() -> None:
    # One pixel of 5 channels: the shortcut's 5, the tensor's 5, the squeezed 8 and the gate's 5 are alive at once.
    found = cost([parse_block("ir_i5_r1_o5_m5_k3_s1_se8_relu")])
    assert found.peak_activation_bytes == 4 * 23


def test_published_ofa_subnets_have_their_published_macs_and_params() -> None:
    """36 of the 1,500 subnets whose costs IntelLabs/DyNAS-T publishes (commit 251cb5e, Apache-2.0)."""
    with open(Path(__file__).parent / "ofa_w1.0_costs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 36
    check_costs(rows)


@pytest.mark.slow
def test_all_published_ofa_subnets_have_their_published_macs_and_params(shared_data: Path) -> None:
    with open(shared_data / "ofa" / "imagenet_top1_w1.0.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1500
    check_costs(rows)


def check_costs(rows: list[dict[str, str]]) -> None:
    space = load_space("ofa-mbv3-w1.0")
    for row in rows:
        lists = {key: [int(value) for value in row[key].split("-")] for key in ("ks", "e", "d", "r")}
        found = cost(space.with_classes(1000).unroll(arch_from_ofa(space, lists)))
        assert (found.macs, found.params) == (int(row["macs"]), int(row["params"])), row
