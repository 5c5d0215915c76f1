"""Batch norms that keep less for going backward compute what torch's do."""

from __future__ import annotations

import copy

import pytest
import torch
from spaces import SMALL, random_archs
from torch import Tensor, nn

from edgenas.supernet.lean import LeanConvNorm, _NormHardswish, lean_norms
from edgenas.supernet.subnet import Subnet

CLASSES = 4


def networks(seed: int) -> tuple[Subnet, Subnet]:
    """A network as it is, and its lean twin, in double precision."""
    torch.manual_seed(seed)
    arch = [SMALL.largest, SMALL.smallest, *random_archs(SMALL, 2)][seed]
    plain = Subnet(SMALL.unroll(arch, CLASSES), arch).double().train()
    for norm in plain.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    lean = copy.deepcopy(plain)
    for block in lean.blocks.values():
        lean_norms(block)
    return plain, lean


def images(network: Subnet, count: int = 5) -> Tensor:
    x = torch.randn(count, 3, network.resolution, network.resolution, dtype=torch.float64)
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("seed", range(4))
def test_outputs_gradients_and_statistics_are_those_of_the_plain_network(seed: int) -> None:
    plain, lean = networks(seed)
    assert any(isinstance(module, LeanConvNorm) for module in lean.modules())
    x = images(plain)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    # Twice, since running statistics are followed.
    for _ in range(2):
        outputs = [network(own) for network, own in zip((plain, lean), inputs, strict=True)]
        torch.testing.assert_close(outputs[1], outputs[0])
        for output in outputs:
            output.square().sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    for (name, one), other in zip(plain.named_parameters(), lean.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, msg=name)
    counts = "num_batches_tracked"  # which nothing here reads
    found, wanted = ({k: v for k, v in one.state_dict().items() if counts not in k} for one in (lean, plain))
    torch.testing.assert_close(found, wanted)
    assert list(lean.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(lean.eval()(x), plain.eval()(x))


def test_gradients_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    y = 2 * torch.randn(4, 3, 5, 5, dtype=torch.float64, generator=generator)
    weight, bias = (torch.rand(3, dtype=torch.float64, generator=generator) + 0.5 for _ in range(2))

    def computed(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        running = (torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
        return _NormHardswish.apply(y, weight, bias, *running, 0.1, 1e-5)

    assert torch.autograd.gradcheck(computed, [tensor.requires_grad_() for tensor in (y, weight, bias)])


def kept_bytes(network: Subnet, x: Tensor) -> int:
    """Of all tensors kept for going backward, those that share memory counted once."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = network(x)
    assert output.requires_grad
    return sum(kept.values())


def test_less_is_kept_for_going_backward() -> None:
    plain, lean = networks(0)
    x = images(plain, 32)
    assert kept_bytes(lean, x) < 0.9 * kept_bytes(plain, x)
