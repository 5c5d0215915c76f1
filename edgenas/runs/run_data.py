"""The run's images, and their description in the run folder."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from edgenas.accuracy.source import open_source
from edgenas.config.run_config import RunConfig
from edgenas.config.sections import DataConfig
from edgenas.errors import DataError, RunFolderError
from edgenas.records.folder import DataRecord
from edgenas.runs.folder import Progress, Run
from edgenas.space.arch import Arch
from edgenas.training.data.dataset import Dataset, load_dataset
from edgenas.training.data.preprocess import Preprocess
from edgenas.training.data.split import Split
from edgenas.training.materialise import preprocess_for

DESCRIPTION = "data.json"
LOGGER = logging.getLogger(__name__)


def run_dataset(run: Run, progress: Progress | None = None) -> Dataset:
    """Load the run's set; the first time its splits are written down, later they must be the same.

    Raises:
        RunFolderError: the images changed since the run began.
        DataError: see `load_dataset`.
    """
    path = run.folder / DESCRIPTION
    dataset, digest = load_images(run, progress)
    if not path.exists():
        _description(dataset, digest).write(path)
        for note in dataset.notes:
            LOGGER.warning("note: %s", note)
    elif data_record(run.folder).digest != digest:
        raise RunFolderError(
            f"{run.folder}: the images of {dataset.name} changed since this run began: choose another --run folder"
        )
    return dataset


def data_record(folder: Path) -> DataRecord:
    """Return the description of a run's images.

    Raises:
        RunFolderError: a value is missing or wrong.
        UserError: data.json is missing or broken.
    """
    remedy = "delete export/result.json and run `edgenas export`, which writes data.json again"
    return DataRecord.read(folder / DESCRIPTION, remedy)


def run_classes(run: Run) -> int:
    """Return the number of classes of the run's networks: that of its images, or of its source of accuracies.

    Raises:
        DataError: see `load_dataset` and `open_source`.
    """
    if run.config.num_classes is not None:
        return run.config.num_classes
    if run.config.accuracy is None:
        return run_dataset(run).num_classes
    return open_source(run.config.accuracy, run.space).num_classes


def load_images(run: Run, progress: Progress | None = None) -> tuple[Dataset, str]:
    """Return the run's images and their digest; nothing is written or compared.

    Raises:
        DataError: see `load_dataset`.
    """
    return _loaded(_Wanted(run.config.images, run.config.seed, run.space.resolution[-1], run.folder, progress))


@dataclass(frozen=True)
class _Wanted:
    config: DataConfig
    seed: int
    resolution: int
    folder: Path
    progress: Progress | None = field(compare=False)


@lru_cache(maxsize=1)
def _loaded(wanted: _Wanted) -> tuple[Dataset, str]:
    """Load images once: every stage of a run uses the same ones, and decoding them takes time."""
    known = data_record(wanted.folder) if (wanted.folder / DESCRIPTION).exists() else None
    dataset = load_dataset(
        wanted.config,
        wanted.seed,
        resolution=wanted.resolution,
        known_unused=None if known is None else [*known.broken, *known.copies],
        progress=wanted.progress,
    )
    return dataset, dataset.digest()


def _description(dataset: Dataset, digest: str) -> DataRecord:
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
        digest=digest,
    )


def deployed_preprocess(arch: Arch, dataset: Dataset) -> Preprocess:
    """Return how the device turns an image file into an architecture's input: as training did."""
    return dataclasses.replace(preprocess_for(arch, dataset.pixels), presize=dataset.presize)


def calibration_split(run: Run, dataset: Dataset) -> Tensor:
    """Return the training images that recalibrate every subnet of the run: the same ones in every stage."""
    return dataset.train.images[: run.config.search.calibration_images]


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


def scoring_split(run: Run, dataset: Dataset) -> Split:
    """Return the validation images that every subnet of the run is scored on."""
    return dataset.validation.head(run.config.search.validation_images)
