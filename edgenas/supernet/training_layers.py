"""Layers whose backward pass takes less time and memory than that of torch's layers.

Between two convolutions there are three tensors: the output, the normalised and the activated tensor. Torch keeps all
three for the backward pass. These layers recompute the normalised tensor, which takes one pass over it (in-place
activated batch norm, arXiv 1712.02616), or overwrite it if the backward pass needs only the activated tensor.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from edgenas.space.blocks.spec import NORM_EPSILON, Activation, Padding
from edgenas.supernet.depthwise import WideDepthwise, is_wide_depthwise
from edgenas.supernet.layers import ConvNorm, SameConv
from edgenas.supernet.sync_norm import SyncNorm


class TrainingConvNorm(ConvNorm):
    """ConvNorm with the same tensors, whose statistics in training are computed over the images of all processes."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: Activation | None = None,
        *,
        padding: Padding = "symmetric",
        norm_epsilon: float = NORM_EPSILON,
    ):
        shape = (in_channels, out_channels, kernel, stride, groups, activation)
        super().__init__(*shape, padding=padding, norm_epsilon=norm_epsilon)
        if is_wide_depthwise(self.conv) and not isinstance(self.conv, SameConv):
            self.conv = WideDepthwise(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = SyncNorm(out_channels, norm_epsilon)
        # The running averages have a fixed momentum, so batches are not counted.
        self.norm.num_batches_tracked = None
        if isinstance(self.activation, nn.ReLU | nn.ReLU6):
            # The backward pass of these activations needs only the activated tensor.
            self.activation.inplace = True

    def forward(self, x: Tensor) -> Tensor:
        """Map shape (n, in, h, w) to (n, out, ceil(h / stride), ceil(w / stride))."""
        y, norm = self.conv(x), self.norm
        single_process = not dist.is_initialized() or dist.get_world_size() == 1
        # Torch has another batch norm on GPUs, and autocast mixes types.
        plain = y.device.type == "cpu" and y.dtype == norm.weight.dtype and single_process
        if not (plain and self.training and torch.is_grad_enabled() and isinstance(self.activation, nn.Hardswish)):
            return self.activation(norm(y))  # type: ignore[no-any-return]
        running = (norm.running_mean, norm.running_var, norm.momentum, norm.eps)
        return cast("Tensor", NormHardswish.apply(y, norm.weight, norm.bias, *running))


class NormHardswish(torch.autograd.Function):
    """Batch norm with the batch's statistics and hard swish. Running statistics are updated."""

    @staticmethod
    def forward(
        ctx: Any,
        y: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
    ) -> Tensor:
        """Return the activated tensor, of the shape of `y`, (n, c, h, w)."""
        normed, mean, inverse = torch.native_batch_norm(y, weight, bias, running_mean, running_var, True, momentum, eps)
        ctx.save_for_backward(y, weight, bias, mean, inverse)
        ctx.eps = eps
        return F.hardswish(normed, inplace=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Return the gradients of `y`, weight and bias; the other arguments have none."""
        y, weight, bias, mean, inverse = ctx.saved_tensors
        scale = weight * inverse
        normed = torch.addcmul((bias - mean * scale)[:, None, None], y, scale[:, None, None])
        gradient = torch.ops.aten.hardswish_backward(gradients[0], normed)
        input_gradients = torch.ops.aten.native_batch_norm_backward(
            gradient, y, weight, None, None, mean, inverse, True, ctx.eps, list(ctx.needs_input_grad[:3])
        )
        return (*input_gradients, None, None, None, None)
