"""Notes to the user about a data set, in sentences."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from edgenas.errors import shortened
from edgenas.training.data.image_folder import ImageFolder
from edgenas.training.data.listing import causes_text

IMBALANCE = 3.0
"""Ratio of the largest to the smallest class above which classes are called unequal."""
FEW_A_CLASS, FEW_VALIDATION = 20, 300
"""Training images a class, and validation images, below which there is a note on what to expect."""
TYPICAL_TOP1 = 0.8
"""The top-1 for which a note states the sampling error."""


def is_unequal(counts: Collection[int]) -> bool:
    """Return whether the largest class has more than `IMBALANCE` times the images of the smallest."""
    return max(counts) > IMBALANCE * min(counts)


def imbalance_notes(counts: Mapping[str, int]) -> list[str]:
    """Return a note on classes of very uneven size, if they are; `counts` are training images by class."""
    low, high = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if not is_unequal(counts.values()):
        return []
    return [
        f"class sizes are uneven: {counts[low]} training images of {low!r}, {counts[high]} of {high!r}; top-1 is an "
        "average over images, so large classes weigh more; the report states the mean of the classes as well"
    ]


def few_image_notes(counts: Mapping[str, int], validation: int) -> list[str]:
    """Return notes on what to expect of few training images a class, and of few validation images.

    Args:
        counts: training images by class.
        validation: number of validation images.
    """
    notes, few = [], [name for name, count in counts.items() if count < FEW_A_CLASS]
    if few:
        fewest = min(few, key=counts.__getitem__)
        notes.append(
            f"{len(few)} of {len(counts)} classes have fewer than {FEW_A_CLASS} training images ({counts[fewest]} of "
            f"{fewest!r}): start from a pretrained network (space: auto), expect accuracies that change by several "
            "points with the images that happen to be in train, and add images to these classes first"
        )
    if validation < FEW_VALIDATION:
        error = 100 * (TYPICAL_TOP1 * (1 - TYPICAL_TOP1) / validation) ** 0.5
        notes.append(
            f"{validation} validation images: the sampling error of a top-1 of {TYPICAL_TOP1:.0%} is about "
            f"±{error:.1f} points, so only larger differences distinguish networks"
        )
    return notes


def equality_notes(equal: int, copies: Sequence[str]) -> list[str]:
    """Return notes on equal images that were kept in one split, and on copies that were left out."""
    notes = []
    if equal:
        notes.append(f"{equal} images have an equal one; equal images are kept on one side of a split")
    if copies:
        notes.append(
            f"{len(copies)} images held out of train are also in another split, saved in another format, and are left "
            f"out: {shortened(sorted(copies))}"
        )
    return notes


def file_notes(folder: ImageFolder, unread: Mapping[str, str]) -> list[str]:
    """Return notes on files that are left out; `unread` are images that cannot be decoded, with the cause."""
    notes = [*folder.remarks]
    if unread:
        notes.append(f"{len(unread)} images cannot be read and are left out: {causes_text(unread)}")
    if folder.left_out:
        notes.append(f"{len(folder.left_out)} files look like images and are left out: {causes_text(folder.left_out)}")
    if folder.ignored:
        notes.append(f"{len(folder.ignored)} files or folders are no images and are left out: {folder.ignored[0]}")
    if folder.set_aside:
        notes.append(
            f"{sum(folder.set_aside.values())} images that are hidden or in folders of tools (thumbnails, recycle "
            f"bins) are left out: {shortened(folder.set_aside)}"
        )
    return notes


def leak_notes(contents: Mapping[str, Collection[bytes]], missing: Sequence[str]) -> list[str]:
    """Return notes on validation and test images that are also training images; held-out splits have none.

    Args:
        contents: digests of the images of each split.
        missing: splits that are held out of train.
    """
    notes, seen = [], set(contents["train"])
    for name in ("validation", "test"):
        shared = sum(content in seen for content in contents[name])
        if shared and name not in missing:
            notes.append(
                f"{shared} {name} images are also among the training images: the {name} accuracy is too good by them"
            )
        seen |= set(contents[name])
    return notes
