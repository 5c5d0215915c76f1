"""One split of a set: images with their labels."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgenas.training.data.image_files import ImageFiles
from edgenas.training.data.splitting import Indices


@dataclass(frozen=True)
class Split:
    """Images and labels int64 (n,).

    Images are decoded, uint8 (n, 1 or 3, h, w), or files; slices and index tensors of either are decoded.
    """

    images: Tensor | ImageFiles
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def tensor(self) -> Tensor:
        """All images, decoded: uint8 (n, 1 or 3, h, w)."""
        return self.images[:]

    def take(self, indices: Indices) -> Split:
        """The images at `indices`, in that order, decoded."""
        chosen = torch.from_numpy(indices)
        return Split(self.images[chosen], self.labels[chosen])

    def head(self, count: int | None) -> Split:
        """The first `count` images (all, if None). Splits are shuffled, so this is a fair sample."""
        if isinstance(self.images, ImageFiles):
            first = np.arange(len(self))[:count]
            return Split(self.images.subset(first), self.labels[:count])
        return Split(self.images[:count], self.labels[:count])

    def stream(self, batches: Iterable[Indices]) -> Iterator[Split]:
        """`take` for one batch after another; files are read ahead.

        Raises:
            DataError: a file cannot be read any more.
        """
        if not isinstance(self.images, ImageFiles):
            yield from map(self.take, batches)
            return
        ahead, labelled = itertools.tee(batches)
        for images, indices in zip(self.images.stream(ahead), labelled, strict=True):
            yield Split(images, self.labels[torch.from_numpy(indices)])

    def batches(self, size: int) -> Iterator[Split]:
        """The whole split in order, `size` images at a time, decoded."""
        return self.stream(np.split(np.arange(len(self)), range(size, len(self), size)))

    def counts(self, num_classes: int) -> list[int]:
        """Images of every class."""
        return torch.bincount(self.labels, minlength=num_classes).tolist()

    def update(self, digest: hashlib._Hash) -> None:
        """Add all that makes this split what it is; of files that are not decoded, their names and sizes."""
        if isinstance(self.images, ImageFiles):
            for name in self.images.names:
                digest.update(f"{name}\0{(self.images.root / name).stat().st_size}\0".encode())
        else:
            digest.update(self.images.numpy().tobytes())
        digest.update(self.labels.numpy().tobytes())
