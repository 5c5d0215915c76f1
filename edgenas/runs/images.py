"""The run's images, and their description in the run folder."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from edgenas.config.run_config import RunConfig
from edgenas.config.sections import DataConfig, SearchConfig
from edgenas.errors import DataError, RunFolderError
from edgenas.progress import Progress
from edgenas.records.folder import DataRecord
from edgenas.records.init import InitRecord
from edgenas.records.paths import DATA
from edgenas.space.arch import Arch
from edgenas.space.space import SearchSpace
from edgenas.supernet.pixels import Pixels
from edgenas.training.data.dataset import Dataset, load_dataset
from edgenas.training.data.preprocess import Preprocess
from edgenas.training.data.split import Split
from edgenas.training.materialise import preprocess_for

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunImages:
    """Images, and how many of them the networks of a run are recalibrated and scored on: the same in every stage.

    Attributes:
        dataset: the images.
        digest: digest of all images and labels.
        config: section `search` of the run's config, which gives the numbers.
    """

    dataset: Dataset
    digest: str
    config: SearchConfig

    @property
    def calibration(self) -> Tensor:
        """The training images that recalibrate every subnet."""
        return self.dataset.train.images[: self.config.calibration_images]

    @property
    def scoring(self) -> Split:
        """The validation images that every subnet is scored on."""
        return self.dataset.validation.head(self.config.validation_images)

    def split(self, name: str) -> Split:
        """Return the images that `val` or `test` accuracies are of."""
        return self.scoring if name == "val" else self.dataset.test

    def preprocess(self, arch: Arch) -> Preprocess:
        """Return how the device turns an image file into an architecture's input: as training did."""
        return dataclasses.replace(preprocess_for(arch, self.dataset.pixels), presize=self.dataset.presize)


def load_images(
    folder: Path,
    config: RunConfig,
    space: SearchSpace,
    init: InitRecord | None = None,
    progress: Progress | None = None,
) -> RunImages:
    """Return the images of a config; nothing is written or compared.

    Args:
        folder: the run folder; files that its description lists as unused are not read again.
        config: the run's config.
        space: the run's space, whose largest resolution the images are kept at.
        init: the pretrained network, whose normalisation is the default; None without one.
        progress: called with the current step, steps done and in all.

    Raises:
        DataError: see `load_dataset`.
    """
    record = data_record(folder) if (folder / DATA).exists() else None
    dataset = load_dataset(
        config.images,
        config.seed,
        resolution=space.resolution[-1],
        default=Pixels() if init is None else Pixels(init.mean, init.std, init.crop),
        known_unused=None if record is None else [*record.broken, *record.copies],
        progress=progress,
    )
    return RunImages(dataset, dataset.digest(), config.search)


def load_finetune_images(config: DataConfig, images: RunImages, seed: int, space: SearchSpace) -> RunImages:
    """Return other images for fine-tuning, whose pixels are scaled like those of a run's own images.

    Args:
        config: section `finetune.data` of the run's config.
        images: the run's own images.
        seed: seed of the splits.
        space: the run's space, whose largest resolution the images are kept at.

    Raises:
        DataError: see `load_dataset`.
    """
    other = load_dataset(config, seed, resolution=space.resolution[-1], default=images.dataset.pixels)
    dataset = dataclasses.replace(other, pixels=images.dataset.pixels)
    return RunImages(dataset, dataset.digest(), images.config)


def check_unchanged(folder: Path, images: RunImages) -> None:
    """Write the description of a run's images the first time; later they must be the same.

    Raises:
        RunFolderError: the images changed since the run began.
    """
    if not (folder / DATA).exists():
        _description(images).write(folder / DATA)
        for note in images.dataset.notes:
            LOGGER.warning("note: %s", note)
    elif data_record(folder).digest != images.digest:
        name = images.dataset.name
        raise RunFolderError(
            f"{folder}: the images of {name} changed since this run began: choose another --run folder"
        )


def data_record(folder: Path) -> DataRecord:
    """Return the description of a run's images.

    Raises:
        RunFolderError: a value is missing or wrong.
        UserError: data.json is missing or broken.
    """
    remedy = "delete export/result.json and run `edgenas export`, which writes data.json again"
    return DataRecord.read(folder / DATA, remedy)


def _description(images: RunImages) -> DataRecord:
    dataset = images.dataset
    return DataRecord(
        name=dataset.name,
        num_classes=dataset.num_classes,
        classes=dataset.classes,
        counts={name: len(split) for name, split in dataset.splits.items()},
        class_counts={name: tuple(split.counts(dataset.num_classes)) for name, split in dataset.splits.items()},
        presize=dataset.presize,
        broken=dataset.broken,
        equal_images=dataset.equal,
        copies=dataset.copies,
        notes=dataset.notes,
        digest=images.digest,
    )


def check_quantiser_images(config: RunConfig, train_images: int) -> None:
    """Refuse to calibrate int8 on more training images than there are.

    Raises:
        DataError: the message gives both numbers.
    """
    count = config.export.calibration_images
    if count > train_images:
        raise DataError(
            f"export.calibration_images is {count}, but there are only {train_images} training images to calibrate "
            f"int8 on: at most --set export.calibration_images={train_images}, or more images"
        )
