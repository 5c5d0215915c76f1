"""Pretrained networks by name: `load_pretrained` finds the weights, checks their digest and loads them.

Nothing that is read may run code: pickles are read by `torch.load(weights_only=True)`, other files are safetensors.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from edgenas.errors import WeightsError, one_of, shown
from edgenas.progress import Progress
from edgenas.records.weights import WeightsFacts
from edgenas.supernet.pretrained.package_weights import PACKAGE_NAMES, has_package, load_package_network


@dataclass(frozen=True)
class PretrainedNetwork:
    """A network with trained weights, in eval mode on the CPU in float32, and the facts about its weights."""

    module: nn.Module
    facts: WeightsFacts

    @property
    def name(self) -> str:
        """Name that `load_pretrained` accepts."""
        return self.facts.name


def load_pretrained(name: str, progress: Progress | None = None) -> PretrainedNetwork:
    """Return a pretrained network by name.

    Args:
        name: `efficientnet-lite0`, `efficientnet-lite1` or `efficientnet-lite2`.
        progress: called while a file is downloaded, with bytes; None to report nothing.

    Raises:
        WeightsError: the name is unknown, or its weights are missing, damaged, of another digest, or hold code.
    """
    if name in PACKAGE_NAMES:
        return PretrainedNetwork(*load_package_network(name))
    raise WeightsError(f"weights {shown(name)} are unknown; {one_of(name, PACKAGE_NAMES)}")


def installed_networks() -> list[str]:
    """Return the names of networks that need no download, the preferred one first."""
    return [name for name in PACKAGE_NAMES if has_package(name)]
