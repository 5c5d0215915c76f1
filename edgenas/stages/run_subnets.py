"""Calibrated subnets of a run's supernet: each is recalibrated once, and its batch-norm statistics are kept.

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
from edgenas.records.train import TrainRecord
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.stages.train import trained_supernet
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.checkpoint import plain
from edgenas.training.materialise import materialise

FOLDER = "supernet/statistics"
STATISTICS = (".running_mean", ".running_var")
SUM = "statistics_sha256"
"""Of the numbers, since a file of which a bit has turned reads like any other."""


class Subnets:
    """Subnets of one supernet, recalibrated on the same images.

    Attributes:
        images: number of images that they are recalibrated on.
    """

    def __init__(self, folder: Path, net: SuperNet, images: Tensor, of: dict[str, str]):
        """Args: the folder of files; the supernet; training images; the digests of weights and images."""
        self._folder, self._net, self._images, self._of = folder, net, images, of
        self.images = len(images)

    def __call__(self, arch: Arch) -> Subnet:
        """Return the calibrated subnet of an architecture, on the supernet's device.

        Raises:
            SpaceError: the arch is not in the space.
            DataError: there are fewer than two images.
        """
        described: dict[str, str | int] = {"arch": arch.id, "calibration_images": self.images, **self._of}
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


def run_subnets(run: Run) -> Subnets:
    """Return subnets of a run's trained supernet, recalibrated as its config states.

    Raises:
        RunFolderError: the run is not trained.
    """
    net, weights = trained_supernet(run), run.result(TrainRecord).weights
    of = {"weights": weights, "data": run.images.digest}
    return Subnets(run.folder / FOLDER, net, run.images.calibration, of)


def _statistics(subnet: Subnet) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in subnet.state_dict().items() if name.endswith(STATISTICS)}


def _sum(statistics: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(statistics):
        digest.update(name.encode() + statistics[name].numpy().tobytes())
    return digest.hexdigest()


def _digest(described: dict[str, str | int]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
