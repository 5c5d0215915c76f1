"""Class folders: a folder with a sub-folder for each class, or with train/ and optional val/ and test/ of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgenas.errors import DataError, one_of, shortened
from edgenas.training.data.equal_files import equal_files
from edgenas.training.data.folder_names import (
    CASE,
    escaped_name,
    folders,
    is_like_a_split,
    look_alike,
    look_alikes,
    split_of,
)
from edgenas.training.data.listing import SUFFIXES, Listing, causes_text
from edgenas.training.data.splitting import Indices, distinct_images, hold_out

MIN_CLASSES = 2
UNUSED_SHARE = 0.01
"""Fraction of the images that may be unreadable or left out; more are an error."""
IF_A_CLASS = "if it is a class, put all class folders into a folder named train/, or rename it"


@dataclass(frozen=True)
class SplitFiles:
    """Files of one split: their paths within the set, and their labels, int64 (n,)."""

    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, indices: Indices) -> SplitFiles:
        """Return the files at `indices`, in that order."""
        return SplitFiles(tuple(self.names[index] for index in indices), self.labels[indices])


@dataclass(frozen=True)
class ImageFolder:
    """The content of a tree of class folders.

    Attributes:
        root: the folder.
        classes: names of the class folders, in the order of the labels.
        splits: splits that have a folder, by name: always `train`, optionally `validation` and `test`.
        copies: for each training file, the index of the first one with the same bytes, int64 (n,).
        left_out: files that look like images and are not used, with the cause.
        ignored: files and folders that are not images.
        set_aside: folders of tools and hidden files, with the number of files named like images in each.
        remarks: remarks to the user on the names of folders.
    """

    root: Path
    classes: tuple[str, ...]
    splits: dict[str, SplitFiles]
    copies: Indices
    left_out: dict[str, str]
    ignored: tuple[str, ...]
    set_aside: dict[str, int]
    remarks: tuple[str, ...]


def scan(root: Path) -> ImageFolder:
    """List a tree of class folders, opening only files of unknown suffix and files of equal size.

    Raises:
        DataError: no such folder, fewer than two classes, an empty or unreadable class, class names that are not UTF-8
            or look the same, splits of different classes, or splits inside of classes.
    """
    if not root.is_dir():
        raise DataError(
            f"{root}: no such folder: expected one with a sub-folder of images for each class (paths are relative to "
            f"the current folder, {Path.cwd()})"
        )
    split_folders = _split_folders(root)
    classes = _classes(split_folders)
    listing = Listing(root)
    parts = {split: _list_split(listing, folder, classes) for split, folder in split_folders.items()}
    if root not in split_folders.values():
        _list_beside(listing, root, split_folders)
    return ImageFolder(
        root,
        classes,
        parts,
        equal_files(root, parts["train"].names),
        listing.left_out,
        tuple(listing.ignored),
        listing.set_aside,
        _case_remarks(classes),
    )


def problem_with(folder: ImageFolder, unread: Mapping[str, str], images: int) -> str | None:
    """Return the problem if too many files are unreadable or left out, else None.

    Args:
        folder: the scanned folder.
        unread: files that cannot be decoded, with the cause.
        images: number of files to decode.
    """
    unused = {**folder.left_out, **unread}
    total = images + len(folder.left_out)
    if len(unused) <= UNUSED_SHARE * total:
        return None
    return (
        f"{len(unused)} of {total} images cannot be read or used; at most {UNUSED_SHARE:.0%} are allowed: "
        f"{causes_text(unused)}"
    )


def three_parts(
    folder: ImageFolder, validation: float, test: float, seed: int, test_seed: int
) -> tuple[SplitFiles, ...]:
    """Return train, validation and test; missing splits are held out of train, stratified, equal files in one split.

    Args:
        folder: the scanned folder.
        validation: fraction of the training images, after test is held out, for validation.
        test: fraction of the images for test.
        seed: seed of the validation split.
        test_seed: seed of the test split, which does not depend on the seed of the run.

    Raises:
        DataError: a class has too few different images to be in all three.
    """
    train = folder.splits["train"]
    missing = missing_splits(folder.splits)
    copies = folder.copies
    _check_counts(folder, missing)
    parts = dict(folder.splits)
    settings = {"test": (test, test_seed), "validation": (validation, seed)}
    for number, split in enumerate(missing):
        share, split_seed = settings[split]
        # Every class keeps one image for training, and one for each split that is still to be held out.
        kept, held = hold_out(
            train.labels, round(share * len(train)), split_seed, keep=len(missing) - number, copies=copies
        )
        parts[split], train, copies = train.take(held), train.take(kept), copies[kept]
    return train, parts["validation"], parts["test"]


def missing_splits(splits: Collection[str]) -> list[str]:
    """Return the splits without a folder, in the order in which they are held out of train."""
    return [split for split in ("test", "validation") if split not in splits]


def min_images(missing: Sequence[str]) -> int:
    """Return the minimum training images of every class, if `missing` splits are held out of them."""
    return 1 + len(missing)


def _split_folders(root: Path) -> dict[str, Path]:
    names = folders(root)
    splits: dict[str, Path] = {}
    for name in names:
        split = split_of(name)
        if split in splits:
            raise DataError(
                f"{root} has both {splits[split].name}/ and {name}/, and both are names of the {split} split: keep one "
                "of them"
            )
        if split is not None:
            splits[split] = root / name
    if not splits:
        _check_like_splits(root, names)
        return {"train": root}
    if "train" not in splits:
        other = next(iter(splits.values())).name
        raise DataError(
            f"{root} has {other}/, which is the name of a split, but no train/: if it is a split, rename the folder of "
            f"training images train/; {IF_A_CLASS}"
        )
    return {split: splits[split] for split in ("train", "validation", "test") if split in splits}


def _check_like_splits(root: Path, names: list[str]) -> None:
    """Refuse folders such as `training_set`, which would be taken for classes."""
    for name in names:
        if is_like_a_split(name) and len(folders(root / name)) >= MIN_CLASSES:
            raise DataError(
                f"{root / name} has sub-folders and is named like a split: rename it train/, val/ or test/; "
                f"{IF_A_CLASS}"
            )


def _list_beside(listing: Listing, root: Path, split_folders: Mapping[str, Path]) -> None:
    train = split_folders["train"].name
    cause = f"it is beside {train}/, which is the name of the training split; {IF_A_CLASS}"
    for path in sorted(root.iterdir()):
        if path not in split_folders.values():
            listing.add_unused(path, cause)


def _classes(splits: dict[str, Path]) -> tuple[str, ...]:
    train = splits["train"]
    classes = folders(train)
    if len(classes) < MIN_CLASSES:
        count = f"only {escaped_name(classes[0])}/" if classes else "none"
        hint = f": did you mean {train / classes[0]}?" if classes and len(folders(train / classes[0])) > 1 else ""
        note = f" (it is the name of the training split; {IF_A_CLASS})" if split_of(train.name) == "train" else ""
        raise DataError(
            f"{train}{note}: expected a sub-folder of images for each of 2 or more classes, got {count}{hint}"
        )
    unprintable = [name for name in classes if escaped_name(name) != name]
    if unprintable:
        raise DataError(
            f"{train}: class folder {escaped_name(unprintable[0])!r} has a name that is not UTF-8: rename it"
        )
    for one, other, apart in look_alikes(classes):
        if apart != CASE:
            raise DataError(
                f"{train}: class folders {one!a} and {other!a} look the same and differ only in {apart}: "
                "move the images of one into the other"
            )
    _check_not_inside_out(train, classes)
    for split, folder in splits.items():
        _check_same(split, folder, classes)
    return tuple(classes)


def _case_remarks(classes: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        f"class folders {one!r} and {other!r} differ only in {apart}: move the images of one into the other if they "
        "are one class"
        for one, other, apart in look_alikes(classes)
    )


def _check_not_inside_out(train: Path, classes: list[str]) -> None:
    """Refuse folders of splits inside the class folders."""
    inside = [next((name for name in folders(train / label) if split_of(name)), None) for label in classes]
    if None not in inside:
        raise DataError(
            f"{train}: expected class folders inside the folders of splits, as {inside[0]}/{classes[0]}/, got "
            f"folders of splits inside the class folders, as {classes[0]}/{inside[0]}/: exchange them"
        )


def _check_same(split: str, folder: Path, classes: list[str]) -> None:
    names, expected = folders(folder), set(classes)
    for name in names:
        if name not in expected:
            similar = look_alike(name, classes)
            if similar:
                raise DataError(
                    f"{folder} has class {name!a}, which differs from {similar[0]!a} in train/ only in {similar[1]}: "
                    "rename one of them"
                )
            raise DataError(f"{folder} has class {escaped_name(name)!r}, which train/ lacks; {one_of(name, classes)}")
    missing = sorted(expected - set(names))
    if missing:
        raise DataError(
            f"{folder} lacks {len(missing)} of the classes of train/ ({shortened(missing)}): "
            f"add them, or move {split} away to have it held out of train/"
        )


def _list_split(listing: Listing, folder: Path, classes: Sequence[str]) -> SplitFiles:
    start = len(listing.images)
    for path in sorted(folder.iterdir()):
        if path.name not in classes:
            listing.add_unused(path, "it is beside the class folders, not in one of them: move it into one")
    for label, name in enumerate(classes):
        if not listing.add_class(folder / name, label):
            inside = (folder / name).relative_to(listing.root).as_posix() + "/"
            causes = {path: cause for path, cause in listing.left_out.items() if path.startswith(inside)}
            if causes:
                raise DataError(f"{folder / name} has no images that can be used; {causes_text(causes)}")
            raise DataError(f"{folder / name} has no images ({' '.join(SUFFIXES)}): add some, or remove it")
    return SplitFiles(tuple(listing.images[start:]), np.array(listing.labels[start:], dtype=np.int64))


def _check_counts(folder: ImageFolder, missing: list[str]) -> None:
    minimum = min_images(missing)
    labels = folder.splits["train"].labels
    counts = np.bincount(labels, minlength=len(folder.classes))
    # Equal images must be in one split.
    usable = np.bincount(labels[distinct_images(labels, folder.copies)], minlength=len(counts)) if missing else counts
    small = [
        f"{folder.classes[i]!r} has {counts[i]}" + (f" ({usable[i]} different ones)" if usable[i] < counts[i] else "")
        for i in np.flatnonzero(usable < minimum)
    ]
    if small:
        raise DataError(
            f"{folder.root}: class {shortened(small)}, expected at least {minimum} training images a class, because "
            f"{' and '.join(missing)} images are held out of them: add images, or remove the class"
        )
