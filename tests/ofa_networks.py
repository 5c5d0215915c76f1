"""Networks of the `ofa` package of PyPI, randomly initialised, and their checkpoints as once-for-all writes them."""

from __future__ import annotations

import copy
import random
import re
import warnings
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from edgenas.space.arch import Arch
from edgenas.space.space import SearchSpace

with warnings.catch_warnings():
    # Of 2023: Python and torch have deprecated some of it since.
    warnings.simplefilter("ignore")
    from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3
    from ofa.imagenet_classification.elastic_nn.utils import set_running_statistics

DROPOUT = 0.0
WARM_UP_STEPS = 20


def ofa_network(width: float, classes: int, *, seed: int = 0) -> Any:
    """Weights, kernel transforms and statistics far from their initial values."""
    return copy.deepcopy(_made(width, classes, seed))


@cache
def _made(width: float, classes: int, seed: int) -> Any:
    torch.manual_seed(seed)
    net = OFAMobileNetV3(
        n_classes=classes,
        dropout_rate=DROPOUT,
        width_mult=width,
        ks_list=[3, 5, 7],
        expand_ratio_list=[3, 4, 6],
        depth_list=[2, 3, 4],
    )
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("depth_conv.conv.conv.weight"):
                # As in trained networks, the centre and the first channels count most: else signals die out in subnets.
                parameter[:, :, 2:-2, 2:-2] *= 5
            elif name.endswith("point_linear.conv.conv.weight"):
                parameter[:, parameter.shape[1] // 2 :] *= 0.3
            elif name.endswith("_matrix"):
                parameter += 0.05 * torch.randn_like(parameter)
            elif parameter.ndim == 1:
                parameter += 0.2 * torch.randn_like(parameter)
        # Warmed up first, as by training; then perturbed.
        random.seed(seed)
        net.set_bn_param(momentum=0.3, eps=1e-5)
        net.train()
        for _ in range(WARM_UP_STEPS):
            net.sample_active_subnet()
            net(torch.randn(4, 3, 64, 64))
        net.set_bn_param(momentum=0.1, eps=1e-5)
        net.set_max_net()
        # Logits of size 1, more or less.
        net.classifier.linear.weight *= 0.03
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean += 0.1 * torch.randn_like(module.running_mean)
                module.running_var *= 0.7 + 0.6 * torch.rand_like(module.running_var)
    return net.eval()


def settle(net: Any, batches: Iterable[Tensor]) -> None:
    """Their recalibration of the active subnet."""
    set_running_statistics(net, [(batch, None) for batch in batches])


def activate(net: Any, arch: Arch) -> None:
    """Make an arch of ours their active subnet."""
    stages = [stage.blocks for stage in arch.stages[1:]]
    padded = [[*blocks, *[blocks[0]] * (4 - len(blocks))] for blocks in stages]
    net.set_active_subnet(
        ks=[block.kernel for blocks in padded for block in blocks],
        e=[block.expand for blocks in padded for block in blocks],
        d=[len(blocks) for blocks in stages],
    )


def at_resolutions(space: SearchSpace, archs: Iterable[Arch], resolutions: tuple[int, ...]) -> list[Arch]:
    """The same archs, the resolutions in turn."""
    return [Arch(resolutions[n % len(resolutions)], arch.stages) for n, arch in enumerate(archs)]


def older(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The spelling of the first public checkpoints."""

    def spelled(name: str) -> str:
        name = re.sub(r"^(blocks\.\d+)\.conv\.", r"\1.mobile_inverted_conv.", name)
        name = name.replace(".bn.bn.", ".bn.")
        return name.replace(".conv.conv.weight", ".conv.weight")

    return {spelled(name): tensor for name, tensor in state.items()}
