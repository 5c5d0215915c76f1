"""Image files of a set, decoded at one size, so that many make a batch."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from edgenas.training.data.decoding import UnreadableImage, decode, image_size, open_image, quiet_pillow
from edgenas.training.data.splitting import Indices

BATCHES_AHEAD = 4
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Reading:
    """What reading files once has shown, by their indices.

    Attributes:
        unread: those that cannot be decoded to their end, with the cause.
        used: of those with more than 8 bits a channel, the largest level as a share of the range.
        contents: a digest of each decoded one; equal images have equal digests.
    """

    unread: dict[int, str] = field(default_factory=dict)
    used: dict[int, float] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageFiles:
    """Image files that are decoded when they are asked for: `files[indices]` is uint8 (n, 3, side, side).

    Attributes:
        root: folder of the set.
        names: paths of the files within it.
        side: size that every image gets: shorter side resized to it, centre cropped.
        workers: threads that decode; Pillow decodes outside of Python's lock.
    """

    root: Path
    names: tuple[str, ...]
    side: int
    workers: int

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        return next(self.stream([np.arange(len(self))[index if isinstance(index, slice) else index.numpy()]]))

    def subset(self, indices: Indices) -> ImageFiles:
        """The files at `indices`, in that order, still to be decoded."""
        return ImageFiles(self.root, tuple(self.names[i] for i in indices), self.side, self.workers)

    def stream(self, batches: Iterable[Indices]) -> Iterator[Tensor]:
        """Decoded batches in the order of `batches`, the next ones read ahead while one is used.

        Raises:
            DataError: a file cannot be read any more.
        """
        waiting: deque[list[Future[Tensor]]] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="images")
        try:
            for indices in batches:
                waiting.append([pool.submit(self._decode, int(index)) for index in indices])
                if len(waiting) > BATCHES_AHEAD:
                    yield _stacked(waiting.popleft(), self.side)
            while waiting:
                yield _stacked(waiting.popleft(), self.side)
        finally:
            pool.shutdown(cancel_futures=True)

    def load(self, progress: Progress | None = None) -> tuple[Tensor, Reading]:
        """Decode all files: uint8 (n, 3, side, side), and what was found. Rows of unreadable files are black."""
        images = torch.zeros((len(self), 3, self.side, self.side), dtype=torch.uint8)

        def keep(index: int, image: Tensor) -> None:
            images[index] = image

        return images, self._each(keep, progress)

    def read(self, progress: Progress | None = None) -> Reading:
        """Decode all files to their end, and keep none."""
        return self._each(lambda index, image: None, progress)

    def _each(self, use: Callable[[int, Tensor], None], progress: Progress | None) -> Reading:
        reading = Reading()

        def read(index: int) -> None:
            try:
                decoded = decode(self.root / self.names[index])
            except UnreadableImage as error:
                reading.unread[index] = error.cause
                return
            image = to_tensor(fit(decoded.image, self.side))
            reading.contents[index] = digest(image)
            if decoded.used is not None:
                reading.used[index] = decoded.used
            use(index, image)

        with quiet_pillow(), ThreadPoolExecutor(self.workers) as pool:
            for index, _ in enumerate(pool.map(read, range(len(self)))):
                if progress:
                    progress(index + 1, len(self))
        return reading

    def _decode(self, index: int) -> Tensor:
        return to_tensor(fit(open_image(self.root / self.names[index]), self.side))


def _stacked(futures: list[Future[Tensor]], side: int) -> Tensor:
    if not futures:
        return torch.empty((0, 3, side, side), dtype=torch.uint8)
    return torch.stack([future.result() for future in futures])


def fit(image: Image.Image, side: int) -> Image.Image:
    """Shorter side resized to `side` (bilinear, antialiased), centre cropped to a square."""
    short = min(image.size)
    if short != side:
        width, height = (max(side, round(length * side / short)) for length in image.size)
        # Rows first: which comes first is up to Pillow's version otherwise, and is a level apart.
        for size in ((width, image.height), (width, height)):
            image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = ((length - side) // 2 for length in image.size)
    return image.crop((left, top, left + side, top + side))


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB image as uint8 (3, h, w)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def digest(image: Tensor) -> bytes:
    """Return 16 bytes that are equal for equal images of one shape."""
    return hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest()


def image_sizes(root: Path, names: Sequence[str]) -> list[tuple[int, int]]:
    """Return width and height in pixels of upright images, from their headers; unreadable ones are left out."""
    sizes = []
    with quiet_pillow():
        for name in names:
            try:
                sizes.append(image_size(root / name))
            # Decoders raise what they like at broken headers; reading the file names the cause.
            except Exception:
                continue
    return sizes
