"""The sources of pretrained networks, by the names that users write."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from edgenas.errors import WeightsError, one_of, shown
from edgenas.files import user_path
from edgenas.progress import Progress
from edgenas.space.network_names import LIBRARY_FORMS, PACKAGE_NAMES
from edgenas.supernet.pretrained.hub_weights import HF, TIMM, HubSource, TimmSource
from edgenas.supernet.pretrained.network_names import TIMM_NAMES, TORCHVISION_NAMES
from edgenas.supernet.pretrained.package_weights import PackageSource
from edgenas.supernet.pretrained.state_dict_file import sha256_of
from edgenas.supernet.pretrained.torchvision_weights import PREFIX as TORCHVISION
from edgenas.supernet.pretrained.torchvision_weights import TorchvisionSource
from edgenas.supernet.pretrained.weights_file import Source, WeightsFile

NAMES = (
    *PACKAGE_NAMES,
    *(f"{TORCHVISION}:{network}" for network in TORCHVISION_NAMES),
    *(f"{TIMM}:{network}" for network in TIMM_NAMES),
)
"""Names to suggest; other networks of the same libraries have names, too."""


@dataclass(frozen=True)
class FileSource:
    """A network with weights from the user's own file, a state dict."""

    network: Source
    path: Path

    def module(self) -> nn.Module:
        """Return the network."""
        return self.network.module()

    def file(self, progress: Progress | None) -> WeightsFile:
        """Return the file."""
        return WeightsFile(
            path=self.path, origin=f"file {self.path.name}", licence=None, sha256=sha256_of(self.path), hash_from="file"
        )


def network_name(text: str) -> str:
    """Return the network's own name: of `torchvision:mobilenet_v2@IMAGENET1K_V1`, `mobilenet_v2`."""
    return re.split("[:/]", text.partition("@")[0])[-1]


def source_of(name: str) -> Source:
    """Return the source of a pretrained network by name; nothing is looked for yet.

    Raises:
        WeightsError: the name has none of the known forms.
    """
    network, _, detail = name.partition("@")
    prefix, _, plain = network.partition(":")
    # torchvision's names of weights are Python names, as `IMAGENET1K_V2`; a file has a suffix, or a folder before it.
    if prefix == TORCHVISION and detail.isidentifier():
        return TorchvisionSource(plain, detail)
    source: Source
    if network in PACKAGE_NAMES:
        source = PackageSource(network)
    elif prefix == TORCHVISION:
        source = TorchvisionSource(plain)
    elif prefix == TIMM:
        source = TimmSource(plain)
    elif prefix == HF:
        source = HubSource(plain)
    else:
        forms = ", ".join(LIBRARY_FORMS)
        raise WeightsError(f"weights {shown(name)} are unknown; {one_of(name, NAMES)}; or {forms}")
    return FileSource(source, user_path(detail)) if detail else source
