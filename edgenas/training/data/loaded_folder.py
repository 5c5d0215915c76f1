"""Class folders loaded as splits: divided, decoded as far as memory allows, without broken files and copies."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from joblib import cpu_count

from edgenas.config.sections import DataConfig
from edgenas.errors import DataError
from edgenas.files import user_path
from edgenas.progress import Progress, StepProgress
from edgenas.training.data.image_files import ImageFiles, Reading, image_sizes
from edgenas.training.data.image_folder import ImageFolder, SplitFiles, missing_splits, problem_with, scan, three_parts
from edgenas.training.data.named_sets import TEST_SPLIT_SEED
from edgenas.training.data.notes import equality_notes, few_image_notes, file_notes, imbalance_notes, leak_notes
from edgenas.training.data.split import Split
from edgenas.training.data.splitting import Indices, count_equal, hold_out
from edgenas.training.data.stored_range import range_problem

SIZED_IMAGES = 2000
"""Images whose headers are read to choose the common size."""


@dataclass(frozen=True)
class LoadedFolder:
    """Class folders loaded as splits; see `Dataset` for the attributes."""

    classes: tuple[str, ...]
    splits: dict[str, Split]
    presize: int
    broken: tuple[str, ...]
    equal: int
    copies: tuple[str, ...]
    notes: tuple[str, ...]


def load_folder(
    config: DataConfig, seed: int, largest_side: int, known_unused: Collection[str] | None, progress: Progress | None
) -> LoadedFolder:
    """Load class folders; see `load_dataset`. Files are kept with a shorter side of at most `largest_side`."""
    folder = scan(data_folder(config))
    parts = divide_files(folder, config, seed)
    side = config.presize or min(largest_side, common_side(folder) or largest_side)
    images, readings = _read_parts(folder, parts, side, config, known_unused, progress)
    unread = {
        parts[name].names[index]: cause for name in parts for index, cause in sorted(readings[name].unread.items())
    }
    _check_usable(folder, readings, unread, sum(map(len, parts.values())))
    missing, equal = missing_splits(folder.splits), count_equal(folder.copies)
    copies = _copies(parts, missing, readings)
    left_out = {*unread, *copies, *(known_unused or ())}
    splits = {name: _without(part, images[name], left_out) for name, part in parts.items()}
    _check_classes(folder, splits)
    counts = dict(zip(folder.classes, splits["train"].counts(len(folder.classes)), strict=True))
    notes = (
        *file_notes(folder, unread),
        *imbalance_notes(counts),
        *few_image_notes(counts, len(splits["validation"])),
        *equality_notes(equal if missing else 0, copies),
        *leak_notes({name: reading.contents.values() for name, reading in readings.items()}, missing),
    )
    return LoadedFolder(folder.classes, splits, side, tuple(sorted(unread)), equal, tuple(sorted(copies)), notes)


def data_folder(config: DataConfig) -> Path:
    """Return the folder that `data.path` names.

    Raises:
        DataError: `data.path` is missing.
    """
    if config.path is None:
        raise DataError("data.path is missing: expected the folder that has a sub-folder of images for each class")
    return user_path(config.path)


def divide_files(folder: ImageFolder, config: DataConfig, seed: int) -> dict[str, SplitFiles]:
    """Return the files of all three splits in shuffled order, so that the first n are a fair sample.

    Raises:
        DataError: a class has too few different images for all splits, or `data.limit` is less than the classes.
    """
    train, validation, test = three_parts(folder, config.validation, config.test, seed, TEST_SPLIT_SEED)
    train = train.take(np.random.default_rng((seed, len(train))).permutation(len(train)))
    train = train.take(_limit(folder, train, config.limit, seed))
    return {"train": train, "validation": _shuffled(validation), "test": _shuffled(test)}


def _limit(folder: ImageFolder, train: SplitFiles, limit: int | None, seed: int) -> Indices:
    if limit is None or limit >= len(train):
        return np.arange(len(train))
    if limit < len(folder.classes):
        raise DataError(
            f"data.limit: expected at least one image for each of {len(folder.classes)} classes, got {limit}"
        )
    return hold_out(train.labels, limit, seed, keep=0)[1]


def _shuffled(part: SplitFiles) -> SplitFiles:
    return part.take(np.random.default_rng(len(part)).permutation(len(part)))


def common_side(folder: ImageFolder) -> int | None:
    """Return the median shorter side in pixels of the training images; None if none of them can be read."""
    names = folder.splits["train"].names
    # Evenly spaced, so that every class is represented; only headers are read.
    sizes = image_sizes(folder.root, names[:: max(1, len(names) // SIZED_IMAGES)])
    # If none can be read, reading them all will give the cause.
    return int(np.median([min(size) for size in sizes])) if sizes else None


def _read_parts(
    folder: ImageFolder,
    parts: Mapping[str, SplitFiles],
    side: int,
    config: DataConfig,
    known_unused: Collection[str] | None,
    progress: Progress | None,
) -> tuple[dict[str, torch.Tensor | ImageFiles], dict[str, Reading]]:
    """Decode the splits that fit in memory; read the others once, unless their unused files are known."""
    images: dict[str, torch.Tensor | ImageFiles] = {}
    readings, left = {}, config.memory_mb * 1_000_000
    # Training images last: they are the most, and the only ones that are read once an epoch.
    for name in ("validation", "test", "train"):
        step = None if progress is None else _labelled(progress, f"reading {name} images")
        files = ImageFiles(folder.root, parts[name].names, side, config.workers or cpu_count())
        size = 3 * side * side * len(files)
        if size <= left:
            left -= size
            images[name], readings[name] = files.load(step)
        else:
            images[name] = files
            readings[name] = files.read(step) if known_unused is None else Reading()
    return images, readings


def _labelled(progress: Progress, label: str) -> StepProgress:
    return lambda done, total: progress(label, done, total)


def _check_usable(folder: ImageFolder, readings: Mapping[str, Reading], unread: Mapping[str, str], total: int) -> None:
    used = [share for reading in readings.values() for share in reading.used.values()]
    problem = problem_with(folder, unread, total) or range_problem(used, total)
    if problem is not None:
        raise DataError(f"{folder.root}: {problem}; `edgenas data check {folder.root}` lists all")


def _copies(parts: Mapping[str, SplitFiles], missing: Sequence[str], readings: Mapping[str, Reading]) -> list[str]:
    """Return files of held-out splits whose pixels are also in train or in a split before."""
    seen = set(readings["train"].contents.values())
    copies = []
    for name in missing:
        contents = readings[name].contents
        copies += [parts[name].names[index] for index in sorted(contents) if contents[index] in seen]
        seen |= set(contents.values())
    return copies


def _without(part: SplitFiles, images: torch.Tensor | ImageFiles, left_out: Collection[str]) -> Split:
    labels = torch.from_numpy(part.labels)
    used = np.flatnonzero([name not in left_out for name in part.names])
    if len(used) == len(part):
        return Split(images, labels)
    return Split(images.subset(used) if isinstance(images, ImageFiles) else images[used], labels[used])


def _check_classes(folder: ImageFolder, splits: Mapping[str, Split]) -> None:
    for name, split in splits.items():
        counts = split.counts(len(folder.classes))
        if 0 in counts:
            raise DataError(
                f"{folder.root}: no {name} image of class {folder.classes[counts.index(0)]!r} is left: add images, "
                "enlarge data.validation, data.test or data.limit, or remove the class"
            )
