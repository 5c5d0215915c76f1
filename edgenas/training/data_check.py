"""What is in a tree of class folders, and what is wrong with it: every picture is opened, decoded and compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.errors import DataError
from edgenas.training.data import BROKEN_SHARE, imbalance_notes
from edgenas.training.image_folder import ImageFolder, held_out, pictures_wanted, scan
from edgenas.training.pictures import cores, open_picture, quiet_pillow

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
        ignored: files and folders that are taken for no pictures.
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
    ignored: tuple[str, ...]
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
    counts = {
        split: {name: _count(readable, split, label) for label, name in enumerate(folder.classes)}
        for split in folder.splits
    }
    same = _same(readable)
    return FolderCheck(
        classes=folder.classes,
        counts=counts,
        shorter_side_px=_sizes(readable),
        broken=broken,
        duplicates=_groups(same, lambda group: _one(p.label for p in group) and _one(p.split for p in group)),
        contradictions=_groups(same, lambda group: not _one(p.label for p in group)),
        leaks=_groups(same, lambda group: not _one(p.split for p in group)),
        ignored=folder.ignored,
        problems=_problems(counts, broken, len(pictures)),
        remarks=imbalance_notes(counts["train"]),
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
        pixels = open_picture(root / picture.name)
    except DataError as error:
        return _Picture(picture.name, picture.split, picture.label, error=str(error))
    # Of the pixels, not of the file: a picture that was saved twice is a duplicate too.
    content = hashlib.blake2b(f"{pixels.size}".encode() + pixels.tobytes(), digest_size=16).digest()
    return _Picture(picture.name, picture.split, picture.label, min(pixels.size), content)


def _count(pictures: list[_Picture], split: str, label: int) -> int:
    return sum(picture.split == split and picture.label == label for picture in pictures)


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


def _problems(counts: dict[str, dict[str, int]], broken: dict[str, str], total: int) -> list[str]:
    problems = []
    if len(broken) > BROKEN_SHARE * total:
        problems.append(
            f"{len(broken)} of {total} pictures cannot be read; at most {BROKEN_SHARE:.0%} are passed over: mend or "
            "remove them"
        )
    wanted = pictures_wanted(held_out(counts))
    for name, count in counts["train"].items():
        if count < wanted:
            problems.append(
                f"class {name!r} has {count} training pictures, wanted at least {wanted}: add some, or remove the class"
            )
    return problems
