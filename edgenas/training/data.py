"""Pictures and labels, in three splits: train, validation (held out of train; all choices see it), test.

Small sets are decoded once and kept as uint8; picture files that would not fit are decoded as they are needed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgenas.config.sections import DataConfig
from edgenas.errors import DataError
from edgenas.files import user_path
from edgenas.supernet.pixels import Pixels
from edgenas.training.image_folder import ImageFolder, Part, common_side, scan, three_parts
from edgenas.training.named_sets import TEST_SPLIT_SEED, cifar10, cifar100, digits, fashion_mnist
from edgenas.training.pictures import Indices, PictureFiles, cores
from edgenas.training.split import Split, divide, hold_out, limited

NAMED_SETS = {"digits": digits, "fashion-mnist": fashion_mnist, "cifar10": cifar10, "cifar100": cifar100}
BROKEN_SHARE = 0.01
"""Of the pictures, that may be unreadable; more are a mistake that the user should know of."""
IMBALANCE = 3.0
"""Largest class over smallest, above which a run says so."""
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
        presize: size that pictures of many sizes are kept at, None where the set has one size.
        pixels: what input values mean to networks that are taught it.
        broken: files that cannot be read and are left out.
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
        """SHA-256 over pictures and labels of all splits, in order: equal digests mean equal splits.

        Of files that are not kept decoded, names and sizes stand for their pixels.
        """
        total = hashlib.sha256()
        for split in self.splits.values():
            split.update(total)
        return total.hexdigest()


@dataclass(frozen=True)
class SetSize:
    """Pictures of each split and classes, known without opening a picture."""

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
"""Training pictures before validation is held out, test pictures, classes."""


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
    known_broken: Collection[str] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Load a set and split it, stratified, by `seed`.

    Args:
        config: which set.
        seed: of the validation split and of `limit`.
        resolution: the largest that networks will ask for; larger picture files are kept at this size.
        known_broken: unreadable files, found when the set was loaded before; None to look for them. Only files
            that are not kept decoded need it.
        progress: called with what is being done, pictures done and in all.

    Raises:
        DataError: its files are missing or broken, or too few for the splits asked for.
    """
    if config.name == "imagefolder":
        return _load_folder(config, seed, resolution, known_broken, progress)
    whole, test, classes = NAMED_SETS[config.name](config.path)
    labels = whole.labels.numpy()
    kept, held = divide(labels, round(config.validation * len(whole)), seed)
    chosen = kept[limited(labels[kept], config.limit, seed)]
    train = whole.take(chosen)
    notes = imbalance_notes(_by_name(train, classes))
    return Dataset(config.name, classes, train, whole.take(held), test, pixels=_pixels(config), notes=tuple(notes))


def _by_name(split: Split, classes: Sequence[str]) -> dict[str, int]:
    return dict(zip(classes, split.counts(len(classes)), strict=True))


def _pixels(config: DataConfig) -> Pixels:
    return Pixels(config.mean, config.std, config.crop)


def _path(config: DataConfig) -> Path:
    if config.path is None:
        raise DataError("data.path is missing: wanted the folder that holds a sub-folder of pictures for each class")
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
        raise DataError(f"data.limit is {limit}, wanted at least one picture for each of {len(folder.classes)} classes")
    return hold_out(train.labels, limit, seed, keep=0)[1]


def _shuffled(part: Part) -> Part:
    """In an order of no meaning, so that the first n are a fair sample."""
    return part.take(np.random.default_rng(len(part)).permutation(len(part)))


