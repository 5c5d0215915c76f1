"""Networks of other libraries, randomly initialised, with batch-norm statistics far from their initial values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

RESOLUTION = 64
TORCHVISION = ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "mnasnet1_0", "efficientnet_b0")
TIMM = (
    "mobilenetv3_large_100",
    "efficientnet_lite0",
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite1",
    "tf_efficientnet_lite2",
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium",
)
LITE = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
BUILDERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(TORCHVISION, lambda name: torchvision.models.get_model(name)),
    **dict.fromkeys(TIMM, lambda name: pytest.importorskip("timm").create_model(name)),
    **dict.fromkeys(LITE, lambda name: lite_network(name, RESOLUTION)),
}


def lite_network(name: str, image_size: int) -> Any:
    """The package's network, whose padding is that for images of one size."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    return package.EfficientNet.from_name(name, image_size=image_size)


def source_network(name: str) -> nn.Module:
    """Return a network of these libraries in eval mode."""
    torch.manual_seed(0)
    return perturbed(BUILDERS[name](name)).eval()


@torch.no_grad()
def perturbed(module: nn.Module) -> nn.Module:
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.3, 0.3)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.3, 0.3)
    return module
