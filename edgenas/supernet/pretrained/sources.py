"""Pretrained networks by name: `load_pretrained` finds the weights, checks their digest and loads them.

Nothing that is read may run code: pickles are read by `torch.load(weights_only=True)`, other files are safetensors.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgenas.errors import SpaceError
from edgenas.progress import Progress
from edgenas.records.weights import WeightsFacts
from edgenas.space.network_names import PACKAGE_NAMES
from edgenas.supernet.pixels import Pixels
from edgenas.supernet.pretrained import torchvision_weights
from edgenas.supernet.pretrained.hub_weights import cached_timm_names
from edgenas.supernet.pretrained.named_sources import source_of
from edgenas.supernet.pretrained.networks import read
from edgenas.supernet.pretrained.ofa_weights import is_ofa_name, load_ofa, ofa_file
from edgenas.supernet.pretrained.package_weights import PackageSource
from edgenas.supernet.pretrained.source_network import SourceNetwork
from edgenas.supernet.pretrained.state_dict_file import load_tensors, read_state_dict
from edgenas.supernet.pretrained.weights_file import WeightsFile
from edgenas.supernet.supernet import SuperNet


@dataclass(frozen=True)
class PretrainedNetwork:
    """A network with trained weights, in eval mode on the CPU in float32, and the facts about its weights.

    Once-for-all's are a SuperNet, all others a classifier of their library.
    """

    module: nn.Module
    facts: WeightsFacts

    @property
    def name(self) -> str:
        """Name that `load_pretrained` accepts."""
        return self.facts.name

    @property
    def pixels(self) -> Pixels:
        """Normalisation of the inputs that the weights were trained with."""
        return self.module.pixels if isinstance(self.module, SuperNet) else read(self.module).pixels


def load_pretrained(name: str, progress: Progress | None = None) -> PretrainedNetwork:
    """Return a pretrained network by name; weights that are not in the libraries' caches are downloaded.

    Args:
        name: `efficientnet-lite0` to `efficientnet-lite2`, `torchvision:NAME`, `torchvision:NAME@WEIGHTS`,
            `timm:NAME`, `hf:ORG/REPO`, `ofa:w1.0` or `ofa:w1.2`, or one of these with a file of weights for that
            network, as `timm:NAME@FILE`.
        progress: called while a file is downloaded, with megabytes; None to report nothing.

    Raises:
        WeightsError: the name is unknown, or its weights are missing, damaged, of another digest, or hold code.
        SpaceError: the network is of an unsupported family.
    """
    if is_ofa_name(name):
        return _load_supernet(name, progress)
    source = source_of(name)
    module = source.module()
    # An unsupported network is refused before its weights are downloaded.
    network = read(module)
    file = source.file(progress)
    tensors = read_state_dict(file.path)
    _fit_classifier(module, network, tensors)
    load_tensors(module, tensors, str(file.path))
    return PretrainedNetwork(module, _facts(name, file, network.resolution, read(module).num_classes))


def _load_supernet(name: str, progress: Progress | None) -> PretrainedNetwork:
    file = ofa_file(name, progress)
    net = load_ofa(name, file)
    return PretrainedNetwork(net, _facts(name, file, net.space.resolution[-1], net.space.num_classes))


def _facts(name: str, file: WeightsFile, resolution: int, num_classes: int) -> WeightsFacts:
    return WeightsFacts(
        name=name,
        origin=file.origin,
        licence=file.licence,
        sha256=file.sha256,
        hash_from=file.hash_from,
        resolution=resolution,
        num_classes=num_classes,
        published_top1_percent=file.top1_percent,
    )


def installed_networks() -> list[str]:
    """Return the names of networks that need no download, the preferred one first."""
    names = [name for name in PACKAGE_NAMES if PackageSource(name).installed]
    cached = torchvision_weights.cached_names()
    if all(importlib.util.find_spec(package) is not None for package in ("timm", "huggingface_hub")):
        cached += cached_timm_names()
    return names + [name for name in cached if _is_supported(name)]


def _is_supported(name: str) -> bool:
    try:
        read(source_of(name).module())
    except SpaceError:
        return False
    return True


def _fit_classifier(module: nn.Module, network: SourceNetwork, tensors: Mapping[str, Tensor]) -> None:
    """Replace the last layer by one for as many classes as the weights have."""
    last = network.head[-1]
    weight, classes = tensors.get(f"{last.name}.weight"), network.num_classes
    if weight is None or weight.ndim != 2 or len(weight) == classes:
        return
    with torch.device("meta"):
        module.set_submodule(last.name, nn.Linear(last.conv.in_channels, len(weight), bias=last.conv.bias))
