"""Class folders: a folder whose sub-folders are classes, or one with train/ and perhaps val/ and test/ of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgenas.errors import DataError, one_of, shortened
from edgenas.training.data.equal_files import equal_files
from edgenas.training.data.folder_names import CASE, folders, is_like_a_split, look_alike, look_alikes, shown, split_of
from edgenas.training.data.listing import SUFFIXES, Listing, causes_text
from edgenas.training.data.splitting import Indices, distinct_images, hold_out

MIN_CLASSES = 2
UNUSED_SHARE = 0.01
"""Of the images, that may be unreadable or left out; more are a mistake that the user should know of."""
IMBALANCE = 3.0
"""Largest class over smallest, above which a run says so."""
CLASS_NAMED_SO = "if it is a class, put all class folders into a folder named train/, or rename it"


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
        copies: for each training file the index of the first one with the same bytes, int64 (n,).
        left_out: files that look like images and are not used, with the cause.
        ignored: files and folders that are not images.
        set_aside: folders of tools and hidden files, with how many images each seems to hold.
        remarks: what the user should know of the folders' names.
    """

    root: Path
    classes: tuple[str, ...]
    splits: dict[str, Part]
    copies: Indices
    left_out: dict[str, str]
    ignored: tuple[str, ...]
    set_aside: dict[str, int]
    remarks: tuple[str, ...]


def scan(root: Path) -> ImageFolder:
    """List a tree of class folders. Few files are opened: those of unknown suffix, and those of equal size.

    Raises:
        DataError: no such folder, fewer than two classes, an empty or unreadable class, class names that are not UTF-8
            or look the same, splits of different classes, or splits inside of classes.
    """
    if not root.is_dir():
        raise DataError(
            f"{root}: no such folder: wanted one with a sub-folder of images for each class (paths are relative to "
            f"where the command is run, now {Path.cwd()})"
        )
    split_folders = _split_folders(root)
    classes = _classes(split_folders)
    listing = Listing(root)
    parts = {split: _part(listing, folder, classes) for split, folder in split_folders.items()}
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
    """Return why a run refuses a set of which too much is unread or left out, None where it does not.

    Args:
        folder: what was scanned.
        unread: files that cannot be decoded, with the cause.
        images: how many files were to be decoded.
    """
    unused = {**folder.left_out, **unread}
    total = images + len(folder.left_out)
    if len(unused) <= UNUSED_SHARE * total:
        return None
    return (
        f"{len(unused)} of {total} images cannot be read or used; at most {UNUSED_SHARE:.0%} are passed over: "
        f"{causes_text(unused)}"
    )


def three_parts(folder: ImageFolder, validation: float, test: float, seed: int, test_seed: int) -> tuple[Part, ...]:
    """Train, validation and test; missing splits are held out of train, stratified, equal files on one side.

    Args:
        folder: what was scanned.
        validation: share of the training images, once test is taken, that becomes validation.
        test: share of the images that becomes test.
        seed: of the validation split.
        test_seed: of the test split, which stays the same whatever the run's seed.

    Raises:
        DataError: a class has too few different images to be in all three.
    """
    train = folder.splits["train"]
    missing = held_out(folder.splits)
    copies = folder.copies
    _check_counts(folder, missing)
    parts = dict(folder.splits)
    settings = {"test": (test, test_seed), "validation": (validation, seed)}
    for number, split in enumerate(missing):
        share, own_seed = settings[split]
        # Every class keeps one image for training, and one for each split that is still to be held out.
        kept, held = hold_out(
            train.labels, round(share * len(train)), own_seed, keep=len(missing) - number, copies=copies
        )
        parts[split], train, copies = train.take(held), train.take(kept), copies[kept]
    return train, parts["validation"], parts["test"]


def held_out(splits: Collection[str]) -> list[str]:
    """The splits that have no folder among `splits`, in the order in which they are held out of train."""
    return [split for split in ("test", "validation") if split not in splits]


def images_wanted(missing: Sequence[str]) -> int:
    """Training images that every class must have at least, where `missing` are held out of them."""
    return 1 + len(missing)


def imbalance_notes(counts: Mapping[str, int]) -> list[str]:
    """A remark on classes of very uneven size; none, if they are not. `counts` are training images by class."""
    low, high = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[high] <= IMBALANCE * counts[low]:
        return []
    return [
        f"class sizes are uneven: {counts[low]} training images of {low!r}, {counts[high]} of {high!r}; top-1 is an "
        "average over images, so large classes weigh more"
    ]


def _split_folders(root: Path) -> dict[str, Path]:
    names = folders(root)
    found: dict[str, Path] = {}
    for name in names:
        split = split_of(name)
        if split in found:
            raise DataError(
                f"{root} holds both {found[split].name}/ and {name}/, whose names both make them the folder of the "
                f"{split} split: keep one of them"
            )
        if split is not None:
            found[split] = root / name
    if not found:
        _check_like_splits(root, names)
        return {"train": root}
    if "train" not in found:
        held = next(iter(found.values())).name
        raise DataError(
            f"{root} holds {held}/, which its name makes the folder of a split, but no train/: if it is a split, "
            f"rename the folder of training images train/; {CLASS_NAMED_SO}"
        )
    return {split: found[split] for split in ("train", "validation", "test") if split in found}


