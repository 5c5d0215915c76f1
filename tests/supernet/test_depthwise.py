"""The strip-wise gradients of wide depthwise convolutions equal torch's."""

from __future__ import annotations

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from spaces import SMALL
from torch import Tensor, nn

from edgenas.supernet.depthwise import WideDepthwise, is_wide_depthwise, weight_gradient
from edgenas.supernet.supernet import SuperNet


def both(kernel: int, stride: int, size: tuple[int, int], channels: int) -> tuple[Tensor, Tensor]:
    """The gradient of a weight by torch, in double precision, and by strips, in single."""
    generator = torch.Generator().manual_seed(kernel * 100 + stride)
    x = torch.randn(3, channels, *size, generator=generator).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(channels, 1, kernel, kernel, generator=generator).double().requires_grad_()
    y = F.conv2d(x.double(), weight, None, stride, kernel // 2, groups=channels)
    gradient = torch.randn(y.shape, generator=generator)
    y.backward(gradient.double())
    assert weight.grad is not None
    return weight.grad, weight_gradient(gradient, x, kernel, stride)


@pytest.mark.parametrize(
    ("kernel", "stride", "size"),
    list(product((5, 7, 9, 11), (1, 2), ((1, 1), (2, 2), (4, 4), (7, 7), (14, 14), (15, 12), (3, 20)))),
)
def test_the_gradient_is_torchs(kernel: int, stride: int, size: tuple[int, int]) -> None:
    expected, gradient = both(kernel, stride, size, channels=24)
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-5 * scale)


def test_channels_that_fill_no_vector() -> None:
    expected, gradient = both(5, 1, (6, 6), channels=3)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-4)


def test_images_in_either_memory_format() -> None:
    x = torch.randn(2, 8, 7, 7, generator=torch.Generator().manual_seed(0))
    gradient = x.flip(0)
    rows, columns = (
        weight_gradient(gradient, one, 5, 1) for one in (x, x.contiguous(memory_format=torch.channels_last))
    )
    torch.testing.assert_close(rows, columns)


def module(dtype: torch.dtype = torch.float32) -> tuple[nn.Conv2d, nn.Conv2d]:
    plain = nn.Conv2d(16, 16, 7, 2, 3, groups=16, bias=False).to(dtype)
    quick = WideDepthwise(16, 16, 7, 2, 3, groups=16, bias=False).to(dtype)
    quick.load_state_dict(plain.state_dict())
    return plain, quick


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_module_equals_torchs_convolution(dtype: torch.dtype) -> None:
    plain, quick = module(dtype)
    x = torch.randn(2, 16, 9, 9, dtype=dtype, generator=torch.Generator().manual_seed(0))
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [one(own) for one, own in zip((plain, quick), inputs, strict=True)]
    torch.testing.assert_close(outputs[1], outputs[0])
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    torch.testing.assert_close(quick.weight.grad, plain.weight.grad)


def test_only_the_required_gradients_are_computed() -> None:
    _, quick = module()
    x = torch.randn(2, 16, 9, 9)
    quick(x).sum().backward()
    assert x.grad is None
    assert quick.weight.grad is not None
    quick.weight.requires_grad_(False)
    quick(x.requires_grad_()).sum().backward()
    assert x.grad is not None


def test_only_wide_depthwise_convolutions_are_recognised() -> None:
    assert is_wide_depthwise(nn.Conv2d(8, 8, 5, groups=8))
    for conv in (nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 5), nn.Conv2d(8, 16, 5, groups=8)):
        assert not is_wide_depthwise(conv)


def test_a_supernet_trains_through_them(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []

    def counted(gradient: Tensor, x: Tensor, kernel: int, stride: int) -> Tensor:
        called.append(kernel)
        return weight_gradient(gradient, x, kernel, stride)

    monkeypatch.setattr("edgenas.supernet.depthwise.weight_gradient", counted)
    arch = SMALL.largest
    net = SuperNet(SMALL.with_classes(4)).train()
    net(torch.randn(2, 3, arch.resolution, arch.resolution), arch).sum().backward()
    wide = [spec.kernel for spec in SMALL.with_classes(4).unroll(arch) if getattr(spec, "kernel", 0) > 3]
    assert sorted(called) == sorted(wide) != []
