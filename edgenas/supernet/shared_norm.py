"""Batch norm whose statistics in training are those of all processes' images, on any device."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class SharedNorm(nn.BatchNorm2d):
    """Batch norm; where several processes train together, over the images of all of them.

    Torch's own SyncBatchNorm refuses CPUs. Every process must have equally many images.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to the same."""
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(x)
        wide = x if x.dtype == torch.float64 else x.float()
        count = dist.get_world_size() * wide.numel() // wide.shape[1]
        mean = _sum_over_processes(wide.sum(dim=(0, 2, 3))) / count
        centred = wide - mean[:, None, None]
        var = _sum_over_processes(centred.square().sum(dim=(0, 2, 3))) / count
        self._follow(mean.detach(), var.detach(), count)
        scale = self.weight * (var + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, var: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * (count / (count - 1)), self.momentum)


def share_norms(module: nn.Module) -> None:
    """Make every batch norm of a module a SharedNorm, which has no weights of its own."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.__class__ = SharedNorm


class _SumOverProcesses(torch.autograd.Function):
    """A sum whose gradient is summed, too: what one process's value does to the losses of all."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def _sum_over_processes(tensor: Tensor) -> Tensor:
    return _SumOverProcesses.apply(tensor)  # type: ignore[no-any-return]
