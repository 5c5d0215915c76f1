"""The fine-tuning of subnets, one by one, perhaps on other images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from edgenas.accuracy.subnets import Subnets
from edgenas.config.run_config import RunConfig
from edgenas.progress import Progress, StepProgress
from edgenas.records.comparison import Bools, answers_text, read_answers
from edgenas.records.finetune import FinetuneRecord, SupernetSource
from edgenas.runs.images import RunImages
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.stages.weights.run_accuracy import run_subnets
from edgenas.stages.weights.standalone_networks import supernet_epochs
from edgenas.stages.weights.starting_network import starting_network
from edgenas.stages.weights.tuned_network import CHECKPOINTS, TunedNetwork, tuned_network
from edgenas.statistics.candidate_comparison import is_worse
from edgenas.supernet.subnet import Subnet
from edgenas.training.early_stopping import EarlyStopping, validation_score
from edgenas.training.finetuning import finetune, with_classes
from edgenas.training.frozen_teacher import load_teacher
from edgenas.training.materialise import accuracy, recalibrate
from edgenas.training.recipe import has_tuned_teacher
from edgenas.training.repeated_validation import repeated_top1, view_count
from edgenas.training.standalone import epochs_of

ANOTHER_SEED = 500
"""Beyond the run's: images come in another order, and are augmented otherwise, than the supernet saw them."""


def finetuned(run: Run, arch: Arch, progress: Progress) -> FinetuneRecord:
    """Train one subnet on its own, on the run's images or on those of `finetune.data`, and return the result.

    On the run's images it ships unless it classifies significantly fewer validation images correctly than before. On
    others it has a new classifier. A network that was fine-tuned before in the same way is not trained again; one that
    was stopped or killed resumes from its last checkpoint.

    Raises:
        RunFolderError: a checkpoint is broken.
        DataError: see `load_dataset`.
        EdgenasError: the loss is not a finite number; the step is named.
    """
    network = tuned_network(run, arch)
    record = network.record() or tuner(run).train(network, lambda done, total: progress("fine-tuning", done, total))
    network.remove_checkpoints()
    return record


