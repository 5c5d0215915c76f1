"""One split of a set: pictures with their labels."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgenas.training.data.image_files import PictureFiles
from edgenas.training.data.splitting import Indices


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
