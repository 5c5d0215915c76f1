"""The run's pictures, and what is written down about them."""

from __future__ import annotations

from torch import Tensor

from edgenas.errors import RunFolderError
from edgenas.files import read_json, write_json
from edgenas.pipeline.run import Run
from edgenas.training.data import Dataset, Split, load_dataset


def run_dataset(run: Run) -> Dataset:
    """Load the run's set; the first time its splits are written down, later they must be the same.

    Raises:
        RunFolderError: the pictures changed since the run began.
        DataError: see `load_dataset`.
    """
    dataset = load_dataset(run.config.data, run.config.seed)
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    description = {
        "name": dataset.name,
        "num_classes": dataset.num_classes,
        "classes": list(dataset.classes),
        "counts": {name: len(split) for name, split in splits.items()},
        "digest": dataset.digest(),
    }
    path = run.folder / "data.json"
    if not path.exists():
        write_json(path, description)
    elif read_json(path)["digest"] != description["digest"]:
        raise RunFolderError(
            f"{run.folder}: the pictures of {dataset.name} changed since this run began: choose another --run folder"
        )
    return dataset


def calibration_pictures(run: Run, dataset: Dataset) -> Tensor:
    """Training pictures that recalibrate every subnet of the run: the same ones in every stage."""
    return dataset.train.pictures[: run.config.search.calibration_images]


def scoring_split(run: Run, dataset: Dataset) -> Split:
    """Validation pictures that every subnet of the run is scored on."""
    return dataset.validation.head(run.config.search.validation_images)
