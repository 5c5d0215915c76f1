"""Subnets with folded batch norms compute the same."""

import copy

import pytest
import torch
from spaces import SMALL, random_archs
from torch import nn

from edgenas.space.loading import load_space
from edgenas.supernet.folding import folded
from edgenas.supernet.supernet import SuperNet
from edgenas.training.materialise import materialise


@pytest.mark.parametrize("name", ["small", "ofa-mbv3-w1.0"])
def test_folded_subnets_compute_the_same_and_leave_the_subnet_as_it_is(name: str) -> None:
    torch.manual_seed(0)
    space = SMALL if name == "small" else load_space({"preset": name, "resolution": [128]})
    # In single precision, weights that were never trained lose digits, folded or not.
    net = SuperNet(space.with_classes(5)).double()
    images = torch.randint(0, 256, (8, 3, 24, 24), dtype=torch.uint8)
    for arch in [space.largest, *random_archs(space, 1)]:
        subnet = materialise(net, arch, images)
        before = copy.deepcopy(subnet.state_dict())
        x = torch.randn(3, 3, arch.resolution, arch.resolution, dtype=torch.float64)
        x = x.contiguous(memory_format=torch.channels_last)
        expected = subnet(x)
        network = folded(subnet)
        found = network(x)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.detach().std()))
        assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
        assert not found.requires_grad
        torch.testing.assert_close(subnet.state_dict(), before, rtol=0, atol=0)
        torch.testing.assert_close(subnet(x), expected, rtol=0, atol=0)
