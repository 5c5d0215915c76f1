import copy

import pytest
import torch
from spaces import random_archs
from torch import Tensor

from edgenas.space.arch import Arch
from edgenas.space.space import SearchSpace
from edgenas.supernet.blocks.inverted_residual import ElasticInvertedResidual
from edgenas.supernet.sorting import sort_middle_channels
from edgenas.supernet.supernet import SuperNet

PART = {"width": 8, "activation": "hardswish"}
STAGE = {"depth": [1, 2], "kernel": [3, 5], "stride": 2, "activation": "hardswish"}
SPACE = SearchSpace.model_validate(
    {
        "name": "three ratios",
        "resolution": [16],
        "stem": {**PART, "kernel": 3, "stride": 1},
        "stages": [
            {**STAGE, "width": [8], "expand": [1], "squeeze_excite": False},
            {**STAGE, "width": [16], "expand": [2, 4, 6], "squeeze_excite": True},
            {**STAGE, "width": [16, 24], "expand": [2, 4, 6], "squeeze_excite": False},
        ],
        "head": {**PART, "features": 0},
    }
)


@pytest.fixture
def net() -> SuperNet:
    """In double precision, since sums are taken in another order; everything uneven."""
    torch.manual_seed(0)
    net = SuperNet(SPACE.with_classes(4), kernel_transforms=True).double().eval()
    for tensor in net.state_dict().values():
        tensor += 0.3 * torch.rand_like(tensor)
    return net


def logits(net: SuperNet, arch: Arch) -> Tensor:
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        return net(x, arch)


def with_ratios(ratios: set[float], count: int = 8) -> list[Arch]:
    found = []
    for seed in range(4000):
        arch = random_archs(SPACE, 1, seed)[0]
        widest = [stage.width for stage in arch.stages] == [stage.width for stage in SPACE.largest.stages]
        if widest and {block.expand for stage in arch.stages[1:] for block in stage.blocks} == ratios:
            found.append(arch)
        if len(found) == count:
            break
    assert found
    return found


@pytest.mark.parametrize("mode", [False, True])
def test_the_largest_network_computes_what_it_did(net: SuperNet, mode: bool) -> None:
    before = copy.deepcopy(net)
    sort_middle_channels(net)
    assert not torch.equal(net.blocks["stage1_block0"].project.conv.weight,
                           before.blocks["stage1_block0"].project.conv.weight)  # fmt: skip
    for arch in [SPACE.largest, *with_ratios({6})]:
        torch.testing.assert_close(
            logits(net.train(mode), arch), logits(before.train(mode), arch), rtol=1e-10, atol=1e-10
        )


def test_narrower_networks_keep_the_most_important_channels(net: SuperNet) -> None:
    before = copy.deepcopy(net)
    sort_middle_channels(net)
    arch = with_ratios({2})[0]
    assert not torch.allclose(logits(net, arch), logits(before, arch))
    for block in net.blocks.values():
        if isinstance(block, ElasticInvertedResidual) and block.expand is not None:
            assert (block.project.conv.weight.abs().sum(dim=(0, 2, 3)).diff() <= 0).all()
            if block.se:
                assert (block.se.excite.weight.abs().sum(dim=(0, 2, 3)).diff() <= 0).all()


def test_images_state_the_size_of_channels(net: SuperNet) -> None:
    images = torch.randn(70, 3, 16, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    before = copy.deepcopy(net)
    sort_middle_channels(net, images=images)
    torch.testing.assert_close(logits(net, SPACE.largest), logits(before, SPACE.largest), rtol=1e-10, atol=1e-10)
    # The reference: what the projection of the sorted network reads, in one batch.
    subnet, read = net.extract(SPACE.largest), {}
    for name, block in subnet.blocks.items():
        if hasattr(block, "project"):
            block.project.register_forward_pre_hook(lambda _, inputs, name=name: read.update({name: inputs[0]}))
    with torch.no_grad():
        subnet(images)
    moved = 0
    for name, features in read.items():
        weights = net.blocks[name].project.conv.weight.abs().sum(dim=(0, 2, 3))
        importance = features.abs().mean(dim=(0, 2, 3)) * weights
        if net.blocks[name].expand is not None:
            assert (importance.diff() <= 1e-12).all()
            moved += int((weights.diff() > 0).any())
    assert moved


def test_ratios_that_are_trained_already_compute_what_they_did(net: SuperNet) -> None:
    before = copy.deepcopy(net)
    sort_middle_channels(net, trained=2)
    for arch in [*with_ratios({4}), *with_ratios({4, 6}), *with_ratios({6})]:
        torch.testing.assert_close(logits(net, arch), logits(before, arch), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(logits(net, with_ratios({2})[0]), logits(before, with_ratios({2})[0]))
    # Where all are, nothing changes at all.
    sort_middle_channels(before_all := copy.deepcopy(before), trained=3)
    arch = with_ratios({2})[0]
    torch.testing.assert_close(logits(before_all, arch), logits(before, arch), rtol=1e-10, atol=1e-10)


def test_all_ratios_of_a_block_with_fewer_of_them_are_trained(net: SuperNet) -> None:
    """Where two ratios are trained, these are all of a block that has but two: networks of either stay the same."""
    value = SPACE.model_dump()
    value["stages"][1]["expand"] = [[2, 4, 6], [2, 6]]
    space = SearchSpace.model_validate(value).with_classes(4)
    narrower = SuperNet(space, kernel_transforms=True).double().eval()
    narrower.load_state_dict(net.state_dict())
    before = copy.deepcopy(narrower)
    sort_middle_channels(narrower, trained=2)
    stages = space.largest.id.split("_")
    for first, second in [("k5e4", "k5e2"), ("k5e6", "k3e2"), ("k3e6", "k5e6")]:
        arch = space.parse("_".join([*stages[:2], f"w16-{first}-{second}", *stages[3:]]))
        torch.testing.assert_close(logits(narrower, arch), logits(before, arch), rtol=1e-10, atol=1e-10)
    arch = space.parse("_".join([*stages[:2], "w16-k5e2-k5e6", *stages[3:]]))
    assert not torch.allclose(logits(narrower, arch), logits(before, arch))
