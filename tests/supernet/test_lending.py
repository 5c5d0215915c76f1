"""A subnet that is trained from scratch runs through the modules of supernets, and computes what it computed."""

from __future__ import annotations

import copy

import pytest
import torch
from spaces import SMALL, random_archs

from edgenas.supernet import lending
from edgenas.supernet.lending import run_subnet
from edgenas.supernet.subnet import Subnet


@pytest.mark.parametrize("training", [True, False])
def test_a_subnet_gives_and_learns_what_it_does_by_itself(training: bool) -> None:
    torch.manual_seed(0)
    for arch in (SMALL.largest, *random_archs(SMALL, 2)):
        plain = Subnet(SMALL.unroll(arch, 4), arch).double().train(training)
        quick = copy.deepcopy(plain)
        x = torch.randn(3, 3, arch.resolution, arch.resolution, dtype=torch.float64)
        outputs = plain(x), run_subnet(quick, x)
        torch.testing.assert_close(outputs[1], outputs[0])
        for output in outputs:
            output.square().sum().backward()
        for (name, one), other in zip(plain.named_parameters(), quick.parameters(), strict=True):
            torch.testing.assert_close(other.grad, one.grad, msg=name)
        found, wanted = (
            {key: value for key, value in net.state_dict().items() if "num_batches" not in key}
            for net in (quick, plain)
        )
        torch.testing.assert_close(found, wanted)


def test_nothing_lent_is_kept_and_frames_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lending, "_spare", {})
    monkeypatch.setattr(lending, "MOST_SPARE", 3)
    arch = SMALL.largest
    subnet = Subnet(SMALL.unroll(arch, 4), arch)
    for _ in range(2):
        run_subnet(subnet, torch.randn(2, 3, arch.resolution, arch.resolution))
        assert len(lending._spare) <= 4
    kept = [tensor for frames in lending._spare.values() for frame in frames for tensor in frame._block.parameters()]
    assert kept
    assert all(tensor.is_meta for tensor in kept)
