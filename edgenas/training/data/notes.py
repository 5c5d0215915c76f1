"""Notes to the user about a data set, in sentences."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from edgenas.errors import shortened
from edgenas.training.data.image_folder import ImageFolder
from edgenas.training.data.listing import causes_text

IMBALANCE = 3.0
"""Ratio of the largest to the smallest class above which there is a note."""


def imbalance_notes(counts: Mapping[str, int]) -> list[str]:
    """Return a note on classes of very uneven size, if they are; `counts` are training images by class."""
    low, high = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[high] <= IMBALANCE * counts[low]:
        return []
    return [
        f"class sizes are uneven: {counts[low]} training images of {low!r}, {counts[high]} of {high!r}; top-1 is an "
        "average over images, so large classes weigh more"
    ]


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
