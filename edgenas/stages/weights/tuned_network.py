"""A subnet that is trained on its own before it is exported, perhaps on other images."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from edgenas.accuracy.subnets import Subnets
from edgenas.config.run_config import RunConfig
from edgenas.errors import RunFolderError
from edgenas.files import write_bytes
from edgenas.progress import Progress
from edgenas.records.finetune import FinetuneRecord, SupernetSource
from edgenas.runs.images import RunImages
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.space.space import SearchSpace
from edgenas.stages.weights.run_accuracy import run_subnets
from edgenas.stages.weights.standalone_networks import setting_id, supernet_epochs
from edgenas.supernet.subnet import Subnet
from edgenas.training import checkpoint
from edgenas.training.finetuning import finetune, with_classes
from edgenas.training.materialise import top1

NETWORKS = "finetune/networks"
"""A folder for each fine-tuned network, named by the digest of everything that its weights depend on."""
WEIGHTS, RESULT, CHECKPOINTS = "subnet.safetensors", "result.json", "checkpoints"
ANOTHER_SEED = 500
"""Beyond the run's: images come in another order, and are augmented otherwise, than the supernet saw them."""


def finetuned(run: Run, arch: Arch, progress: Progress) -> FinetuneRecord:
    """Train one subnet on its own, on the run's images or on those of `finetune.data`, and return the result.

    On the run's images it ships if validation top-1 rises. On others it has a new classifier. A network that was
    fine-tuned before in the same way is not trained again; one that was stopped or killed resumes from its last
    checkpoint.

    Raises:
        RunFolderError: a checkpoint is broken.
        DataError: see `load_dataset`.
        EdgenasError: the loss is not a finite number; the step is named.
    """
    network = tuned_network(run, arch)
    return network.record() or network.train(run.images, run_subnets(run), supernet_epochs(run), progress)


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
    """

    arch: Arch
    space: SearchSpace
    config: RunConfig
    images: RunImages
    weights: str
    run_folder: Path

    @property
    def folder(self) -> Path:
        """The network's folder, keyed by every setting that its weights depend on."""
        key = {"arch": self.arch.id, "weights": self.weights, "images": self.images.digest}
        settings = self.config.finetune.model_dump(mode="json")
        return self.run_folder / NETWORKS / setting_id({**key, "settings": settings})

    def record(self) -> FinetuneRecord | None:
        """Return the result of an earlier training; None where there is none or its weights are gone.

        Raises:
            RunFolderError: the record is damaged.
        """
        path = self.folder / RESULT
        if not (path.exists() and (self.folder / WEIGHTS).exists()):
            return None
        return FinetuneRecord.read(path, f"delete {self.folder}", self.space)

    def train(
        self, supernet_images: RunImages, subnets: Subnets, supernet_epochs: float, progress: Progress
    ) -> FinetuneRecord:
        """Train the network and write its weights and its record.

        Args:
            supernet_images: images that the supernet was trained on.
            subnets: subnets of the supernet.
            supernet_epochs: epochs of the supernet, for a config that names none.
            progress: called with the current step, steps done and in all.

        Raises:
            RunFolderError, EdgenasError: see `finetuned`.
        """
        same_images = self.config.finetune.data is None
        epochs = supernet_epochs if self.config.finetune.epochs is None else self.config.finetune.epochs
        before = top1(subnets(self.arch), self.images.scoring) if same_images else None
        tuned, seconds = self._train(subnets, epochs, progress, new_classifier=not same_images)
        source = SupernetSource(dataset=supernet_images.dataset.name, weights=self.weights)
        record = self._record(tuned, source, epochs, before, seconds)
        write_bytes(self.folder / WEIGHTS, safetensors.torch.save(checkpoint.plain(tuned.state_dict())))
        record.write(self.folder / RESULT)
        shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)
        return record

    def _train(
        self, subnets: Subnets, epochs: float, progress: Progress, *, new_classifier: bool
    ) -> tuple[Subnet, float]:
        """Return the fine-tuned subnet and the seconds that training took."""
        settings, inherited, dataset = self.config.finetune, subnets(self.arch), self.images.dataset
        return finetune(
            with_classes(inherited, dataset.num_classes) if new_classifier else inherited,
            dataset.train,
            self.config.training,
            epochs=epochs,
            learning_rate_share=settings.learning_rate_share,
            calibration=self.images.calibration,
            seed=self.config.seed + ANOTHER_SEED,
            progress=lambda done, total: progress("fine-tuning", done, total),
            teacher=subnets(self.space.largest) if settings.teacher == "largest" else None,
            fresh=settings.start == "fresh",
            folder=self.folder / CHECKPOINTS,
        )

    def _record(
        self, tuned: Subnet, source: SupernetSource, epochs: float, before: float | None, seconds: float
    ) -> FinetuneRecord:
        assert tuned.calibration_images is not None
        settings, images = self.config.finetune, self.images
        return FinetuneRecord(
            arch=self.arch,
            dataset=images.dataset.name,
            data_digest=images.digest,
            training_images=len(images.dataset.train),
            epochs=epochs,
            start=settings.start,
            teacher=settings.teacher,
            learning_rate_share=settings.learning_rate_share,
            supernet=source,
            val_top1_before=before,
            val_top1_after=top1(tuned, images.scoring),
            calibration_images=tuned.calibration_images,
            seconds=seconds,
            threads=torch.get_num_threads(),
        )

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
    """Return a network of a trained run, to be fine-tuned as its config states."""
    weights = checkpoint.digest(run.result_path("train").parent)
    return TunedNetwork(arch, run.space, run.config, run.finetune_images, weights, run.folder)


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
    if record is None or not record.improves:
        return None
    return Tuned(network.subnet(record), network.images, record)
