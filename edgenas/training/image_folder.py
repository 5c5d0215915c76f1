"""Class folders: a folder whose sub-folders are classes, or one with train/ and perhaps val/ and test/ of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgenas.errors import DataError, one_of
from edgenas.training.pictures import SUFFIXES, Indices, picture_sizes
from edgenas.training.split import divide

SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
"""Folder names, and the split each holds."""
SIZED_PICTURES = 2000
MIN_CLASSES = 2


@dataclass(frozen=True)
class Part:
    """Files of one split: their paths within the set, and their labels int64 (n,)."""

    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, indices: Indices) -> Part:
        """The files at `indices`, in that order."""
        return Part(tuple(self.names[index] for index in indices), self.labels[indices])


@dataclass(frozen=True)
class ImageFolder:
    """What lies in a tree of class folders.

    Attributes:
        root: the folder.
        classes: names of the class folders, in the order of the labels.
        splits: by name those splits that have a folder: `train` always, `validation` and `test` perhaps.
        ignored: files in class folders that are no pictures by their suffix, and folders beside the splits'.
    """

    root: Path
    classes: tuple[str, ...]
    splits: dict[str, Part]
    ignored: tuple[str, ...]


def scan(root: Path) -> ImageFolder:
    """List a tree of class folders; no picture is opened.

    Raises:
        DataError: no such folder, fewer than two classes, an empty class, or splits of different classes.
    """
    if not root.is_dir():
        raise DataError(f"data.path {root}: no such folder: wanted one with a sub-folder of pictures for each class")
    folders = _folders(root)
    if "train" not in folders:
        misnamed = sorted(set(SPLITS) & set(folders))
        if misnamed:
            raise DataError(f"{root} holds {misnamed[0]}/ but no train/: rename the folder of training pictures train/")
        splits, others = {"train": root}, []
    else:
        splits = _split_folders(root, folders)
        others = [f"{name}/" for name in folders if name not in SPLITS]
    classes = _classes(splits)
    parts: dict[str, Part] = {}
    for split, folder in splits.items():
        parts[split], odd = _files(root, folder, classes)
        others += odd
    return ImageFolder(root, classes, parts, tuple(others))


def three_parts(folder: ImageFolder, validation: float, test: float, seed: int, test_seed: int) -> tuple[Part, ...]:
    """Train, validation and test; what has no folder of its own is held out of train, stratified.

    Args:
        folder: what was scanned.
        validation: share of the training pictures, once test is taken, that becomes validation.
        test: share of the pictures that becomes test.
        seed: of the validation split.
        test_seed: of the test split, which stays the same whatever the run's seed.

    Raises:
        DataError: a class has too few pictures to be in all three.
    """
    train = folder.splits["train"]
    missing = {"validation", "test"} - set(folder.splits)
    _check_counts(folder, 1 + len(missing))
    parts = dict(folder.splits)
    for split, share, own_seed in (("test", test, test_seed), ("validation", validation, seed)):
        if split in missing:
            kept, held = divide(train.labels, max(len(folder.classes), round(share * len(train))), own_seed)
            train, parts[split] = train.take(kept), train.take(held)
    return train, parts["validation"], parts["test"]


def common_side(folder: ImageFolder, resolution: int) -> int:
    """Size at which pictures are kept: `resolution`, or the middle picture's shorter side where that is smaller.

    Raises:
        DataError: none of the pictures looked at can be read.
    """
    names = folder.splits["train"].names
    # Evenly spaced, so that every class has its say; headers alone are read.
    sizes = picture_sizes(folder.root, names[:: max(1, len(names) // SIZED_PICTURES)])
    if not sizes:
        raise DataError(f"{folder.root}: none of the pictures can be read; the first is {names[0]}")
    return min(resolution, int(np.median([min(size) for size in sizes])))


def _folders(root: Path) -> list[str]:
    # Hidden folders and __MACOSX are left behind by tools, and are no one's class.
    names = (path.name for path in root.iterdir() if path.is_dir())
    return sorted(name for name in names if not name.startswith((".", "__")))


def _split_folders(root: Path, folders: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name in folders:
        split = SPLITS.get(name)
        if split in found:
            raise DataError(f"{root} holds both {found[split].name}/ and {name}/: keep one of them")
        if split is not None:
            found[split] = root / name
    return {split: found[split] for split in ("train", "validation", "test") if split in found}


def _classes(splits: dict[str, Path]) -> tuple[str, ...]:
    classes = _folders(splits["train"])
    if len(classes) < MIN_CLASSES:
        came = f"only {classes[0]}/" if classes else "none"
        raise DataError(f"{splits['train']}: wanted a sub-folder of pictures for each of 2 or more classes, got {came}")
    for split, folder in splits.items():
        own = _folders(folder)
        for name in own:
            if name not in classes:
                raise DataError(f"{folder} has class {name!r}, which train/ lacks; {one_of(name, classes)}")
        lacking = sorted(set(classes) - set(own))
        if lacking:
            raise DataError(
                f"{folder} lacks {len(lacking)} of the classes of train/ ({', '.join(lacking[:5])}): "
                f"add them, or move {split} away to have it held out of train/"
            )
    return tuple(classes)


def _files(root: Path, folder: Path, classes: tuple[str, ...]) -> tuple[Part, list[str]]:
    names: list[str] = []
    labels: list[int] = []
    ignored: list[str] = []
    for label, name in enumerate(classes):
        before = len(names)
        for path in sorted((folder / name).rglob("*")):
            within = path.relative_to(root)
            if path.is_dir() or any(part.startswith(".") for part in within.parts):
                continue
            if path.suffix.lower() in SUFFIXES:
                names.append(within.as_posix())
                labels.append(label)
            else:
                ignored.append(within.as_posix())
        if len(names) == before:
            raise DataError(f"{folder / name} holds no pictures ({' '.join(SUFFIXES)}): add some, or remove it")
    return Part(tuple(names), np.array(labels, dtype=np.int64)), ignored


def _check_counts(folder: ImageFolder, wanted: int) -> None:
    counts = np.bincount(folder.splits["train"].labels)
    short = [f"{folder.classes[i]!r} has {counts[i]}" for i in np.flatnonzero(counts < wanted)]
    if short:
        lacking = " and ".join(sorted({"validation", "test"} - set(folder.splits)))
        raise DataError(
            f"{folder.root}: class {', '.join(short[:5])}, wanted at least {wanted} training pictures a class, because "
            f"{lacking} pictures are held out of them: add pictures, or remove the class"
        )
