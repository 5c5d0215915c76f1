"""Images and labels, in three splits: train, validation (held out of train; all choices see it), test.

Small sets are decoded once and kept as uint8; image files that would not fit are decoded as they are needed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from edgenas.config.sections import DataConfig
from edgenas.errors import DataError, shortened
from edgenas.files import user_path
from edgenas.supernet.pixels import Pixels
from edgenas.training.data.decoding import cores
from edgenas.training.data.image_files import ImageFiles, Reading, digest, image_sizes
from edgenas.training.data.image_folder import (
    ImageFolder,
    Part,
    held_out,
    imbalance_notes,
    problem_with,
    scan,
    three_parts,
)
from edgenas.training.data.listing import causes_text
from edgenas.training.data.named_sets import TEST_SPLIT_SEED, cifar10, cifar100, digits, fashion_mnist
from edgenas.training.data.split import Split
from edgenas.training.data.splitting import Indices, divide, equal_groups, exchange_copies, hold_out, limited
from edgenas.training.data.stored_range import range_problem

NAMED_SETS = {"digits": digits, "fashion-mnist": fashion_mnist, "cifar10": cifar10, "cifar100": cifar100}
SIZED_IMAGES = 2000
MAX_RESOLUTION = 224
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Dataset:
    """A classification set in three splits.

    Attributes:
        name: as the config calls it.
        classes: names in the order of the labels.
        train: what the supernet learns from.
        validation: what every choice sees.
        test: what the chosen network is scored on, once.
        presize: size that images of many sizes are kept at, None where the set has one size.
        pixels: what input values mean to networks that are trained it.
        broken: files that cannot be read and are left out.
        equal: images that have an equal one in what train and the splits held out of it are taken from.
        copies: files of splits held out of train that show what another split does; they are left out.
        notes: what the user should know about this set, in sentences.
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
        """How many classes there are."""
        return len(self.classes)

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def digest(self) -> str:
        """SHA-256 over images and labels of all splits, in order: equal digests mean equal splits.

        Of files that are not kept decoded, names and sizes stand for their pixels.
        """
        total = hashlib.sha256()
        for split in self.splits.values():
            split.update(total)
        return total.hexdigest()


@dataclass(frozen=True)
class SetSize:
    """Images of each split and classes, known without opening an image."""

    train: int
    validation: int
    test: int
    num_classes: int


NAMED_SIZES = {
    "digits": (1437, 360, 10),
    "fashion-mnist": (60_000, 10_000, 10),
    "cifar10": (50_000, 10_000, 10),
    "cifar100": (50_000, 10_000, 100),
}
"""Training images before validation is held out, test images, classes."""


def set_size(config: DataConfig, seed: int) -> SetSize:
    """How large a set is.

    Raises:
        DataError: its class folders are missing or unfit.
    """
    if config.name in NAMED_SIZES:
        whole, test, classes = NAMED_SIZES[config.name]
        held = round(whole * config.validation)
        return SetSize(min(whole - held, config.limit or whole), held, test, classes)
    folder = scan(_path(config))
    train, validation, parted = _parts(folder, config, seed)
    return SetSize(len(train), len(validation), len(parted), len(folder.classes))


