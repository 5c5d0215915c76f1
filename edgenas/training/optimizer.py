"""The optimiser, and an average of the weights over its steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from edgenas.config.sections import TrainConfig
from edgenas.supernet.subnet import InvertedResidual, Subnet
from edgenas.supernet.supernet import ElasticInvertedResidual, SuperNet

Average = dict[str, Tensor]
"""A weight average by parameter name."""


def make_optimizer(net: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum; no weight decay on norms, biases and kernel transforms.

    A kernel transform's rest is the identity, so decay would not calm but change it.
    """
    decayed = {name: p.ndim > 1 and ".transforms." not in name for name, p in net.named_parameters()}
    groups = [
        {"params": [p for name, p in net.named_parameters() if decayed[name]], "weight_decay": config.weight_decay},
        {"params": [p for name, p in net.named_parameters() if not decayed[name]], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0)
    return torch.optim.AdamW(groups, lr=config.learning_rate)


@torch.no_grad()
def zero_last_norms(net: SuperNet | Subnet) -> None:
    """Let every block that has a shortcut begin as one that is nothing else (arXiv 1706.02677, section 5.1)."""
    for place, block in net.blocks.items():
        # First blocks of a stage have a shortcut only where neither size nor channels change, so seldom.
        if (isinstance(block, ElasticInvertedResidual) and not place.endswith("_block0")) or (
            isinstance(block, InvertedResidual) and block.residual
        ):
            block.project.norm.weight.zero_()


def new_average(net: nn.Module) -> Average:
    """An average that has seen one step."""
    return {name: parameter.detach().clone() for name, parameter in net.named_parameters()}


@torch.no_grad()
def update_average(average: Average, net: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the weights; faster in the first steps, whose weights are soon forgotten."""
    share = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.values()), [parameter.detach() for parameter in net.parameters()], share)


@torch.no_grad()
def take(weights: Average, net: nn.Module) -> None:
    """Copy weights into the network."""
    for name, parameter in net.named_parameters():
        parameter.copy_(weights[name])


@contextmanager
def averaged(net: nn.Module, average: Average | None) -> Iterator[None]:
    """The network with averaged weights, for as long as the context lasts; as it is, if there is no average."""
    if average is None:
        yield
        return
    own = new_average(net)
    take(average, net)
    try:
        yield
    finally:
        take(own, net)
