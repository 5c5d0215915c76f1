"""Search spaces around pretrained networks, by name or as modules."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from edgenas.errors import SpaceError, one_of, shown
from edgenas.space.blocks.spec import Activation
from edgenas.space.loading import load_space
from edgenas.space.network_names import is_network_name
from edgenas.space.space import SearchSpace
from edgenas.supernet.pretrained.bounds import DEFAULTS, Bounds
from edgenas.supernet.pretrained.families import FAMILIES
from edgenas.supernet.pretrained.named_sources import network_name, source_of
from edgenas.supernet.pretrained.network_names import OFA, named_network, once_for_all_presets
from edgenas.supernet.pretrained.ofa_weights import is_ofa_name, ofa_preset
from edgenas.supernet.pretrained.source_network import SourceNetwork, read_network
from edgenas.supernet.pretrained.space_around import space_around


def space_from(
    network: nn.Module | str,
    *,
    name: str | None = None,
    kernels: Sequence[int] = DEFAULTS.kernels,
    expand_ratios: Sequence[float] = DEFAULTS.expand_ratios,
    depths: Sequence[int] | None = None,
    widths: Sequence[float] = DEFAULTS.widths,
    activations: Sequence[Activation] = (),
    squeeze_ratios: Sequence[float] = (),
    resolutions: Sequence[int] | None = None,
) -> SearchSpace:
    """Return the space around a network, which is its largest architecture.

    The options state which choices there are below the network's own values; these always are choices, too.

    Args:
        network: a classifier of torchvision or timm; or its name there, such as `mobilenet_v3_large`; or a name of
            `load_pretrained`, such as `efficientnet-lite0` or `timm:mobilenetv3_large_100`, whose weights are not read;
            or a once-for-all space, such as `ofa-mbv3-w1.0` or `ofa:w1.0`, which is returned as it is and takes no
            options.
        name: name of the space; None: that of the network.
        kernels: kernel sizes; 0: blocks of MobileNetV4 with two depthwise convolutions may lack the first.
        expand_ratios: expand ratios.
        depths: numbers of blocks of a stage; None: from half of the stage's own number.
        widths: output channels of stages, as shares of the network's, rounded to multiples of 8.
        activations: activations that blocks offer beside the network's own.
        squeeze_ratios: channels of squeeze-excite as shares, below the network's quarter; 0: blocks may lack it.
        resolutions: all input sizes, in pixels; None: the network's own (224 where a module does not state one), and
            three in steps of 32 below.

    Raises:
        SpaceError: the network is unknown, of another family, takes several inputs, or has a layer that spaces lack; or
            an option has values that no space has, or no effect.
        WeightsError: a package that the name needs is not installed, or the repository of `hf:ORG/REPO` cannot be had.
    """
    bounds = Bounds(kernels, expand_ratios, depths, widths, activations, squeeze_ratios, resolutions)
    if isinstance(network, str) and is_ofa_name(network):
        network = ofa_preset(network)
    if isinstance(network, str) and network.startswith(OFA):
        presets = once_for_all_presets()
        if network not in presets:
            raise SpaceError(f"space {shown(network)} is unknown; {one_of(network, presets)}")
        if bounds != DEFAULTS or name is not None:
            raise SpaceError(
                f"{network} is a preset and takes no options: narrow it in the config, like "
                f"`space: {{preset: {network}, kernel: [3, 5]}}`"
            )
        return load_space(network)
    if not isinstance(network, str):
        return space_around(read(network), name or type(network).__name__.lower(), bounds)
    module = source_of(network).module() if is_network_name(network) else named_network(network)
    return space_around(read(module), name or network_name(network), bounds)


def read(module: nn.Module) -> SourceNetwork:
    """Return the description of a network, see `read_network`.

    Raises:
        SpaceError: it is no module, or a wrapper of one; or `read_network` refuses it.
    """
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise SpaceError(f"the network is wrapped in {type(module).__name__}: pass net.module")
    if hasattr(module, "_orig_mod"):
        raise SpaceError("the network is compiled by torch.compile: pass net._orig_mod")
    if not isinstance(module, nn.Module):
        raise SpaceError(f"expected a network as a torch.nn.Module, got {_described(module)}")
    return read_network(module, FAMILIES)


def _described(value: object) -> str:
    """Return a value that is no module, and how to get the module."""
    if isinstance(value, str):
        return f"the name {shown(value)}: build it with its weights, like torchvision.models.mobilenet_v2(weights=…)"
    if callable(value):
        return f"{getattr(value, '__name__', shown(value))}, which builds one: call it first"
    return f"{shown(value)} of type {type(value).__name__}"
