"""Subsets of the shared data's photographs, as class folders: so many training images a class, and all test images.

Subsets of a class count hold no `val/`: validation images are held out of the training images, as a user with few
images would have to. The whole set keeps the `val/` of its source.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SETS = ("clothing10", "trash6", "flowers5")
WHOLE = "all"


@dataclass(frozen=True)
class Subset:
    """A set with so many training images a class; `images` is a number, or `all`."""

    name: str
    images: str
    seed: int

    def folder(self, work: Path) -> Path:
        """Return the folder of its class folders."""
        return work / "images" / f"{self.name}-{self.images}-{self.seed}"


def prepare(subset: Subset, work: Path) -> Path:
    """Return the folder of a subset, made of hard links once; a class with fewer images gives all it has."""
    folder, whole = subset.folder(work), unpacked(subset.name, work)
    if folder.is_dir():
        return folder
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    if subset.images == WHOLE:
        shutil.copytree(whole, part, copy_function=os.link)
    else:
        shutil.copytree(whole / "test", part / "test", copy_function=os.link)
        _link_some(pooled(whole), part / "train", int(subset.images), subset.seed)
    part.rename(folder)
    return folder


def pooled(whole: Path) -> dict[str, list[Path]]:
    """Return the training and validation images of a whole set by class, in a fixed order."""
    classes = sorted(path.name for path in (whole / "train").iterdir())
    splits = [whole / split for split in ("train", "val") if (whole / split).is_dir()]
    return {name: sorted(path for split in splits for path in (split / name).iterdir()) for name in classes}


def _link_some(classes: dict[str, list[Path]], train: Path, count: int, seed: int) -> None:
    for number, (name, images) in enumerate(classes.items()):
        (train / name).mkdir(parents=True)
        # The first images of one order: a subset of 50 a class is part of the one of 200.
        order = np.random.default_rng((seed, number)).permutation(len(images))
        for index in order[:count]:
            os.link(images[index], train / name / images[index].name)


def unpacked(name: str, work: Path) -> Path:
    """Return the folder of a whole set, unpacked once."""
    folder = work / "images" / name
    if folder.is_dir():
        return folder
    if "EDGENAS_DATA" not in os.environ:
        raise SystemExit(f"EDGENAS_DATA is not set: it names the folder of shared data ({name}-144.tar)")
    part = work / "images" / f"{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    with tarfile.open(Path(os.environ["EDGENAS_DATA"]) / f"{name}-144.tar") as archive:
        archive.extractall(part, filter="data")
    next(path.parent for path in part.rglob("train") if path.is_dir()).rename(folder)
    shutil.rmtree(part, ignore_errors=True)
    return folder
