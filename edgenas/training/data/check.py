"""What is in a tree of class folders, and what is wrong with it: every picture is opened, decoded and compared."""

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
    imbalance_notes,
    pictures_wanted,
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
        counts: by split and class, how many pictures can be read.
        shorter_side_px: smallest, median and largest over all pictures.
        broken: files that cannot be read, with the reason.
        duplicates: groups of files of one split and class that show the same picture.
        contradictions: groups of files of different classes that show the same picture.
        leaks: groups of files of different splits that show the same picture.
        left_out: files that look like images and are not used, with the reason.
        ignored: files and folders that are taken for no pictures.
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
class _Picture:
    name: str
    split: str
    label: int
    shorter_side: int = 0
    content: bytes = b""
    highest: int = 0
    used: float | None = None
    error: str = ""


def check_folder(root: Path, progress: Callable[[str, int, int], None] | None = None) -> FolderCheck:
    """Open every picture of a tree of class folders.

    Raises:
        DataError: no such folder, fewer than two classes, an empty class, or splits of different classes.
    """
    folder = scan(root)
    pictures = _look(folder, progress)
    readable = [picture for picture in pictures if not picture.error]
    broken = {picture.name: picture.error for picture in pictures if picture.error}
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
        problems=_problems(folder, pictures, broken),
        remarks=[*folder.remarks, *_dark(readable), *imbalance_notes(counts["train"])],
    )


def _look(folder: ImageFolder, progress: Callable[[str, int, int], None] | None) -> list[_Picture]:
    todo = [
        _Picture(name, split, int(label))
        for split, part in folder.splits.items()
        for name, label in zip(part.names, part.labels, strict=True)
    ]
    seen = []
    with quiet_pillow(), ThreadPoolExecutor(cores()) as pool:
        for picture in pool.map(lambda picture: _opened(folder.root, picture), todo):
            seen.append(picture)
            if progress:
                progress("checking pictures", len(seen), len(todo))
    return seen


def _opened(root: Path, picture: _Picture) -> _Picture:
    try:
        decoded = decode(root / picture.name)
    except UnreadableImage as error:
        return replace(picture, error=error.cause)
    pixels = decoded.image
    # Of the pixels, not of the file: a picture that was saved twice is a duplicate too.
    content = hashlib.blake2b(f"{pixels.size}".encode() + pixels.tobytes(), digest_size=16).digest()
    highest = int(np.asarray(pixels).max())
    return replace(picture, shorter_side=min(pixels.size), content=content, highest=highest, used=decoded.used)


def _counts(folder: ImageFolder, pictures: list[_Picture]) -> dict[str, dict[str, int]]:
    found = Counter((picture.split, picture.label) for picture in pictures)
    return {split: {name: found[split, n] for n, name in enumerate(folder.classes)} for split in folder.splits}


def _dark(pictures: list[_Picture]) -> list[str]:
    highest = max((picture.highest for picture in pictures), default=255)
    if highest > DARK_LEVEL:
        return []
    return [f"all pictures are nearly black: their largest level is {highest} of 255; scale their pixels to the range"]


def _sizes(pictures: list[_Picture]) -> dict[str, int]:
    sides = [picture.shorter_side for picture in pictures] or [0]
    return {name: int(np.quantile(sides, q)) for name, q in SIZE_QUANTILES.items()}


def _same(pictures: list[_Picture]) -> list[list[_Picture]]:
    groups: dict[bytes, list[_Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.content, []).append(picture)
    return [group for group in groups.values() if len(group) > 1]


def _groups(same: list[list[_Picture]], wanted: Callable[[list[_Picture]], bool]) -> list[list[str]]:
    return [[picture.name for picture in group] for group in same if wanted(group)]


def _one(values: Iterable[object]) -> bool:
    return len(set(values)) == 1


def _problems(folder: ImageFolder, pictures: list[_Picture], broken: dict[str, str]) -> list[str]:
    used = [picture.used for picture in pictures if picture.used is not None]
    found = [problem_with(folder, broken, len(pictures)), range_problem(used, len(pictures))]
    train = [picture for picture in pictures if picture.split == "train" and not picture.error]
    return [*(problem for problem in found if problem), *_too_few(folder, train)]


def _too_few(folder: ImageFolder, train: Sequence[_Picture]) -> list[str]:
    """Classes without enough different training pictures for all the splits that are held out of them."""
    missing = held_out(folder.splits)
    wanted = pictures_wanted(missing)
    labels = np.array([picture.label for picture in train], dtype=np.int64)
    counts = np.bincount(labels, minlength=len(folder.classes))
    usable = counts
    if missing and len(train):
        distinct = distinct_images(labels, equal_groups([picture.content for picture in train]))
        usable = np.bincount(labels[distinct], minlength=len(counts))
    return [
        f"class {folder.classes[label]!r} has {counts[label]} training pictures"
        + (f" ({usable[label]} different ones)" if usable[label] < counts[label] else "")
        + f", wanted at least {wanted}: add some, or remove the class"
        for label in np.flatnonzero(usable < wanted)
    ]
