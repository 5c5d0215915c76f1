"""Image files of a data set, decoded at one size for batches."""

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

from edgenas.progress import StepProgress
from edgenas.training.data.decoding import UnreadableImage, decode, image_size, open_image, quiet_pillow
from edgenas.training.data.splitting import Indices

BATCHES_AHEAD = 4


@dataclass(frozen=True)
class Reading:
    """The findings of reading files once, by the index of the file.

    Attributes:
        unread: causes, for files that cannot be decoded completely.
        used: largest level as a fraction of the range, for images with more than 8 bits a channel.
        contents: digests of decoded images; equal images have equal digests.
    """

    unread: dict[int, str] = field(default_factory=dict)
    used: dict[int, float] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageFiles:
    """Image files that are decoded when needed: `files[indices]` is uint8 (n, 3, side, side).

    Attributes:
        root: folder of the set.
        names: paths of the files within it.
        side: size in pixels of every image: the shorter side is resized to it, and the centre is cropped.
        workers: threads that decode; Pillow releases Python's lock.
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
        """Return the files at `indices`, in that order, not decoded."""
        return ImageFiles(self.root, tuple(self.names[i] for i in indices), self.side, self.workers)

    def stream(self, batches: Iterable[Indices]) -> Iterator[Tensor]:
        """Yield decoded batches in the order of `batches`, reading the next ones ahead.

        Raises:
            DataError: a file can no longer be read.
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

    def load(self, progress: StepProgress | None = None) -> tuple[Tensor, Reading]:
        """Decode all files; return uint8 (n, 3, side, side), black for unreadable files, and the findings."""
        images = torch.zeros((len(self), 3, self.side, self.side), dtype=torch.uint8)
        return images, self._decode_all(images.__setitem__, progress)

    def read(self, progress: StepProgress | None = None) -> Reading:
        """Decode all files completely, without keeping the images; return the findings."""
        return self._decode_all(lambda index, image: None, progress)

    def _decode_all(self, use: Callable[[int, Tensor], None], progress: StepProgress | None) -> Reading:
        reading = Reading()

        def decode_one(index: int) -> None:
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
            for index, _ in enumerate(pool.map(decode_one, range(len(self)))):
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
    """Resize the shorter side to `side` (bilinear, antialiased), and crop the centre to a square."""
    short = min(image.size)
    if short != side:
        width, height = (max(side, round(length * side / short)) for length in image.size)
        # Rows first: otherwise the order depends on Pillow's version and changes pixels by one level.
        for size in ((width, image.height), (width, height)):
            image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = ((length - side) // 2 for length in image.size)
    return image.crop((left, top, left + side, top + side))


def to_tensor(image: Image.Image) -> Tensor:
    """Convert an RGB image to uint8 (3, h, w)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def digest(image: Tensor) -> bytes:
    """Return a digest of 16 bytes, equal for equal images of one shape."""
    return hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest()


def image_sizes(root: Path, names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the width and height in pixels of upright images from their headers, without unreadable ones."""
    sizes = []
    with quiet_pillow():
        for name in names:
            try:
                sizes.append(image_size(root / name))
            # Decoders raise errors of any type at broken headers; decoding the file gives the cause.
            except Exception:
                continue
    return sizes
