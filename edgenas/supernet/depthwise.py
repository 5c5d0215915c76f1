"""Wide depthwise convolutions whose backward pass on x86 CPUs takes about as long as the forward pass.

oneDNN has a fast kernel for the gradient of depthwise weights of up to three columns. For wider weights it uses its
general kernel for grouped convolutions, which is 5 to 30 times slower and takes half of a supernet's training step. So
the gradient is assembled from strips of three columns, each of which is the gradient of a narrower convolution.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIP = 3
"""Largest number of columns of the fast kernel."""


class WideDepthwise(nn.Conv2d):
    """Depthwise convolution with more than three columns, with padding that keeps the size, and without bias."""

    def forward(self, x: Tensor) -> Tensor:
        """Map shape (n, c, h, w) to (n, c, ceil(h / stride), ceil(w / stride))."""
        plain = x.device.type != "cpu" or not x.dtype == self.weight.dtype == torch.float32
        if plain or torch.is_autocast_enabled("cpu") or not torch.is_grad_enabled():
            return super().forward(x)
        return cast("Tensor", _Depthwise.apply(x, self.weight, self.stride[0]))


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, _ = ctx.needs_input_grad
        kernel = weight.shape[-1]
        x_gradient = _backward(gradients[0], x, weight, ctx.stride, kernel // 2, "x") if needs_x else None
        w_gradient = weight_gradient(gradients[0], x, kernel, ctx.stride) if needs_weight else None
        return x_gradient, w_gradient, None


def weight_gradient(gradient: Tensor, x: Tensor, kernel: int, stride: int) -> Tensor:
    """Return the weight gradient of a depthwise convolution padded by half its kernel, (c, 1, kernel, kernel).

    Args:
        gradient: gradient of the output, shape (n, c, h', w').
        x: input, shape (n, c, h, w).
        kernel: kernel size, odd and above 3.
        stride: stride of the convolution.
    """
    w_gradient = x.new_empty((x.shape[1], 1, kernel, kernel))
    narrow = x.new_empty((x.shape[1], 1, kernel, STRIP))
    starts = [min(start, kernel - STRIP) for start in range(0, kernel, STRIP)]
    height, width = gradient.shape[2:]
    for start, strip in zip(starts, _strips(x, starts, kernel, stride, height), strict=True):
        # Padding may give a strip more output columns than the convolution has; those have no gradient.
        spare = (strip.shape[-1] - STRIP) // stride + 1 - width
        if spare and start == 0:
            gradient = F.pad(gradient, (0, spare))
        w_gradient[..., start : start + STRIP] = _backward(gradient, strip, narrow, stride, 0, "weight")
    return w_gradient


def _strips(x: Tensor, starts: list[int], kernel: int, stride: int, out_height: int) -> Iterator[Tensor]:
    """Yield the images for each of `starts`, moved so that pixel (0, 0) is the first under this column of the kernel.

    All are views of one padded copy. Between its rows are as many zeros as the kernel reaches over the edge. An image
    moved sideways by at most that is the same memory, read from another offset.
    """
    n, channels, height, width = x.shape
    edge = kernel // 2
    rows, columns = (out_height - 1) * stride + kernel, width + edge
    lead, size = edge * channels, n * rows * columns * channels
    flat = x.new_empty(lead + size + lead)
    body = flat[lead : lead + size].view(n, rows, columns, channels)
    bottom = min(edge + height, rows)
    body[:, edge:bottom, :width] = x.permute(0, 2, 3, 1)[:, : bottom - edge]
    for margin in (flat[:lead], flat[lead + size :], body[:, :edge], body[:, bottom:], body[:, edge:bottom, width:]):
        margin.zero_()
    shape, strides = (n, channels, rows, columns), (rows * columns * channels, 1, columns * channels, channels)
    for start in starts:
        yield flat.as_strided(shape, strides, lead + (start - edge) * channels)


def _backward(gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, of: str) -> Tensor:
    sizes = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], len(weight))
    mask = [of == "x", of == "weight", False]
    gradients = torch.ops.aten.convolution_backward(gradient, x, weight, None, *sizes, mask)
    return cast("Tensor", gradients[mask.index(True)])


def is_wide_depthwise(conv: nn.Conv2d) -> bool:
    """Return whether a convolution is depthwise and too wide for oneDNN's fast kernel."""
    return conv.kernel_size[1] > STRIP and conv.groups == conv.in_channels == conv.out_channels
