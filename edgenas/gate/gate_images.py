"""Top-1 of a bundle's file on labelled images: class folders, prepared as the manifest says, run by ONNX Runtime."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from joblib import cpu_count

from edgenas.deploy.bundle.manifest_values import ManifestError, stated
from edgenas.deploy.onnx.scoring import onnx_classes
from edgenas.errors import DataError, one_of
from edgenas.profiling.timer_rows import printable
from edgenas.progress import Progress
from edgenas.training.data.image_files import ImageFiles
from edgenas.training.data.image_folder import ImageFolder, problem_with, scan
from edgenas.training.data.preprocess import Preprocess
from edgenas.training.data.stored_range import range_problem

AT_ONCE = 512
"""Images that are in memory together."""
NAMED = 5
CONFIDENCE = 0.95
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MeasuredTop1:
    """Top-1 of a file on labelled images.

    Attributes:
        right: how many images the file gives their label.
        images: how many were read.
        ci_low: lower end of the 95 % Wilson score interval (Wilson 1927) of the share that is right.
        ci_high: its upper end.
        classes_without_images: classes of the bundle that have no folder.
        left_out: files that look like images and are not used, with the cause.
    """

    right: int
    images: int
    ci_low: float
    ci_high: float
    classes_without_images: tuple[str, ...]
    left_out: Mapping[str, str]

    @property
    def top1(self) -> float:
        """The share of images that the file gives their label."""
        return self.right / self.images


def measured_top1(root: Path, manifest: Mapping[str, Any], model: Path, progress: Progress | None) -> MeasuredTop1:
    """Run a file of a bundle on every image of a tree of class folders.

    Args:
        root: has a folder of images for each class, called as the manifest calls the class.
        manifest: manifest of the bundle, which states classes and preprocessing.
        model: the file.
        progress: called with what is being done, images done and in all.

    Raises:
        DataError: no such folder, a folder that is no class of the bundle, or over 1 % of the images are unreadable.
        ManifestError: the manifest states no classes, or no preprocessing.
        UserError: the file cannot be run.
    """
    classes, preprocess = stated(manifest, tuple[str, ...], "classes"), stated_preprocess(manifest)
    folder = scan(root)
    if not _is_of_classes(folder):
        raise DataError(f"{root} holds splits, not classes: name the folder of one of them, {root / 'test'}, say")
    labels = _labels(folder, classes)
    files = ImageFiles(root, folder.splits["train"].names, preprocess.presize or preprocess.shorter, cpu_count())
    right, unread, used = _score(files, labels, model, preprocess, progress)
    if problem := problem_with(folder, unread, len(files)) or range_problem(used, len(files)):
        raise DataError(f"{root}: {problem}; `edgenas data check {root}` lists all")
    count = len(files) - len(unread)
    missing = tuple(name for label, name in enumerate(classes) if label not in labels)
    return MeasuredTop1(right, count, *wilson_interval(right, count), missing, {**folder.left_out, **unread})


def _score(
    files: ImageFiles, labels: Labels, model: Path, preprocess: Preprocess, progress: Progress | None
) -> tuple[int, dict[str, str], list[float]]:
    """Return how many labels the file predicts, unreadable images with the cause, and `range_problem`'s levels."""
    right, unread, used = 0, dict[str, str](), list[float]()
    for start in range(0, len(files), AT_ONCE):
        part = np.arange(start, min(start + AT_ONCE, len(files)))
        images, reading = files.subset(part).load()
        good = np.setdiff1d(np.arange(len(part)), list(reading.unread))
        if len(good):
            predicted = onnx_classes(model, images[torch.from_numpy(good)], preprocess).numpy()
            right += int((predicted == labels[part[good]]).sum())
        unread |= {files.names[part[index]]: cause for index, cause in reading.unread.items()}
        used += reading.used.values()
        if progress:
            progress("scoring images", start + len(part), len(files))
    return right, unread, used


def stated_preprocess(manifest: Mapping[str, Any]) -> Preprocess:
    """Return how images become inputs, as a manifest states it.

    Raises:
        ManifestError: it does not, or in a way that makes no sense.
    """
    preprocess = stated(manifest, Preprocess, "preprocess")
    sides = [side for side in (preprocess.size, preprocess.presize) if side is not None]
    if min(sides) < 1 or min(preprocess.std) <= 0 or not 0 < preprocess.crop <= 1:
        raise ManifestError(f"manifest.json: preprocess makes no sense: {preprocess}")
    return preprocess


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share: `right` of `count`."""
    from scipy.stats import binomtest

    interval = binomtest(right, count).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def _is_of_classes(folder: ImageFolder) -> bool:
    """Return whether a folder's own sub-folders are the classes, not those of splits inside it."""
    part = folder.splits["train"]
    tops = (name.partition("/")[0] for name in part.names)
    return len(folder.splits) == 1 and all(
        top == folder.classes[label] for top, label in zip(tops, part.labels, strict=True)
    )


def _labels(folder: ImageFolder, classes: Sequence[str]) -> Labels:
    """Return the label of every image in the bundle's order of classes.

    File systems write accented letters in two ways; names are compared in one.
    """
    by_name = {unicodedata.normalize("NFC", name): label for label, name in enumerate(classes)}
    labels = [by_name.get(unicodedata.normalize("NFC", name), -1) for name in folder.classes]
    extra = [name for name, label in zip(folder.classes, labels, strict=True) if label < 0]
    if extra:
        more = f" and {len(extra) - NAMED} more" if len(extra) > NAMED else ""
        raise DataError(
            f"{folder.root}: {', '.join(map(repr, extra[:NAMED]))}{more} is no class of the bundle; "
            f"{one_of(extra[0], [printable(name) for name in classes])}: rename the folder, or move it away"
        )
    return np.array(labels, dtype=np.int64)[folder.splits["train"].labels]