def _check_like_splits(root: Path, names: list[str]) -> None:
    """Folders such as `training_set` would be taken for classes, and networks would learn to tell splits apart."""
    for name in names:
        if is_like_a_split(name) and len(folders(root / name)) >= MIN_CLASSES:
            raise DataError(
                f"{root / name} holds folders and is named like a split: rename it train/, val/ or test/; "
                f"{CLASS_NAMED_SO}"
            )


def _list_beside(listing: Listing, root: Path, split_folders: Mapping[str, Path]) -> None:
    train = split_folders["train"].name
    cause = f"it lies beside {train}/, whose name makes it the folder of the training split; {CLASS_NAMED_SO}"
    for path in sorted(root.iterdir()):
        if path not in split_folders.values():
            listing.add_unused(path, cause)


def _classes(splits: dict[str, Path]) -> tuple[str, ...]:
    train = splits["train"]
    classes = folders(train)
    if len(classes) < MIN_CLASSES:
        came = f"only {shown(classes[0])}/" if classes else "none"
        inside = f": did you mean {train / classes[0]}?" if classes and len(folders(train / classes[0])) > 1 else ""
        taken = ""
        if split_of(train.name) == "train":
            taken = f" (its name makes it the folder of the training split; {CLASS_NAMED_SO})"
        raise DataError(
            f"{train}{taken}: wanted a sub-folder of images for each of 2 or more classes, got {came}{inside}"
        )
    unnamed = [name for name in classes if shown(name) != name]
    if unnamed:
        raise DataError(f"{train}: class folder {shown(unnamed[0])!r} has a name that is no UTF-8: rename it")
    for one, other, apart in look_alikes(classes):
        if apart != CASE:
            raise DataError(
                f"{train}: class folders {one!a} and {other!a} look the same and differ in {apart} only: "
                "move the images of one into the other"
            )
    _check_not_inside_out(train, classes)
    for split, folder in splits.items():
        _check_same(split, folder, classes)
    return tuple(classes)


def _case_remarks(classes: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        f"class folders {one!r} and {other!r} differ in {apart} only: move the images of one into the other if they "
        "are one class"
        for one, other, apart in look_alikes(classes)
    )


def _check_not_inside_out(train: Path, classes: list[str]) -> None:
    """Splits inside of classes would be mixed."""
    inside = [next((name for name in folders(train / label) if split_of(name)), None) for label in classes]
    if None not in inside:
        place = f"{classes[0]}/{inside[0]}/"
        raise DataError(
            f"{train}: every class folder holds a folder named like a split, as {place}: wanted the splits outside, "
            f"as {inside[0]}/{classes[0]}/"
        )


def _check_same(split: str, folder: Path, classes: list[str]) -> None:
    own, known = folders(folder), set(classes)
    for name in own:
        if name not in known:
            same = look_alike(name, classes)
            if same:
                raise DataError(
                    f"{folder} has class {name!a}, which differs from train/'s {same[0]!a} in {same[1]} "
                    "only: rename one of them"
                )
            raise DataError(f"{folder} has class {shown(name)!r}, which train/ lacks; {one_of(name, classes)}")
    lacking = sorted(known - set(own))
    if lacking:
        raise DataError(
            f"{folder} lacks {len(lacking)} of the classes of train/ ({shortened(lacking)}): "
            f"add them, or move {split} away to have it held out of train/"
        )


def _part(listing: Listing, folder: Path, classes: Sequence[str]) -> Part:
    known, begin = set(classes), len(listing.images)
    for path in sorted(folder.iterdir()):
        if path.name not in known:
            listing.add_unused(path, "it lies beside the class folders, in none of them: move it into one")
    for label, name in enumerate(classes):
        if not listing.add_class(folder / name, label):
            inside = (folder / name).relative_to(listing.root).as_posix() + "/"
            own = {path: cause for path, cause in listing.left_out.items() if path.startswith(inside)}
            why = (
                f" that can be used; {causes_text(own)}" if own else f" ({' '.join(SUFFIXES)}): add some, or remove it"
            )
            raise DataError(f"{folder / name} holds no images{why}")
    return Part(tuple(listing.images[begin:]), np.array(listing.labels[begin:], dtype=np.int64))


def _check_counts(folder: ImageFolder, missing: list[str]) -> None:
    wanted = images_wanted(missing)
    labels = folder.splits["train"].labels
    counts = np.bincount(labels, minlength=len(folder.classes))
    # Equal images cannot be on two sides.
    usable = np.bincount(labels[distinct_images(labels, folder.copies)], minlength=len(counts)) if missing else counts
    short = [
        f"{folder.classes[i]!r} has {counts[i]}" + (f" ({usable[i]} different ones)" if usable[i] < counts[i] else "")
        for i in np.flatnonzero(usable < wanted)
    ]
    if short:
        raise DataError(
            f"{folder.root}: class {shortened(short)}, wanted at least {wanted} training images a class, because "
            f"{' and '.join(missing)} images are held out of them: add images, or remove the class"
        )
