"""One split of a data set: images with their labels."""

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
    """Images and labels.

    Attributes:
        images: decoded images, uint8 (n, 1 or 3, h, w), or files, whose slices are decoded images.
        labels: int64 (n,).
    """

    images: Tensor | ImageFiles
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def tensor(self) -> Tensor:
        """Return all images decoded, uint8 (n, 1 or 3, h, w)."""
        return self.images[:]

    def take(self, indices: Indices) -> Split:
        """Return the images at `indices`, in that order, decoded."""
        chosen = torch.from_numpy(indices)
        return Split(self.images[chosen], self.labels[chosen])

    def head(self, count: int | None) -> Split:
        """Return the first `count` images (None for all), a fair sample since splits are shuffled."""
        if isinstance(self.images, ImageFiles):
            first = np.arange(len(self))[:count]
            return Split(self.images.subset(first), self.labels[:count])
        return Split(self.images[:count], self.labels[:count])

    def stream(self, batches: Iterable[Indices]) -> Iterator[Split]:
        """Yield `take` for each batch; files are read ahead.

        Raises:
            DataError: a file can no longer be read.
        """
        if not isinstance(self.images, ImageFiles):
            yield from map(self.take, batches)
            return
        ahead, labelled = itertools.tee(batches)
        for images, indices in zip(self.images.stream(ahead), labelled, strict=True):
            yield Split(images, self.labels[torch.from_numpy(indices)])

    def batches(self, size: int) -> Iterator[Split]:
        """Yield the whole split in order, `size` images at a time, decoded."""
        return self.stream(np.split(np.arange(len(self)), range(size, len(self), size)))

    def counts(self, num_classes: int) -> list[int]:
        """Return the number of images of every class."""
        return torch.bincount(self.labels, minlength=num_classes).tolist()

    def update(self, digest: hashlib._Hash) -> None:
        """Add images and labels to a digest; for files that are not decoded, their names and sizes."""
        if isinstance(self.images, ImageFiles):
            for name in self.images.names:
                digest.update(f"{name}\0{(self.images.root / name).stat().st_size}\0".encode())
        else:
            digest.update(self.images.numpy().tobytes())
        digest.update(self.labels.numpy().tobytes())
