"""Data sets: images and labels in three splits, train, validation (for all choices) and test (for the chosen network).

Small sets are decoded once and kept as uint8; image files that do not fit in memory are decoded when needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from edgenas.config.sections import DataConfig
from edgenas.progress import Progress
from edgenas.supernet.pixels import Pixels
from edgenas.training.data.image_files import digest
from edgenas.training.data.image_folder import scan
from edgenas.training.data.loaded_folder import common_side, data_folder, divide_files, load_folder
from edgenas.training.data.named_sets import cifar10, cifar100, digits, fashion_mnist
from edgenas.training.data.notes import equality_notes, few_image_notes, imbalance_notes
from edgenas.training.data.split import Split
from edgenas.training.data.splitting import count_equal, divide, equal_groups, exchange_copies, limited

NAMED_SETS = {"digits": digits, "fashion-mnist": fashion_mnist, "cifar10": cifar10, "cifar100": cifar100}
NAMED_SIZES = {
    "digits": (1437, 360, 10),
    "fashion-mnist": (60_000, 10_000, 10),
    "cifar10": (50_000, 10_000, 10),
    "cifar100": (50_000, 10_000, 100),
}
"""Training images before validation is held out, test images, classes."""
NAMED_SIDES = {"digits": 8, "fashion-mnist": 28, "cifar10": 32, "cifar100": 32}
"""Height and width in pixels."""
MAX_RESOLUTION = 224


@dataclass(frozen=True)
class Dataset:
    """An image classification data set in three splits.

    Attributes:
        name: name of the set in the config.
        classes: names of the classes in the order of the labels.
        train: images that networks are trained on.
        validation: images that every choice is based on.
        test: images that only the chosen network is scored on, once.
        presize: size in pixels to which images of various sizes were resized; None where the set has one size.
        pixels: normalisation and crop of the images.
        broken: files that cannot be read and are left out.
        equal: images that have an equal one, among those from which train and held-out splits are taken.
        copies: files of held-out splits whose image is also in another split; they are left out.
        notes: notes to the user about the set, in sentences.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    presize: int | None = None
    pixels: Pixels = Pixels()
    broken: tuple[str, ...] = ()
    equal: int = 0
    copies: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return len(self.classes)

    @property
    def splits(self) -> dict[str, Split]:
        """Return the splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def digest(self) -> str:
        """Return a SHA-256 over images and labels of all splits in order; equal digests mean equal splits.

        For files that are not kept decoded, names and sizes are hashed instead of pixels.
        """
        total = hashlib.sha256()
        for split in self.splits.values():
            split.update(total)
        return total.hexdigest()


@dataclass(frozen=True)
class SetSize:
    """Numbers of images in each split and of classes, computed without opening an image."""

    train: int
    validation: int
    test: int
    num_classes: int


def stated_pixels(config: DataConfig, default: Pixels) -> Pixels:
    """Return the normalisation and crop that a config states, each by default that of `default`."""
    mean, std = config.mean or default.mean, config.std or default.std
    return Pixels(mean, std, default.crop if config.crop is None else config.crop)


def source_side(config: DataConfig) -> int:
    """Return the shorter side in pixels of the images of a set, in class folders the median or `data.presize`.

    Raises:
        DataError: class folders are missing or unusable.
    """
    if config.name in NAMED_SIDES:
        return NAMED_SIDES[config.name]
    return config.presize or common_side(scan(data_folder(config))) or MAX_RESOLUTION


def set_size(config: DataConfig, seed: int) -> SetSize:
    """Return the size of a data set.

    Raises:
        DataError: its class folders are missing or unusable.
    """
    if config.name in NAMED_SIZES:
        images, test, classes = NAMED_SIZES[config.name]
        validation = round(images * config.validation)
        return SetSize(min(images - validation, config.limit or images), validation, test, classes)
    folder = scan(data_folder(config))
    counts = {name: len(files) for name, files in divide_files(folder, config, seed).items()}
    return SetSize(**counts, num_classes=len(folder.classes))


def load_dataset(
    config: DataConfig,
    seed: int,
    *,
    resolution: int = MAX_RESOLUTION,
    default: Pixels = Pixels(),  # noqa: B008
    known_unused: Collection[str] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Load a data set and split it, stratified, by `seed`.

    Args:
        config: settings of the data set.
        seed: seed of the validation split and of `limit`.
        resolution: largest resolution of the networks; larger image files are kept at this size.
        default: normalisation and crop that the config does not state.
        known_unused: unreadable files and copies that were found when the set was loaded before; None to look for
            them. It only matters for files that are not kept decoded.
        progress: called with a label, the images done and all images.

    Raises:
        DataError: files are missing or broken, or too few for the requested splits.
    """
    pixels = stated_pixels(config, default)
    if config.name == "imagefolder":
        loaded = load_folder(config, seed, pixels.kept_side(resolution), known_unused, progress)
        return Dataset(
            config.name,
            loaded.classes,
            **loaded.splits,
            presize=loaded.presize,
            pixels=pixels,
            broken=loaded.broken,
            equal=loaded.equal,
            copies=loaded.copies,
            notes=loaded.notes,
        )
    images, test, classes = NAMED_SETS[config.name](config.path)
    labels = images.labels.numpy()
    groups = equal_groups([digest(image) for image in images.tensor()])
    parts = divide(labels, round(config.validation * len(images)), seed)
    kept, held = exchange_copies(*parts, labels, groups)
    train = images.take(kept[limited(labels[kept], config.limit, seed)])
    equal = count_equal(groups)
    counts = dict(zip(classes, train.counts(len(classes)), strict=True))
    notes = (*imbalance_notes(counts), *few_image_notes(counts, len(held)), *equality_notes(equal, ()))
    return Dataset(config.name, classes, train, images.take(held), test, pixels=pixels, equal=equal, notes=notes)
