"""Checks a tree of class folders: every image is decoded and compared with the others."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from joblib import cpu_count

from edgenas.progress import Progress
from edgenas.training.data.decoding import UnreadableImage, decode, quiet_pillow
from edgenas.training.data.image_folder import ImageFolder, min_images, missing_splits, problem_with, scan
from edgenas.training.data.notes import imbalance_notes
from edgenas.training.data.splitting import distinct_images, equal_groups
from edgenas.training.data.stored_range import range_problem

DARK_LEVEL = 31
"""Largest level of 255 up to which images are nearly black: 5 bits of 8."""
SIZE_QUANTILES = {"smallest": 0.0, "median": 0.5, "largest": 1.0}


@dataclass(frozen=True)
class FolderCheck:
    """Findings on a tree of class folders. Files are named by their paths within it.

    Attributes:
        classes: names of the classes in the order of the labels.
        counts: number of readable images by split and class.
        shorter_side_px: smallest, median and largest shorter side of all images.
        broken: files that cannot be read, with the cause.
        duplicates: groups of files of one split and class with the same image.
        contradictions: groups of files of different classes with the same image.
        leaks: groups of files of different splits with the same image.
        left_out: files that look like images and are not used, with the cause.
        ignored: files and folders that are not images.
        set_aside: folders of tools and hidden files, with the number of files named like images in each.
        problems: problems that stop a run.
        remarks: problems that do not stop a run.
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
        """Return the findings as JSON values, as `--json` prints them."""
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


def check_folder(root: Path, progress: Progress | None = None) -> FolderCheck:
    """Decode every image of a tree of class folders and return the findings.

    Raises:
        DataError: no such folder, fewer than two classes, an empty class, or splits of different classes.
    """
    folder = scan(root)
    images = _decode_all(folder, progress)
    readable = [image for image in images if not image.error]
    broken = {image.name: image.error for image in images if image.error}
    counts = _counts(folder, readable)
    equal = _equal_images(readable)
    return FolderCheck(
        classes=folder.classes,
        counts=counts,
        shorter_side_px=_sizes(readable),
        broken=broken,
        duplicates=_names(equal, lambda labels, splits: labels == 1 and splits == 1),
        contradictions=_names(equal, lambda labels, splits: labels > 1),
        leaks=_names(equal, lambda labels, splits: splits > 1),
        left_out=folder.left_out,
        ignored=folder.ignored,
        set_aside=folder.set_aside,
        problems=_problems(folder, images, broken),
        remarks=[*folder.remarks, *_dark(readable), *imbalance_notes(counts["train"])],
    )


def _decode_all(folder: ImageFolder, progress: Progress | None) -> list[_Image]:
    images = [
        _Image(name, split, int(label))
        for split, part in folder.splits.items()
        for name, label in zip(part.names, part.labels, strict=True)
    ]
    decoded = []
    with quiet_pillow(), ThreadPoolExecutor(cpu_count()) as pool:
        for image in pool.map(lambda image: _decode(folder.root, image), images):
            decoded.append(image)
            if progress:
                progress("checking images", len(decoded), len(images))
    return decoded


def _decode(root: Path, image: _Image) -> _Image:
    try:
        decoded = decode(root / image.name)
    except UnreadableImage as error:
        return replace(image, error=error.cause)
    pixels = decoded.image
    # A digest of the pixels, not of the file: an image that was saved twice is a duplicate, too.
    content = hashlib.blake2b(f"{pixels.size}".encode() + pixels.tobytes(), digest_size=16).digest()
    highest = int(np.asarray(pixels).max())
    return replace(image, shorter_side=min(pixels.size), content=content, highest=highest, used=decoded.used)


def _counts(folder: ImageFolder, images: list[_Image]) -> dict[str, dict[str, int]]:
    counts = Counter((image.split, image.label) for image in images)
    return {split: {name: counts[split, n] for n, name in enumerate(folder.classes)} for split in folder.splits}


def _dark(images: list[_Image]) -> list[str]:
    highest = max((image.highest for image in images), default=255)
    if highest > DARK_LEVEL:
        return []
    return [f"all images are nearly black: their largest level is {highest} of 255; scale their pixels to the range"]


def _sizes(images: list[_Image]) -> dict[str, int]:
    sides = [image.shorter_side for image in images] or [0]
    return {name: int(np.quantile(sides, q)) for name, q in SIZE_QUANTILES.items()}


def _equal_images(images: list[_Image]) -> list[list[_Image]]:
    groups: dict[bytes, list[_Image]] = {}
    for image in images:
        groups.setdefault(image.content, []).append(image)
    return [group for group in groups.values() if len(group) > 1]


def _names(groups: list[list[_Image]], matches: Callable[[int, int], bool]) -> list[list[str]]:
    """Return the file names of groups whose numbers of different labels and splits match."""
    return [
        [image.name for image in group]
        for group in groups
        if matches(len({image.label for image in group}), len({image.split for image in group}))
    ]


def _problems(folder: ImageFolder, images: list[_Image], broken: dict[str, str]) -> list[str]:
    used = [image.used for image in images if image.used is not None]
    problems = [problem_with(folder, broken, len(images)), range_problem(used, len(images))]
    train = [image for image in images if image.split == "train" and not image.error]
    return [*(problem for problem in problems if problem), *_too_few(folder, train)]


def _too_few(folder: ImageFolder, train: Sequence[_Image]) -> list[str]:
    """Return problems of classes with too few different training images for the held-out splits."""
    missing = missing_splits(folder.splits)
    minimum = min_images(missing)
    labels = np.array([image.label for image in train], dtype=np.int64)
    counts = np.bincount(labels, minlength=len(folder.classes))
    usable = counts
    if missing and len(train):
        distinct = distinct_images(labels, equal_groups([image.content for image in train]))
        usable = np.bincount(labels[distinct], minlength=len(counts))
    return [
        f"class {folder.classes[label]!r} has {counts[label]} training images"
        + (f" ({usable[label]} different ones)" if usable[label] < counts[label] else "")
        + f", expected at least {minimum}: add some, or remove the class"
        for label in np.flatnonzero(usable < minimum)
    ]
