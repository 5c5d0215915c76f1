"""A subnet that runs through the modules of supernets computes the same."""

from __future__ import annotations

import copy

import pytest
import torch
from spaces import SMALL, random_archs

from edgenas.supernet import functional
from edgenas.supernet.functional import run_subnet
from edgenas.supernet.subnet import Subnet


@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_gradients_equal_those_of_the_subnet_itself(training: bool) -> None:
    torch.manual_seed(0)
    for arch in (SMALL.largest, *random_archs(SMALL, 2)):
        plain = Subnet(SMALL.with_classes(4).unroll(arch), arch).double().train(training)
        quick = copy.deepcopy(plain)
        x = torch.randn(3, 3, arch.resolution, arch.resolution, dtype=torch.float64)
        outputs = plain(x), run_subnet(quick, x)
        torch.testing.assert_close(outputs[1], outputs[0])
        for output in outputs:
            output.square().sum().backward()
        for (name, one), other in zip(plain.named_parameters(), quick.parameters(), strict=True):
            torch.testing.assert_close(other.grad, one.grad, msg=name)
        states = (
            {key: value for key, value in net.state_dict().items() if "num_batches" not in key}
            for net in (quick, plain)
        )
        torch.testing.assert_close(*states)


def test_frames_keep_no_weights_and_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functional, "_spare", {})
    monkeypatch.setattr(functional, "MOST_FRAMES", 3)
    arch = SMALL.largest
    subnet = Subnet(SMALL.with_classes(4).unroll(arch), arch)
    for _ in range(2):
        run_subnet(subnet, torch.randn(2, 3, arch.resolution, arch.resolution))
        assert len(functional._spare) <= 4
    kept = [tensor for frames in functional._spare.values() for frame in frames for tensor in frame._block.parameters()]
    assert kept
    assert all(tensor.is_meta for tensor in kept)
