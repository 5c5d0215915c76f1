"""Layers that keep less for the backward pass compute the same as torch's."""

from __future__ import annotations

import pytest
import torch
from spaces import SMALL, random_archs
from torch import Tensor, nn

from edgenas.supernet.blocks import build_block
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.training_layers import NormHardswish, TrainingConvNorm

CLASSES = 4


def networks(seed: int) -> tuple[Subnet, Subnet]:
    """A network of plain layers, and one of training layers with equal weights, in double precision."""
    torch.manual_seed(seed)
    arch = [SMALL.largest, SMALL.smallest, *random_archs(SMALL, 2)][seed]
    plain = Subnet(SMALL.with_classes(CLASSES).unroll(arch), arch).double().train()
    for norm in plain.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    lean = Subnet(plain.specs, arch)
    lean.blocks = nn.ModuleDict(
        {name: build_block(spec, TrainingConvNorm) for name, spec in zip(plain.blocks, plain.specs, strict=True)}
    )
    lean.double().load_state_dict(plain.state_dict(), strict=False)
    return plain, lean.train()


def without_counts(network: Subnet) -> dict[str, Tensor]:
    """The state but the counts of batches, which nothing reads."""
    return {name: tensor for name, tensor in network.state_dict().items() if "num_batches_tracked" not in name}


def images(network: Subnet, count: int = 5) -> Tensor:
    x = torch.randn(count, 3, network.resolution, network.resolution, dtype=torch.float64)
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("seed", range(4))
def test_outputs_gradients_and_statistics_are_those_of_the_plain_network(seed: int) -> None:
    plain, lean = networks(seed)
    assert any(isinstance(module, TrainingConvNorm) for module in lean.modules())
    x = images(plain)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    # Twice, since running statistics change.
    for _ in range(2):
        outputs = [network(own) for network, own in zip((plain, lean), inputs, strict=True)]
        torch.testing.assert_close(outputs[1], outputs[0])
        for output in outputs:
            output.square().sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    for (name, one), other in zip(plain.named_parameters(), lean.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, msg=name)
    torch.testing.assert_close(without_counts(lean), without_counts(plain))
    torch.testing.assert_close(lean.eval()(x), plain.eval()(x))


def test_gradients_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    y = 2 * torch.randn(4, 3, 5, 5, dtype=torch.float64, generator=generator)
    weight, bias = (torch.rand(3, dtype=torch.float64, generator=generator) + 0.5 for _ in range(2))

    def computed(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        running = (torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
        return NormHardswish.apply(y, weight, bias, *running, 0.1, 1e-5)

    assert torch.autograd.gradcheck(computed, [tensor.requires_grad_() for tensor in (y, weight, bias)])


def kept_bytes(network: Subnet, x: Tensor) -> int:
    """Bytes of all tensors kept for the backward pass, shared memory counted once."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = network(x)
    assert output.requires_grad
    return sum(kept.values())


def test_less_is_kept_for_the_backward_pass() -> None:
    plain, lean = networks(0)
    x = images(plain, 32)
    assert kept_bytes(lean, x) < 0.9 * kept_bytes(plain, x)