def load_dataset(
    config: DataConfig,
    seed: int,
    *,
    resolution: int = MAX_RESOLUTION,
    known_unused: Collection[str] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Load a set and split it, stratified, by `seed`.

    Args:
        config: which set.
        seed: of the validation split and of `limit`.
        resolution: the largest that networks will ask for; larger image files are kept at this size.
        known_unused: unreadable files and copies, found when the set was loaded before; None to look for them. Only
            files that are not kept decoded need it.
        progress: called with what is being done, images done and in all.

    Raises:
        DataError: its files are missing or broken, or too few for the splits asked for.
    """
    if config.name == "imagefolder":
        return _load_folder(config, seed, resolution, known_unused, progress)
    whole, test, classes = NAMED_SETS[config.name](config.path)
    labels = whole.labels.numpy()
    copies = equal_groups([digest(image) for image in whole.tensor()])
    parts = divide(labels, round(config.validation * len(whole)), seed)
    kept, held = exchange_copies(*parts, labels, copies)
    chosen = kept[limited(labels[kept], config.limit, seed)]
    train = whole.take(chosen)
    equal = _count_equal(copies)
    notes = [*imbalance_notes(_by_name(train, classes)), *_equal_notes(equal, ())]
    return Dataset(
        config.name, classes, train, whole.take(held), test, pixels=_pixels(config), equal=equal, notes=tuple(notes)
    )


def _count_equal(copies: Indices) -> int:
    _, counts = np.unique(copies, return_counts=True)
    return int(counts[counts > 1].sum())


def _equal_notes(equal: int, copies: Sequence[str]) -> list[str]:
    notes = []
    if equal:
        notes.append(f"{equal} images have an equal one; equal images are kept on one side of a split")
    if copies:
        notes.append(
            f"{len(copies)} images held out of train show what another split does, saved in another way, and are left "
            f"out: {shortened(sorted(copies))}"
        )
    return notes


def _by_name(split: Split, classes: Sequence[str]) -> dict[str, int]:
    return dict(zip(classes, split.counts(len(classes)), strict=True))


def _pixels(config: DataConfig) -> Pixels:
    return Pixels(config.mean, config.std, config.crop)


def _path(config: DataConfig) -> Path:
    if config.path is None:
        raise DataError("data.path is missing: wanted the folder that holds a sub-folder of images for each class")
    return user_path(config.path)


def _parts(folder: ImageFolder, config: DataConfig, seed: int) -> tuple[Part, Part, Part]:
    train, validation, test = three_parts(folder, config.validation, config.test, seed, TEST_SPLIT_SEED)
    order = np.random.default_rng((seed, len(train))).permutation(len(train))
    train = train.take(order)
    return train.take(_limit(folder, train, config.limit, seed)), _shuffled(validation), _shuffled(test)


def _limit(folder: ImageFolder, train: Part, limit: int | None, seed: int) -> Indices:
    if limit is None or limit >= len(train):
        return np.arange(len(train))
    if limit < len(folder.classes):
        raise DataError(f"data.limit is {limit}, wanted at least one image for each of {len(folder.classes)} classes")
    return hold_out(train.labels, limit, seed, keep=0)[1]


def _shuffled(part: Part) -> Part:
    """In an order of no meaning, so that the first n are a fair sample."""
    return part.take(np.random.default_rng(len(part)).permutation(len(part)))


def _common_side(folder: ImageFolder, resolution: int) -> int:
    """Size at which images are kept: `resolution`, or the middle image's shorter side where that is smaller."""
    names = folder.splits["train"].names
    # Evenly spaced, so that every class has its say; headers alone are read.
    sizes = image_sizes(folder.root, names[:: max(1, len(names) // SIZED_IMAGES)])
    # Where none can be read, reading them all will say why.
    return min(resolution, int(np.median([min(size) for size in sizes]))) if sizes else resolution


@dataclass(frozen=True)
class _Loaded:
    """Splits of class folders, in which nothing is left out yet, and what reading their files has shown."""

    images: dict[str, torch.Tensor | ImageFiles] = field(default_factory=dict)
    readings: dict[str, Reading] = field(default_factory=dict)


def _load_folder(
    config: DataConfig, seed: int, resolution: int, known_unused: Collection[str] | None, progress: Progress | None
) -> Dataset:
    folder = scan(_path(config))
    train, validation, test = _parts(folder, config, seed)
    parts = {"train": train, "validation": validation, "test": test}
    side = config.presize or _common_side(folder, math.ceil(resolution / config.crop))
    loaded = _read_parts(folder, parts, side, config, known_unused, progress)
    unread = _named(parts, {name: reading.unread for name, reading in loaded.readings.items()})
    _check_usable(folder, loaded, unread, sum(map(len, parts.values())))
    copies = _copies(parts, held_out(folder.splits), loaded.readings)
    left_out = {*unread, *copies, *(known_unused or ())}
    splits = {name: _without(part, loaded.images[name], left_out) for name, part in parts.items()}
    _check_classes(folder, splits)
    missing, equal = held_out(folder.splits), _count_equal(folder.copies)
    notes = [
        *_remarks(folder, unread),
        *imbalance_notes(_by_name(splits["train"], folder.classes)),
        *_equal_notes(equal if missing else 0, copies),
        *_leaks(loaded.readings, missing),
    ]
    return Dataset(
        "imagefolder",
        folder.classes,
        splits["train"],
        splits["validation"],
        splits["test"],
        presize=side,
        pixels=_pixels(config),
        broken=tuple(sorted(unread)),
        equal=equal,
        copies=tuple(sorted(copies)),
        notes=tuple(notes),
    )


def _read_parts(
    folder: ImageFolder,
    parts: Mapping[str, Part],
    side: int,
    config: DataConfig,
    known_unused: Collection[str] | None,
    progress: Progress | None,
) -> _Loaded:
    """Decode what fits in memory; read the rest once, unless it is known what of it is not used."""
    loaded, left = _Loaded(), config.memory_mb * 1_000_000
    # Training images last: they are the most, and the only ones that are read once an epoch.
    for name in ("validation", "test", "train"):
        step = None if progress is None else _labelled(progress, f"reading {name} images")
        files = ImageFiles(folder.root, parts[name].names, side, config.workers or cores())
        size = 3 * side * side * len(files)
        if size <= left:
            left -= size
            loaded.images[name], loaded.readings[name] = files.load(step)
        else:
            loaded.images[name] = files
            loaded.readings[name] = files.read(step) if known_unused is None else Reading()
    return loaded


def _labelled(progress: Progress, label: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(label, done, total)


def _named(parts: Mapping[str, Part], causes: Mapping[str, Mapping[int, str]]) -> dict[str, str]:
    return {parts[name].names[index]: causes[name][index] for name in parts for index in sorted(causes[name])}


def _check_usable(folder: ImageFolder, loaded: _Loaded, unread: Mapping[str, str], total: int) -> None:
    problem = problem_with(folder, unread, total)
    if problem is None:
        used = [share for reading in loaded.readings.values() for share in reading.used.values()]
        problem = range_problem(used, total)
    if problem is not None:
        raise DataError(f"{folder.root}: {problem}; `edgenas data check {folder.root}` lists all")


def _copies(parts: Mapping[str, Part], missing: Sequence[str], readings: Mapping[str, Reading]) -> list[str]:
    """Files of splits held out of train that show, pixel by pixel, what train or the split before shows."""
    seen = set(readings["train"].contents.values())
    copies = []
    for name in missing:
        contents = readings[name].contents
        copies += [parts[name].names[index] for index in sorted(contents) if contents[index] in seen]
        seen |= set(contents.values())
    return copies


def _without(part: Part, images: torch.Tensor | ImageFiles, left_out: Collection[str]) -> Split:
    labels = torch.from_numpy(part.labels)
    good = np.flatnonzero([name not in left_out for name in part.names])
    if len(good) == len(part):
        return Split(images, labels)
    chosen = images.subset(good) if isinstance(images, ImageFiles) else images[good]
    return Split(chosen, labels[good])


def _check_classes(folder: ImageFolder, splits: Mapping[str, Split]) -> None:
    for name, split in splits.items():
        counts = split.counts(len(folder.classes))
        if 0 in counts:
            raise DataError(
                f"{folder.root}: no {name} image of class {folder.classes[counts.index(0)]!r} is left: add images, "
                "enlarge data.validation, data.test or data.limit, or remove the class"
            )


def _remarks(folder: ImageFolder, unread: Mapping[str, str]) -> list[str]:
    notes = [*folder.remarks]
    if unread:
        notes.append(f"{len(unread)} images cannot be read and are left out: {causes_text(unread)}")
    if folder.left_out:
        notes.append(f"{len(folder.left_out)} files look like images and are left out: {causes_text(folder.left_out)}")
    if folder.ignored:
        notes.append(f"{len(folder.ignored)} files or folders are no images and are left out: {folder.ignored[0]}")
    if folder.set_aside:
        notes.append(
            f"{sum(folder.set_aside.values())} images that are hidden or in folders of tools (thumbnails, recycle "
            f"bins) are left out: {shortened(folder.set_aside)}"
        )
    return notes


def _leaks(readings: Mapping[str, Reading], missing: Sequence[str]) -> list[str]:
    """Images of a split of its own that training sees too make the reported accuracy too good."""
    notes, seen = [], set(readings["train"].contents.values())
    for name in ("validation", "test"):
        contents = set(readings[name].contents.values())
        shared = sum(content in seen for content in readings[name].contents.values())
        if shared and name not in missing:
            notes.append(
                f"{shared} {name} images are also among the training images: the {name} accuracy is too good by them"
            )
        seen |= contents
    return notes
