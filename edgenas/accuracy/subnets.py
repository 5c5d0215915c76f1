"""Calibrated subnets of a supernet: each is recalibrated once, and its batch-norm statistics are kept.

Weights are the supernet's, so a kept subnet takes kilobytes. A file is named by what its statistics depend on: arch,
weights, images. One that is missing or broken is made again.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from edgenas.files import SCHEMA_VERSION, write_bytes
from edgenas.space.arch import Arch
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.checkpoint import plain
from edgenas.training.materialise import materialise

STATISTICS = (".running_mean", ".running_var")
SUM = "statistics_sha256"
"""Of the numbers, since a file of which a bit has turned reads like any other."""


class Subnets:
    """Subnets of one supernet, recalibrated on the same images.

    Attributes:
        weights: digest of the supernet's weights.
        images: number of images that they are recalibrated on.
    """

    def __init__(self, folder: Path, net: SuperNet, images: Tensor, *, weights: str, data: str):
        """Store what subnets are made of.

        Args:
            folder: folder of the files of statistics.
            net: the supernet.
            images: training images.
            weights: digest of the supernet's weights.
            data: digest of all images.
        """
        self._folder, self._net, self._images, self._data = folder, net, images, data
        self.weights, self.images = weights, len(images)

    def __call__(self, arch: Arch) -> Subnet:
        """Return the calibrated subnet of an architecture, on the supernet's device.

        Raises:
            SpaceError: the arch is not in the space.
            DataError: there are fewer than two images.
        """
        described: dict[str, str | int] = {"arch": arch.id, "calibration_images": self.images}
        described |= {"weights": self.weights, "data": self._data}
        path = self._folder / f"{_digest(described)}.safetensors"
        kept = self._kept(arch, path)
        if kept is not None:
            return kept
        subnet = materialise(self._net, arch, self._images, max_images=self.images)
        statistics = plain(_statistics(subnet))
        header = {"schema_version": SCHEMA_VERSION, **described, SUM: _sum(statistics)}
        write_bytes(path, safetensors.torch.save(statistics, {"edgenas": json.dumps(header)}))
        return subnet

    def _kept(self, arch: Arch, path: Path) -> Subnet | None:
        with suppress(OSError, SafetensorError, ValueError, KeyError, TypeError):
            with safe_open(path, framework="pt") as file:
                statistics = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                stated_sum = json.loads(file.metadata()["edgenas"])[SUM]
            subnet = self._net.extract(arch).to(memory_format=torch.channels_last).eval()
            expected = {name: tensor.shape for name, tensor in _statistics(subnet).items()}
            shapes = {name: tensor.shape for name, tensor in statistics.items()}
            if (shapes, _sum(statistics)) == (expected, stated_sum):
                subnet.load_state_dict(statistics, strict=False)
                subnet.calibration_images = self.images
                return subnet
        return None


def _statistics(subnet: Subnet) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in subnet.state_dict().items() if name.endswith(STATISTICS)}


def _sum(statistics: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(statistics):
        digest.update(name.encode() + statistics[name].numpy().tobytes())
    return digest.hexdigest()


def _digest(described: dict[str, str | int]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