def _load_folder(
    config: DataConfig, seed: int, resolution: int, known_broken: Collection[str] | None, progress: Progress | None
) -> Dataset:
    folder = scan(_path(config))
    train, validation, test = _parts(folder, config, seed)
    side = config.presize or common_side(folder, math.ceil(resolution / config.crop))
    left = config.memory_mb * 1_000_000
    splits: dict[str, Split] = {}
    broken: list[str] = []
    # Training pictures last: they are the most, and the only ones that are read once an epoch.
    for name, part in (("validation", validation), ("test", test), ("train", train)):
        files = PictureFiles(folder.root, part.names, side, config.workers or cores())
        kept = 3 * side * side * len(part) <= left
        left -= 3 * side * side * len(part) * kept
        splits[name], unread = _load_part(name, files, part, kept, known_broken, progress)
        broken += unread
    _check_broken(folder, broken, len(train) + len(validation) + len(test))
    _check_classes(folder, splits)
    notes = [*_remarks(folder, broken), *imbalance_notes(_by_name(splits["train"], folder.classes)), *_leaks(splits)]
    return Dataset(
        "imagefolder",
        folder.classes,
        splits["train"],
        splits["validation"],
        splits["test"],
        presize=side,
        pixels=_pixels(config),
        broken=tuple(sorted(broken)),
        notes=tuple(notes),
    )


def _load_part(
    name: str,
    files: PictureFiles,
    part: Part,
    kept: bool,
    known_broken: Collection[str] | None,
    progress: Progress | None,
) -> tuple[Split, list[str]]:
    """A split without its unreadable files, and these."""
    step = None if progress is None else lambda done, total: progress(f"reading {name} pictures", done, total)
    labels = torch.from_numpy(part.labels)
    if kept:
        pictures, unread = files.load(step)
    elif known_broken is None:
        unread = files.broken(step)
    else:
        unread = np.flatnonzero([file in known_broken for file in part.names])
    good = np.setdiff1d(np.arange(len(part)), unread)
    names = [part.names[index] for index in unread]
    if not kept:
        return Split(files.subset(good), labels[good]), names
    return Split(pictures if len(good) == len(part) else pictures[good], labels[good]), names


def _check_broken(folder: ImageFolder, broken: list[str], total: int) -> None:
    if len(broken) > BROKEN_SHARE * total:
        raise DataError(
            f"{folder.root}: {len(broken)} of {total} pictures cannot be read (at most {BROKEN_SHARE:.0%} are passed "
            f"over): {', '.join(sorted(broken)[:5])}{', …' if len(broken) > 5 else ''}: mend or remove them; "
            f"`edgenas data check {folder.root}` lists all"
        )


def _check_classes(folder: ImageFolder, splits: Mapping[str, Split]) -> None:
    for name, split in splits.items():
        counts = split.counts(len(folder.classes))
        if 0 in counts:
            raise DataError(
                f"{folder.root}: no {name} picture of class {folder.classes[counts.index(0)]!r} is left: add pictures, "
                "enlarge data.validation, data.test or data.limit, or remove the class"
            )


def _remarks(folder: ImageFolder, broken: list[str]) -> list[str]:
    notes = []
    if broken:
        notes.append(f"{len(broken)} pictures cannot be read and are left out: {', '.join(sorted(broken)[:5])}")
    if folder.ignored:
        notes.append(f"{len(folder.ignored)} files or folders are no pictures and are left out: {folder.ignored[0]}")
    return notes


def imbalance_notes(counts: Mapping[str, int]) -> list[str]:
    """A remark on classes of very uneven size; none, if they are not. `counts` are training pictures by class."""
    low, high = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[high] <= IMBALANCE * counts[low]:
        return []
    return [
        f"class sizes are uneven: {counts[low]} training pictures of {low!r}, {counts[high]} of {high!r}; top-1 is an "
        "average over pictures, so large classes weigh more"
    ]


def _leaks(splits: Mapping[str, Split]) -> list[str]:
    """Test pictures that training sees too make the reported accuracy too good."""
    if any(isinstance(split.pictures, PictureFiles) for split in splits.values()):
        return []
    seen = {_content(picture) for name in ("train", "validation") for picture in splits[name].tensor()}
    shared = sum(_content(picture) in seen for picture in splits["test"].tensor())
    if not shared:
        return []
    return [f"{shared} test pictures are also among the training pictures: the test accuracy is too good by them"]


def _content(picture: torch.Tensor) -> bytes:
    return hashlib.blake2b(picture.numpy().tobytes(), digest_size=16).digest()
