"""One split of a set: pictures with their labels; and how a whole is divided, stratified."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgenas.errors import DataError
from edgenas.training.pictures import Indices, PictureFiles


@dataclass(frozen=True)
class Split:
    """Pictures and labels int64 (n,).

    Pictures are decoded, uint8 (n, 1 or 3, h, w), or files; slices and index tensors of either are decoded.
    """

    pictures: Tensor | PictureFiles
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def tensor(self) -> Tensor:
        """All pictures, decoded: uint8 (n, 1 or 3, h, w)."""
        return self.pictures[:]

    def take(self, indices: Indices) -> Split:
        """The pictures at `indices`, in that order, decoded."""
        chosen = torch.from_numpy(indices)
        return Split(self.pictures[chosen], self.labels[chosen])

    def head(self, count: int | None) -> Split:
        """The first `count` pictures (all, if None). Splits are shuffled, so this is a fair sample."""
        if isinstance(self.pictures, PictureFiles):
            first = np.arange(len(self))[:count]
            return Split(self.pictures.subset(first), self.labels[:count])
        return Split(self.pictures[:count], self.labels[:count])

    def stream(self, batches: Iterable[Indices]) -> Iterator[Split]:
        """`take` for one batch after another; files are read ahead.

        Raises:
            DataError: a file cannot be read any more.
        """
        if not isinstance(self.pictures, PictureFiles):
            yield from map(self.take, batches)
            return
        ahead, labelled = itertools.tee(batches)
        for pictures, indices in zip(self.pictures.stream(ahead), labelled, strict=True):
            yield Split(pictures, self.labels[torch.from_numpy(indices)])

    def batches(self, size: int) -> Iterator[Split]:
        """The whole split in order, `size` pictures at a time, decoded."""
        return self.stream(np.split(np.arange(len(self)), range(size, len(self), size)))

    def counts(self, num_classes: int) -> list[int]:
        """Pictures of every class."""
        return torch.bincount(self.labels, minlength=num_classes).tolist()

    def update(self, digest: hashlib._Hash) -> None:
        """Add all that makes this split what it is; of files that are not decoded, their names and sizes."""
        if isinstance(self.pictures, PictureFiles):
            for name in self.pictures.names:
                digest.update(f"{name}\0{(self.pictures.root / name).stat().st_size}\0".encode())
        else:
            digest.update(self.pictures.numpy().tobytes())
        digest.update(self.labels.numpy().tobytes())


def divide(labels: npt.NDArray[np.int64], held_out: int, seed: int) -> tuple[Indices, Indices]:
    """Indices of two shuffled, stratified parts; the second holds `held_out` pictures.

    Raises:
        DataError: a part would be too small to hold every class.
    """
    from sklearn.model_selection import train_test_split

    try:
        kept, held = train_test_split(np.arange(len(labels)), test_size=held_out, random_state=seed, stratify=labels)
    except ValueError as error:
        raise DataError(
            f"cannot hold out {held_out} of {len(labels)} pictures ({error}): change data.validation or data.limit"
        ) from None
    return kept, held


def hold_out(labels: npt.NDArray[np.int64], held_out: int, seed: int, *, keep: int = 1) -> tuple[Indices, Indices]:
    """Indices of two shuffled, stratified parts, the second of about `held_out` pictures.

    Every class has at least one picture in the second and `keep` in the first, so a class needs `keep + 1`.
    """
    counts = np.bincount(labels)
    quota = _quota(counts, held_out, np.ones_like(counts), counts - keep)
    order = np.random.default_rng(seed).permutation(len(labels))
    # The place of each picture among those of its class, in the shuffled order.
    place = np.empty(len(labels), dtype=np.int64)
    for label in range(len(counts)):
        own = labels[order] == label
        place[order[own]] = np.arange(own.sum())
    held = place < quota[labels]
    return order[~held[order]], order[held[order]]


def _quota(counts: Indices, total: int, low: Indices, high: Indices) -> Indices:
    """Whole shares of `total`, in proportion to `counts`, within bounds; the largest remainders are rounded up."""
    exact = counts * total / counts.sum()
    quota: Indices = np.clip(np.floor(exact).astype(np.int64), low, high)
    while quota.sum() < min(total, high.sum()):
        quota[np.argmax(np.where(quota < high, exact - quota, -np.inf))] += 1
    while quota.sum() > max(total, low.sum()):
        quota[np.argmin(np.where(quota > low, exact - quota, np.inf))] -= 1
    return quota


def limited(labels: npt.NDArray[np.int64], count: int | None, seed: int) -> Indices:
    """Indices of a fixed, stratified subset of `count` pictures; all of them, if None or more than there are."""
    if count is None or count >= len(labels):
        return np.arange(len(labels))
    left_out = len(labels) - count
    # Too few to hold every class cannot be stratified; but then hardly anything is left out of a shuffled split.
    if left_out < len(np.unique(labels)):
        return np.arange(count)
    return divide(labels, left_out, seed)[0]
