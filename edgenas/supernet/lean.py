"""Batch norm and activation that keep less for going backward than torch's modules one after the other.

Between a convolution and the next there are three tensors: what the first gives, normalised, activated. Torch keeps all
three. The middle one is worked out again going backward, which costs one pass over it (in-place activated batch norm,
arXiv 1712.02616), or overwritten where going backward needs only what comes out.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from edgenas.supernet.subnet import ConvNorm, InvertedResidual, Stem


class LeanConvNorm(ConvNorm):
    """Convolution, batch norm, activation."""

    activation: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) to (n, out, ceil(h / stride), ceil(w / stride))."""
        y, norm = self.conv(x), self.norm
        alone = not dist.is_initialized() or dist.get_world_size() == 1
        # On GPUs torch's own batch norm is another one, and autocast mixes types.
        plain = y.device.type == "cpu" and y.dtype == norm.weight.dtype and alone
        if not (plain and self.training and torch.is_grad_enabled() and isinstance(self.activation, nn.Hardswish)):
            return self.activation(norm(y))  # type: ignore[no-any-return]
        running = (norm.running_mean, norm.running_var, norm.momentum, norm.eps)
        return cast("Tensor", _NormHardswish.apply(y, norm.weight, norm.bias, *running))


class _NormHardswish(torch.autograd.Function):
    """Batch norm by the batch's statistics, then hard swish; running statistics follow."""

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
        found, mean, inverse = torch.native_batch_norm(y, weight, bias, running_mean, running_var, True, momentum, eps)
        ctx.save_for_backward(y, weight, bias, mean, inverse)
        ctx.eps = eps
        return F.hardswish(found, inplace=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        y, weight, bias, mean, inverse = ctx.saved_tensors
        scale = weight * inverse
        normalised = torch.addcmul((bias - mean * scale)[:, None, None], y, scale[:, None, None])
        gradient = torch.ops.aten.hardswish_backward(gradients[0], normalised)
        found = torch.ops.aten.native_batch_norm_backward(
            gradient, y, weight, None, None, mean, inverse, True, ctx.eps, list(ctx.needs_input_grad[:3])
        )
        return (*found, None, None, None, None)


def lean_norms(block: nn.Module) -> None:
    """Make the batch norms of a block that are activated, but the head's, lean ones; it has the same tensors."""
    if isinstance(block, Stem | InvertedResidual):
        activation = nn.ReLU(inplace=True) if isinstance(block.activation, nn.ReLU) else block.activation
        norms = [block.conv] if isinstance(block, Stem) else [block.expand, block.depthwise]
        for norm in norms:
            if norm is not None:
                norm.__class__ = LeanConvNorm
                norm.activation = activation
        block.activation = nn.Identity()
