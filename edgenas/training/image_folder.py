"""Class folders: a folder whose sub-folders are classes, or one with train/ and perhaps val/ and test/ of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgenas.errors import DataError, one_of
from edgenas.training.pictures import SUFFIXES, Indices, picture_sizes
from edgenas.training.split import hold_out

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""Folder names, in whatever case, and the split each holds."""
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
        DataError: no such folder, fewer than two classes, an empty or unreadable class, a class whose name is no
            UTF-8, or splits of different classes.
    """
    if not root.is_dir():
        raise DataError(
            f"{root}: no such folder: wanted one with a sub-folder of pictures for each class (paths are relative to "
            f"where the command is run, now {Path.cwd()})"
        )
    split_folders, others = _split_folders(root)
    classes = _classes(split_folders)
    parts: dict[str, Part] = {}
    for split, folder in split_folders.items():
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
    missing = held_out(folder.splits)
    _check_counts(folder, missing)
    parts = dict(folder.splits)
    settings = {"test": (test, test_seed), "validation": (validation, seed)}
    for number, split in enumerate(missing):
        share, own_seed = settings[split]
        # Every class keeps one picture for training, and one for each split that is still to be held out.
        kept, held = hold_out(train.labels, round(share * len(train)), own_seed, keep=len(missing) - number)
        train, parts[split] = train.take(kept), train.take(held)
    return train, parts["validation"], parts["test"]


def held_out(splits: Collection[str]) -> list[str]:
    """The splits that have no folder among `splits`, in the order in which they are held out of train."""
    return [split for split in ("test", "validation") if split not in splits]


def pictures_wanted(missing: Sequence[str]) -> int:
    """Training pictures that every class must have at least, where `missing` are held out of them."""
    return 1 + len(missing)


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


def split_of(name: str) -> str | None:
    """The split that a folder of this name holds, if it is the name of one."""
    return SPLITS.get(name.casefold())


def _folders(root: Path) -> list[str]:
    # Hidden folders and those like __MACOSX are left behind by tools, and are no one's class.
    names = (path.name for path in root.iterdir() if path.is_dir())
    return sorted(name for name in names if not name.startswith((".", "__")))


def _split_folders(root: Path) -> tuple[dict[str, Path], list[str]]:
    """Folders of the splits, and what lies beside them."""
    names = _folders(root)
    found: dict[str, Path] = {}
    for name in names:
        split = split_of(name)
        if split in found:
            raise DataError(f"{root} holds both {found[split].name}/ and {name}/: keep one of them")
        if split is not None:
            found[split] = root / name
    if not found:
        return {"train": root}, []
    if "train" not in found:
        held = next(iter(found.values())).name
        raise DataError(f"{root} holds {held}/ but no train/: rename the folder of training pictures train/")
    beside = [f"{_shown(name)}/" for name in names if split_of(name) is None]
    return {split: found[split] for split in ("train", "validation", "test") if split in found}, beside


def _classes(splits: dict[str, Path]) -> tuple[str, ...]:
    train = splits["train"]
    classes = _folders(train)
    if len(classes) < MIN_CLASSES:
        came = f"only {_shown(classes[0])}/" if classes else "none"
        inside = f": did you mean {train / classes[0]}?" if classes and len(_folders(train / classes[0])) > 1 else ""
        taken = " (it is taken for the training split, by its name)" if split_of(train.name) == "train" else ""
        raise DataError(
            f"{train}{taken}: wanted a sub-folder of pictures for each of 2 or more classes, got {came}{inside}"
        )
    unnamed = [name for name in classes if _shown(name) != name]
    if unnamed:
        raise DataError(f"{train}: class folder {_shown(unnamed[0])!r} has a name that is no UTF-8: rename it")
    for split, folder in splits.items():
        _check_same(split, folder, classes)
    return tuple(classes)


def _check_same(split: str, folder: Path, classes: list[str]) -> None:
    own = _folders(folder)
    for name in own:
        if name not in classes:
            raise DataError(f"{folder} has class {_shown(name)!r}, which train/ lacks; {one_of(name, classes)}")
    lacking = sorted(set(classes) - set(own))
    if lacking:
        raise DataError(
            f"{folder} lacks {len(lacking)} of the classes of train/ ({', '.join(lacking[:5])}): "
            f"add them, or move {split} away to have it held out of train/"
        )


def _files(root: Path, folder: Path, classes: tuple[str, ...]) -> tuple[Part, list[str]]:
    names: list[str] = []
    labels: list[int] = []
    beside = sorted(path for path in folder.iterdir() if path.name not in classes and not path.name.startswith("."))
    ignored = [_shown(path.relative_to(root).as_posix()) + "/" * path.is_dir() for path in beside]
    for label, name in enumerate(classes):
        before = len(names)
        for path in _walk(folder / name):
            within = path.relative_to(root).as_posix()
            if path.suffix.lower() in SUFFIXES and path.is_file() and _shown(within) == within:
                names.append(within)
                labels.append(label)
            else:
                ignored.append(_shown(within))
        if len(names) == before:
            raise DataError(f"{folder / name} holds no pictures ({' '.join(SUFFIXES)}): add some, or remove it")
    return Part(tuple(names), np.array(labels, dtype=np.int64)), ignored


def _walk(folder: Path) -> Iterator[Path]:
    """All that lies in a folder and those inside it, in order of its names; links are followed, but not in circles."""
    seen: set[tuple[int, int]] = set()
    for place, inside, files in os.walk(folder, onerror=_refuse, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            inside.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be listed: {error.strerror}: change its permissions, or remove it")


def _shown(name: str) -> str:
    """A file's name as it can be printed and stored: bytes that are no UTF-8 are escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _check_counts(folder: ImageFolder, missing: list[str]) -> None:
    wanted = pictures_wanted(missing)
    counts = np.bincount(folder.splits["train"].labels)
    short = [f"{folder.classes[i]!r} has {counts[i]}" for i in np.flatnonzero(counts < wanted)]
    if short:
        raise DataError(
            f"{folder.root}: class {', '.join(short[:5])}, wanted at least {wanted} training pictures a class, because "
            f"{' and '.join(missing)} pictures are held out of them: add pictures, or remove the class"
        )
