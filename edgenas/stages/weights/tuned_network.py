"""Networks that are trained on their own before they are exported: their files, weights and records."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from edgenas.errors import RunFolderError
from edgenas.files import write_bytes
from edgenas.records.finetune import FinetuneRecord, HalvingRecord
from edgenas.records.paths import HALVING, PLANS
from edgenas.runs.images import RunImages
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.stages.weights.standalone_networks import setting_id
from edgenas.supernet.pixels import Pixels
from edgenas.supernet.subnet import Subnet
from edgenas.training import checkpoint

NETWORKS = "finetune/networks"
"""A folder for each network that was fine-tuned alone, named by the digest of everything that its weights depend on."""
WEIGHTS, RESULT, CHECKPOINTS = "subnet.safetensors", "result.json", "checkpoints"


@dataclass(frozen=True)
class TunedNetwork:
    """A network to fine-tune, and its files.

    Attributes:
        arch: the network, of the run's space or of its shelf.
        run: the run.
        weights: digest of the supernet's weights, which the network inherits, or its teacher.
        rungs: optimiser steps of each rung of successive halving until now; empty for a network that is fine-tuned
            alone, for the epochs of the config.
        plan: setting of the plan of these rungs.
    """

    arch: Arch
    run: Run
    weights: str
    rungs: tuple[int, ...] = ()
    plan: str = ""

    @property
    def images(self) -> RunImages:
        """The images for fine-tuning."""
        return self.run.finetune_images

    @property
    def folder(self) -> Path:
        """The network's folder, keyed by every setting that its weights depend on."""
        key = {"arch": self.arch.id, "weights": self.weights, "images": self.images.digest, "rungs": self.rungs}
        settings = self.run.config.finetune.model_dump(mode="json")
        networks = f"{PLANS}/{self.plan}" if self.plan else NETWORKS
        return self.run.folder / networks / setting_id({**key, "settings": settings})

    @property
    def before(self) -> TunedNetwork | None:
        """The network after the rung before the last one; None where that is the first."""
        return dataclasses.replace(self, rungs=self.rungs[:-1]) if len(self.rungs) > 1 else None

    @property
    def pixels(self) -> Pixels:
        """The normalisation of its inputs: that of the run's images, or of a pretrained network of the shelf."""
        if not self.arch.network:
            return self.images.dataset.pixels
        shelved = self.run.shelf.networks[self.arch.network]
        return Pixels(shelved.mean, shelved.std, shelved.crop)

    def record(self) -> FinetuneRecord | None:
        """Return the result of an earlier training; None where there is none or its weights are gone.

        Raises:
            RunFolderError: the record is damaged.
        """
        path = self.folder / RESULT
        if not (path.exists() and (self.folder / WEIGHTS).exists()):
            return None
        return FinetuneRecord.read(path, f"delete {self.folder}", self.run.spaces)

    def write(self, tuned: Subnet, record: FinetuneRecord) -> None:
        """Write the weights, then the record."""
        write_bytes(self.folder / WEIGHTS, safetensors.torch.save(checkpoint.plain(tuned.state_dict())))
        record.write(self.folder / RESULT)

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints of a training that is finished."""
        shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)

    def subnet(self, record: FinetuneRecord) -> Subnet:
        """Return the fine-tuned subnet, calibrated, on the CPU.

        Raises:
            RunFolderError: its weights are missing or broken.
        """
        networks = self.run.spaces.of(self.arch).with_classes(self.images.dataset.num_classes)
        subnet, path = Subnet(networks.unroll(self.arch), self.arch, self.pixels), self.folder / WEIGHTS
        try:
            subnet.load_state_dict(safetensors.torch.load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise RunFolderError(
                f"{path} is missing or broken ({error}): delete {self.run.folder / 'finetune'} and run "
                f"`edgenas finetune {self.run.folder}`"
            ) from None
        subnet.calibration_images = record.calibration_images
        return subnet.eval()


def tuned_network(run: Run, arch: Arch) -> TunedNetwork:
    """Return a network of a trained run, to be fine-tuned as its config states; of one of several, its last rung."""
    weights = checkpoint.digest(run.result_path("train").parent)
    if (halving := halving_record(run)) is not None:
        for score in halving.order:
            if score.arch == arch:
                return TunedNetwork(arch, run, weights, score.steps, halving.setting)
    return TunedNetwork(arch, run, weights)


def halving_record(run: Run) -> HalvingRecord | None:
    """Return the record of successive halving; None where the run tunes one network for epochs, or has not done it.

    Raises:
        RunFolderError: the record is damaged.
    """
    path = run.folder / HALVING
    if not run.config.halves or not path.exists():
        return None
    remedy = f"delete {run.result_path('finetune')} and run `edgenas finetune {run.folder}`"
    return HalvingRecord.read(path, remedy, run.spaces)


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned subnet, calibrated, on the CPU; its images, and the record of its training."""

    subnet: Subnet
    images: RunImages
    record: FinetuneRecord


def tuned_subnet(run: Run, arch: Arch) -> Tuned | None:
    """Return the fine-tuned form of an architecture; None where there is none that ships.

    Raises:
        RunFolderError: fine-tuning was asked for and is not done, its images changed since, or its weights are
            missing or broken.
    """
    if run.lacks("finetune") is not None:
        return None
    stage, network = run.result(FinetuneRecord), tuned_network(run, arch)
    if network.images.digest != stage.data_digest:
        raise RunFolderError(
            f"{run.folder}: the images of {network.images.dataset.name} changed since the network was fine-tuned: "
            f"delete {run.result_path('finetune')} and run `edgenas finetune {run.folder}`"
        )
    record = stage if arch == stage.arch else network.record()
    if record is None or not record.ships:
        return None
    return Tuned(network.subnet(record), network.images, record)
