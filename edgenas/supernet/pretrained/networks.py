"""Search spaces around networks of torchvision and timm, by name or as modules."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
import torchvision
from torch import nn

from edgenas.errors import SpaceError, one_of, shown
from edgenas.space.blocks.spec import Activation
from edgenas.space.loading import load_space, preset_names
from edgenas.space.space import SearchSpace
from edgenas.supernet.pretrained import efficientnet_lite, timm_networks, torchvision_networks
from edgenas.supernet.pretrained.source_network import SourceNetwork, read_network
from edgenas.supernet.pretrained.space_around import Bounds, space_around

FAMILIES = (*torchvision_networks.FAMILIES, *timm_networks.FAMILIES, *efficientnet_lite.FAMILIES)
NAMES = (
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "mnasnet1_0",
    "efficientnet_b0",
    "mobilenetv3_large_100",
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite1",
    "tf_efficientnet_lite2",
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium",
)
"""Networks of torchvision, then of timm, that are read; others of the same classes often are, too."""
OFA = "ofa-"


def space_from(
    network: nn.Module | str,
    *,
    name: str | None = None,
    kernels: Sequence[int] = (0, 3, 5, 7),
    expand_ratios: Sequence[float] = (2, 3, 4, 6),
    depths: Sequence[int] | None = None,
    widths: Sequence[float] = (0.75,),
    activations: Sequence[Activation] = (),
    squeeze_ratios: Sequence[float] = (),
    resolutions: Sequence[int] | None = None,
) -> SearchSpace:
    """Return the space around a network, which is its largest architecture.

    The options state which choices there are below the network's own values; these always are choices, too.

    Args:
        network: a classifier of torchvision or timm, or its name there, such as `mobilenet_v3_large`; or the name of a
            once-for-all space, such as `ofa-mbv3-w1.0`, which is returned as it is.
        name: name of the space; None: that of the network.
        kernels: kernel sizes; 0: blocks of MobileNetV4 with two depthwise convolutions may lack the first.
        expand_ratios: expand ratios.
        depths: numbers of blocks of a stage; None: from half of the stage's own number.
        widths: output channels of stages, as shares of the network's, rounded to multiples of 8.
        activations: activations of blocks instead of the network's own.
        squeeze_ratios: channels of squeeze-excite as shares, below the network's quarter; 0: blocks may lack it.
        resolutions: all input sizes, in pixels; None: the network's own (224 where a module does not state one), and
            three in steps of 32 below.

    Raises:
        SpaceError: the network is unknown, of another family, takes several inputs, or has a layer that spaces lack.
    """
    if isinstance(network, str) and network.startswith(OFA):
        presets = [preset for preset in preset_names() if preset.startswith(OFA)]
        if network not in presets:
            raise SpaceError(f"space {shown(network)} is unknown; {one_of(network, presets)}")
        return load_space(network)
    for share in widths:
        if not 0 < share <= 1:
            raise SpaceError(f"widths: expected shares above 0 and up to 1, got {share:g}")
    module = named_network(network) if isinstance(network, str) else network
    default = network.rpartition("/")[2] if isinstance(network, str) else type(network).__name__.lower()
    bounds = Bounds(kernels, expand_ratios, depths, widths, activations, squeeze_ratios, resolutions)
    return space_around(read(module), name or default, bounds)


def read(module: nn.Module) -> SourceNetwork:
    """Return the description of a network, see `read_network`."""
    return read_network(module, FAMILIES)


def named_network(name: str) -> nn.Module:
    """Return a network of torchvision or timm, without weights.

    Args:
        name: its name there, `torchvision/` or `timm/` before it where both have it; torchvision comes first.

    Raises:
        SpaceError: neither library has it, or timm, which has it, is not installed.
    """
    library, _, plain = name.rpartition("/")
    with torch.device("meta"):
        if library in ("", "torchvision") and plain in torchvision.models.list_models(torchvision.models):
            module: nn.Module = torchvision.models.get_model(plain, weights=None)
            return module
        timm = _timm(name) if library in ("", "timm") else None
        if timm is None or not timm.is_model(plain):
            raise SpaceError(f"network {shown(name)} is unknown to torchvision and timm; {one_of(plain, NAMES)}")
        return timm.create_model(plain, pretrained=False)  # type: ignore[no-any-return]


def _timm(name: str) -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError:
        raise SpaceError(
            f"network {shown(name)} is unknown to torchvision; if it is one of timm, install that: "
            "pip install 'edgenas[timm]'"
        ) from None
