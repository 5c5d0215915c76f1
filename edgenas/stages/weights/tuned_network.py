"""Networks that are trained on their own before they are exported: their files, weights and records."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from edgenas.config.run_config import RunConfig
from edgenas.errors import RunFolderError
from edgenas.files import write_bytes
from edgenas.records.finetune import FinetuneRecord, HalvingRecord
from edgenas.records.paths import HALVING
from edgenas.runs.images import RunImages
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.space.space import SearchSpace
from edgenas.stages.weights.standalone_networks import setting_id
from edgenas.supernet.subnet import Subnet
from edgenas.training import checkpoint

NETWORKS = "finetune/networks"
"""A folder for each fine-tuned network, named by the digest of everything that its weights depend on."""
WEIGHTS, RESULT, CHECKPOINTS = "subnet.safetensors", "result.json", "checkpoints"


@dataclass(frozen=True)
class TunedNetwork:
    """A network to fine-tune, and its files.

    Attributes:
        arch: the network.
        space: the run's space.
        config: the run's config.
        images: images for fine-tuning.
        weights: digest of the supernet's weights, which the network inherits.
        run_folder: the run folder.
        rungs: optimiser steps of each rung of successive halving until now; empty for a network that is fine-tuned
            alone, for the epochs of the config.
    """

    arch: Arch
    space: SearchSpace
    config: RunConfig
    images: RunImages
    weights: str
    run_folder: Path
    rungs: tuple[int, ...] = ()

    @property
    def folder(self) -> Path:
        """The network's folder, keyed by every setting that its weights depend on."""
        key = {"arch": self.arch.id, "weights": self.weights, "images": self.images.digest, "rungs": self.rungs}
        settings = self.config.finetune.model_dump(mode="json")
        return self.run_folder / NETWORKS / setting_id({**key, "settings": settings})

    @property
    def before(self) -> TunedNetwork | None:
        """The network after the rung before the last one; None where that is the first."""
        return dataclasses.replace(self, rungs=self.rungs[:-1]) if len(self.rungs) > 1 else None

    def record(self) -> FinetuneRecord | None:
        """Return the result of an earlier training; None where there is none or its weights are gone.

        Raises:
            RunFolderError: the record is damaged.
        """
        path = self.folder / RESULT
        if not (path.exists() and (self.folder / WEIGHTS).exists()):
            return None
        return FinetuneRecord.read(path, f"delete {self.folder}", self.space)

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
        dataset, path = self.images.dataset, self.folder / WEIGHTS
        subnet = Subnet(self.space.with_classes(dataset.num_classes).unroll(self.arch), self.arch, dataset.pixels)
        try:
            subnet.load_state_dict(safetensors.torch.load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise RunFolderError(
                f"{path} is missing or broken ({error}): delete {self.run_folder / 'finetune'} and run "
                f"`edgenas finetune {self.run_folder}`"
            ) from None
        subnet.calibration_images = record.calibration_images
        return subnet.eval()


def tuned_network(run: Run, arch: Arch) -> TunedNetwork:
    """Return a network of a trained run, to be fine-tuned as its config states; of one of several, its best rung."""
    weights = checkpoint.digest(run.result_path("train").parent)
    return TunedNetwork(arch, run.space, run.config, run.finetune_images, weights, run.folder, _best_rungs(run, arch))


def _best_rungs(run: Run, arch: Arch) -> tuple[int, ...]:
    """Return the optimiser steps of the rungs after which a network was best; none of a network tuned alone."""
    halving = halving_record(run)
    scores = () if halving is None else halving.order
    return next((score.steps for score in scores if score.arch == arch), ())


def halving_record(run: Run) -> HalvingRecord | None:
    """Return the record of a run that fine-tuned several networks; None where it tunes one, or has not done it.

    Raises:
        RunFolderError: the record is damaged.
    """
    path = run.folder / HALVING
    if run.config.tuned_candidates == 1 or not path.exists():
        return None
    remedy = f"delete {run.result_path('finetune')} and run `edgenas finetune {run.folder}`"
    return HalvingRecord.read(path, remedy, run.space)


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
