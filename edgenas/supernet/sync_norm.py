"""Batch norm synchronised over processes, on any device."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class SyncNorm(nn.BatchNorm2d):
    """Batch norm over the images of all processes that train together.

    Torch's SyncBatchNorm does not support CPUs. All processes must have the same number of images.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise an input of shape (n, c, h, w)."""
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(x)
        wide = x if x.dtype == torch.float64 else x.float()
        count = dist.get_world_size() * wide.numel() // wide.shape[1]
        mean = _sum_over_processes(wide.sum(dim=(0, 2, 3))) / count
        centred = wide - mean[:, None, None]
        var = _sum_over_processes(centred.square().sum(dim=(0, 2, 3))) / count
        self._update_running(mean.detach(), var.detach(), count)
        scale = self.weight * (var + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _update_running(self, mean: Tensor, var: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * (count / (count - 1)), self.momentum)


def synchronise_norms(module: nn.Module) -> None:
    """Replace every batch norm of a module in place by a SyncNorm of the same parameters."""
    for parent in list(module.modules()):
        for name, norm in parent.named_children():
            if isinstance(norm, nn.BatchNorm2d):
                synchronised = SyncNorm(norm.num_features, norm.eps).to(norm.weight.device, norm.weight.dtype)
                synchronised.load_state_dict(norm.state_dict())
                synchronised.requires_grad_(norm.weight.requires_grad)
                setattr(parent, name, synchronised.train(norm.training))


class _SumOverProcesses(torch.autograd.Function):
    """Sum over processes, whose gradient is also the sum over processes, since the value enters all losses."""

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