@dataclass(frozen=True)
class Tuner:
    """Fine-tunes networks of a run.

    Attributes:
        config: the run's config.
        images: images for fine-tuning.
        start: returns a network of the run's space or shelf as its fine-tuning begins on the run's images.
        source: the supernet that networks inherit their weights from.
        supernet_epochs: epochs of the supernet, for a config that names none.
        teacher: the calibrated network that is distilled into the others; None where they train on labels only.
    """

    config: RunConfig
    images: RunImages
    start: Callable[[Arch], Subnet]
    source: SupernetSource
    supernet_epochs: float
    teacher: Subnet | None

    @property
    def epochs(self) -> float:
        """Epochs of a network that is fine-tuned alone."""
        epochs = self.config.finetune.epochs
        return self.supernet_epochs if epochs is None else epochs

    @property
    def scored_images(self) -> int:
        """Images that a network computes after each of its trainings: for batch norm, and to be validated twice."""
        validation = len(self.images.scoring)
        return len(self.images.calibration) + (1 + view_count(validation, mirrored=self._mirrored)) * validation

    def train(self, network: TunedNetwork, progress: StepProgress) -> FinetuneRecord:
        """Train a network, for its epochs or for its last rung, and write its weights and its record.

        Args:
            network: the network; its earlier rungs are finished.
            progress: called with the steps done and in all.

        Raises:
            RunFolderError, EdgenasError: see `finetuned`.
        """
        earlier = network.before
        before = earlier.record() if earlier else None
        epochs = self.epochs
        if network.rungs:
            epochs = epochs_of(self.config.training, len(self.images.dataset.train), network.rungs[-1])
        first = earlier.subnet(before) if earlier and before else self.first(network.arch)
        stopping = self._stopping(network.folder / CHECKPOINTS)
        tuned, seconds = self._train(network, first, epochs, progress, stopping, fresh=before is None)
        if stopping and stopping.steps_taken is not None:
            epochs = epochs_of(self.config.training, len(self.images.dataset.train), stopping.steps_taken)
        record = self._record(tuned, before, epochs, seconds)
        network.write(tuned, record)
        return record

    def first(self, arch: Arch) -> Subnet:
        """Return a network as its fine-tuning begins, with a new classifier for other images."""
        subnet = self.start(arch)
        return subnet if self.config.finetune.data is None else with_classes(subnet, self.images.dataset.num_classes)

    def _train(
        self,
        network: TunedNetwork,
        first: Subnet,
        epochs: float,
        progress: StepProgress,
        stopping: EarlyStopping | None,
        *,
        fresh: bool,
    ) -> tuple[Subnet, float]:
        """Return the fine-tuned subnet and the seconds that training took."""
        settings = self.config.finetune
        return finetune(
            first,
            self.images.dataset.train,
            self.config.training,
            epochs=epochs,
            learning_rate_share=settings.learning_rate_share,
            calibration=self.images.calibration,
            # Each rung has its images in another order.
            seed=self.config.seed + ANOTHER_SEED + max(0, len(network.rungs) - 1),
            progress=progress,
            teacher=self.teacher,
            fresh=fresh and settings.start == "fresh",
            average=self._average,
            stopping=stopping,
            folder=network.folder / CHECKPOINTS,
        )

    def _stopping(self, folder: Path) -> EarlyStopping | None:
        """Return what may end a training early; None where the config asks for no patience."""
        settings = self.config.finetune
        if settings.patience is None:
            return None
        score = validation_score(self.images.calibration, self.images.scoring, mirrored=self._mirrored)
        return EarlyStopping(score, settings.patience, settings.validations, folder)

    @property
    def _mirrored(self) -> bool:
        """Whether mirrored images are of the same class, as training assumes."""
        dataset = self.images.dataset
        return bool(self.config.training.for_images(len(dataset.train), dataset.num_classes).augment.flip)

    @property
    def _average(self) -> float | None:
        """The decay of the average of the weights; None for none."""
        settings = self.config.finetune
        if settings.average is None and settings.start == "fresh":
            return self.config.training.average
        return settings.average

    def _record(self, tuned: Subnet, before: FinetuneRecord | None, epochs: float, seconds: float) -> FinetuneRecord:
        """Return the record of a network, with the epochs and the seconds of all its rungs."""
        assert tuned.arch is not None
        assert tuned.calibration_images is not None
        settings, images = self.config.finetune, self.images
        right = accuracy(tuned, images.scoring).right.numpy()
        inherited = self._inherited_right(tuned.arch, before)
        return FinetuneRecord(
            arch=tuned.arch,
            dataset=images.dataset.name,
            data_digest=images.digest,
            training_images=len(images.dataset.train),
            epochs=epochs + (before.epochs if before else 0.0),
            start=settings.start,
            teacher=settings.teacher,
            learning_rate_share=settings.learning_rate_share,
            average=self._average,
            patience=settings.patience,
            supernet=self.source,
            val_top1_before=None if inherited is None else float(inherited.mean()),
            val_top1_after=float(right.mean()),
            val_score=repeated_top1(tuned, images.scoring, mirrored=self._mirrored),
            worse=inherited is not None and is_worse(right, inherited),
            val_right=answers_text(right),
            val_right_before=None if inherited is None else answers_text(inherited),
            calibration_images=tuned.calibration_images,
            seconds=seconds + (before.seconds if before else 0.0),
            threads=torch.get_num_threads(),
            network=tuned.arch.network,
        )

    def _inherited_right(self, arch: Arch, before: FinetuneRecord | None) -> Bools | None:
        """Return the answers with inherited weights, (n,); None where the classifier is new."""
        if arch.network or self.config.finetune.data is not None:
            return None
        if before is not None and before.val_right_before is not None:
            return read_answers(before.val_right_before)
        right: Bools = accuracy(self.start(arch), self.images.scoring).right.numpy()
        return right


def tuner(run: Run) -> Tuner:
    """Return what fine-tunes the networks of a trained run."""
    subnets = run_subnets(run)
    return Tuner(
        run.config,
        run.finetune_images,
        partial(starting_network, run, subnets),
        SupernetSource(dataset=run.images.dataset.name, weights=subnets.weights),
        supernet_epochs(run),
        _teacher(run, subnets) if run.config.finetune.teacher == "largest" else None,
    )


def _teacher(run: Run, subnets: Subnets) -> Subnet:
    """Return the largest network: as it was fine-tuned, before smaller networks changed its weights, if it was."""
    if not has_tuned_teacher(run.config.training):
        return subnets(run.space.largest)
    teacher = Subnet(run.networks.unroll(run.space.largest), run.space.largest, run.images.dataset.pixels)
    load_teacher(run.result_path("train").parent, teacher)
    return recalibrate(teacher, run.images.calibration)
