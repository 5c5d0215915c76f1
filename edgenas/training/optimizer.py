"""The optimiser, and a moving average of the weights over its steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from edgenas.config.train_config import TrainConfig
from edgenas.supernet.blocks.base import Block, ElasticBlock
from edgenas.supernet.elastic_layers import ElasticNorm
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet

SHARE = "share"
"""Key of a parameter group: the share of the learning rate that its parameters get."""
Average = dict[str, Tensor]
"""Averaged weights by parameter name."""


def make_optimizer(net: SuperNet | Subnet, config: TrainConfig) -> torch.optim.Optimizer:
    """Return AdamW, or SGD with Nesterov momentum, without weight decay on norms, biases and kernel transforms.

    A neutral kernel transform is the identity, not zero, so decay would not regularise it. Parameters are grouped by
    the share of the learning rate that their block gets, see `layer_shares`.
    """
    shares, grouped = layer_shares(list(net.blocks), config.layer_decay), dict[tuple[float, bool], list[nn.Parameter]]()
    for name, parameter in net.named_parameters():
        decays = parameter.ndim > 1 and ".transforms." not in name
        grouped.setdefault((shares[name.split(".")[1]], decays), []).append(parameter)
    groups = [
        {"params": parameters, SHARE: share, "weight_decay": config.weight_decay if decays else 0.0}
        for (share, decays), parameters in grouped.items()
    ]
    optimizer: torch.optim.Optimizer
    if config.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, momentum=config.momentum, nesterov=config.momentum > 0)
    else:
        optimizer = torch.optim.AdamW(groups)
    set_learning_rate(optimizer, config.learning_rate)
    return optimizer


def layer_shares(blocks: Sequence[str], decay: float) -> dict[str, float]:
    """Return the share of the learning rate of each block: 1 for the last one, `decay` times as much before each.

    Early layers of a pretrained network are general, so fine-tuning changes them less (ULMFiT, arXiv 1801.06146,
    section 3.2; with a constant factor as in BEiT, arXiv 2106.08254, appendix).

    Args:
        blocks: names of all blocks, from the stem to the head.
        decay: the factor, above 0 and up to 1.
    """
    return {name: decay ** (len(blocks) - 1 - number) for number, name in enumerate(blocks)}


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the last block, and of every other block to its share of it."""
    for group in optimizer.param_groups:
        group["lr"] = group[SHARE] * rate


@torch.no_grad()
def zero_last_norms(net: SuperNet | Subnet) -> None:
    """Zero the last norm of every residual block, so that it begins as an identity (arXiv 1706.02677, section 5.1)."""
    for position, block in net.blocks.items():
        norm: nn.BatchNorm2d | ElasticNorm | None = None
        # The first block of a stage is residual only where neither size nor channels change, which is rare.
        if isinstance(block, ElasticBlock) and not position.endswith("_block0"):
            norm = block.last_norm
        elif isinstance(block, Block):
            norm = block.shortcut_norm
        if norm is not None:
            norm.weight.zero_()


def new_average(net: nn.Module) -> Average:
    """Return an average over one step: a copy of the weights."""
    return {name: parameter.detach().clone() for name, parameter in net.named_parameters()}


@torch.no_grad()
def update_average(average: Average, net: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the weights; faster in the first steps, whose weights should not last."""
    share = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.values()), [parameter.detach() for parameter in net.parameters()], share)


@torch.no_grad()
def load_average(weights: Average, net: nn.Module) -> None:
    """Copy averaged weights into the network."""
    for name, parameter in net.named_parameters():
        parameter.copy_(weights[name])


@contextmanager
def averaged(net: nn.Module, average: Average | None) -> Iterator[None]:
    """Give the network its averaged weights while the context lasts; without an average, change nothing."""
    if average is None:
        yield
        return
    weights = new_average(net)
    load_average(average, net)
    try:
        yield
    finally:
        load_average(weights, net)
