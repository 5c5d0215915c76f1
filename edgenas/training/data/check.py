"""What is in a tree of class folders, and what is wrong with it: every image is opened, decoded and compared."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.training.data.decoding import UnreadableImage, cores, decode, quiet_pillow
from edgenas.training.data.image_folder import (
    ImageFolder,
    held_out,
    images_wanted,
    imbalance_notes,
    problem_with,
    scan,
)
from edgenas.training.data.splitting import distinct_images, equal_groups
from edgenas.training.data.stored_range import range_problem

DARK_LEVEL = 31
"""Largest level of 255, below which images are said to be nearly black: 5 bits of 8."""
SIZE_QUANTILES = {"smallest": 0.0, "median": 0.5, "largest": 1.0}


@dataclass(frozen=True)
class FolderCheck:
    """Findings on a tree of class folders. Files are named by their paths within it.

    Attributes:
        classes: names in the order of the labels.
        counts: by split and class, how many images can be read.
        shorter_side_px: smallest, median and largest over all images.
        broken: files that cannot be read, with the reason.
        duplicates: groups of files of one split and class that show the same image.
        contradictions: groups of files of different classes that show the same image.
        leaks: groups of files of different splits that show the same image.
        left_out: files that look like images and are not used, with the reason.
        ignored: files and folders that are taken for no images.
        set_aside: folders of tools and hidden files, with how many images each seems to hold.
        problems: what keeps a run from starting.
        remarks: what a run should be started with open eyes for.
    """

    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    shorter_side_px: dict[str, int]
    broken: dict[str, str]
    duplicates: list[list[str]]
    contradictions: list[list[str]]
    leaks: list[list[str]]
    left_out: dict[str, str]
    ignored: tuple[str, ...]
    set_aside: dict[str, int]
    problems: list[str]
    remarks: list[str]

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


@dataclass(frozen=True)
class _Image:
    name: str
    split: str
    label: int
    shorter_side: int = 0
    content: bytes = b""
    highest: int = 0
    used: float | None = None
    error: str = ""


def check_folder(root: Path, progress: Callable[[str, int, int], None] | None = None) -> FolderCheck:
    """Open every image of a tree of class folders.

    Raises:
        DataError: no such folder, fewer than two classes, an empty class, or splits of different classes.
    """
    folder = scan(root)
    images = _look(folder, progress)
    readable = [image for image in images if not image.error]
    broken = {image.name: image.error for image in images if image.error}
    counts = _counts(folder, readable)
    same = _same(readable)
    return FolderCheck(
        classes=folder.classes,
        counts=counts,
        shorter_side_px=_sizes(readable),
        broken=broken,
        duplicates=_groups(same, lambda group: _one(p.label for p in group) and _one(p.split for p in group)),
        contradictions=_groups(same, lambda group: not _one(p.label for p in group)),
        leaks=_groups(same, lambda group: not _one(p.split for p in group)),
        left_out=folder.left_out,
        ignored=folder.ignored,
        set_aside=folder.set_aside,
        problems=_problems(folder, images, broken),
        remarks=[*folder.remarks, *_dark(readable), *imbalance_notes(counts["train"])],
    )


def _look(folder: ImageFolder, progress: Callable[[str, int, int], None] | None) -> list[_Image]:
    todo = [
        _Image(name, split, int(label))
        for split, part in folder.splits.items()
        for name, label in zip(part.names, part.labels, strict=True)
    ]
    seen = []
    with quiet_pillow(), ThreadPoolExecutor(cores()) as pool:
        for image in pool.map(lambda image: _opened(folder.root, image), todo):
            seen.append(image)
            if progress:
                progress("checking images", len(seen), len(todo))
    return seen


def _opened(root: Path, image: _Image) -> _Image:
    try:
        decoded = decode(root / image.name)
    except UnreadableImage as error:
        return replace(image, error=error.cause)
    pixels = decoded.image
    # Of the pixels, not of the file: an image that was saved twice is a duplicate too.
    content = hashlib.blake2b(f"{pixels.size}".encode() + pixels.tobytes(), digest_size=16).digest()
    highest = int(np.asarray(pixels).max())
    return replace(image, shorter_side=min(pixels.size), content=content, highest=highest, used=decoded.used)


def _counts(folder: ImageFolder, images: list[_Image]) -> dict[str, dict[str, int]]:
    found = Counter((image.split, image.label) for image in images)
    return {split: {name: found[split, n] for n, name in enumerate(folder.classes)} for split in folder.splits}


def _dark(images: list[_Image]) -> list[str]:
    highest = max((image.highest for image in images), default=255)
    if highest > DARK_LEVEL:
        return []
    return [f"all images are nearly black: their largest level is {highest} of 255; scale their pixels to the range"]


def _sizes(images: list[_Image]) -> dict[str, int]:
    sides = [image.shorter_side for image in images] or [0]
    return {name: int(np.quantile(sides, q)) for name, q in SIZE_QUANTILES.items()}


def _same(images: list[_Image]) -> list[list[_Image]]:
    groups: dict[bytes, list[_Image]] = {}
    for image in images:
        groups.setdefault(image.content, []).append(image)
    return [group for group in groups.values() if len(group) > 1]


def _groups(same: list[list[_Image]], wanted: Callable[[list[_Image]], bool]) -> list[list[str]]:
    return [[image.name for image in group] for group in same if wanted(group)]


def _one(values: Iterable[object]) -> bool:
    return len(set(values)) == 1


def _problems(folder: ImageFolder, images: list[_Image], broken: dict[str, str]) -> list[str]:
    used = [image.used for image in images if image.used is not None]
    found = [problem_with(folder, broken, len(images)), range_problem(used, len(images))]
    train = [image for image in images if image.split == "train" and not image.error]
    return [*(problem for problem in found if problem), *_too_few(folder, train)]


def _too_few(folder: ImageFolder, train: Sequence[_Image]) -> list[str]:
    """Classes without enough different training images for all the splits that are held out of them."""
    missing = held_out(folder.splits)
    wanted = images_wanted(missing)
    labels = np.array([image.label for image in train], dtype=np.int64)
    counts = np.bincount(labels, minlength=len(folder.classes))
    usable = counts
    if missing and len(train):
        distinct = distinct_images(labels, equal_groups([image.content for image in train]))
        usable = np.bincount(labels[distinct], minlength=len(counts))
    return [
        f"class {folder.classes[label]!r} has {counts[label]} training images"
        + (f" ({usable[label]} different ones)" if usable[label] < counts[label] else "")
        + f", wanted at least {wanted}: add some, or remove the class"
        for label in np.flatnonzero(usable < wanted)
    ]
