"""Picture files: any common kind becomes 8-bit RGB, upright, at one size, so that many make a batch.

The kit's `run.py` decodes in the very same way; a test holds the two together.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from edgenas.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".avif")
# Named, because others (EPS, PDF) would start programs on what a stranger's folder holds.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
BATCHES_AHEAD = 4
MAX_ASPECT = 50
Indices = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PictureFiles:
    """Picture files that are decoded when they are asked for: `files[indices]` is uint8 (n, 3, side, side).

    Attributes:
        root: folder of the set.
        names: paths of the files within it.
        side: size that every picture gets: shorter side resized to it, centre cropped.
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

    def subset(self, indices: Indices) -> PictureFiles:
        """The files at `indices`, in that order, still to be decoded."""
        return PictureFiles(self.root, tuple(self.names[i] for i in indices), self.side, self.workers)

    def stream(self, batches: Iterable[Indices]) -> Iterator[Tensor]:
        """Decoded batches in the order of `batches`, the next ones read ahead while one is used.

        Raises:
            DataError: a file cannot be read any more.
        """
        waiting: deque[list[Future[Tensor]]] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="pictures")
        try:
            for indices in batches:
                waiting.append([pool.submit(self._decode, int(index)) for index in indices])
                if len(waiting) > BATCHES_AHEAD:
                    yield _stacked(waiting.popleft(), self.side)
            while waiting:
                yield _stacked(waiting.popleft(), self.side)
        finally:
            pool.shutdown(cancel_futures=True)

    def load(self, progress: Progress | None = None) -> tuple[Tensor, Indices]:
        """All pictures decoded, uint8 (n, 3, side, side), and the indices of those that cannot be read.

        Rows of unreadable ones are black.
        """
        pictures = torch.zeros((len(self), 3, self.side, self.side), dtype=torch.uint8)

        def keep(index: int, picture: Tensor) -> None:
            pictures[index] = picture

        return pictures, self._each(keep, progress)

    def broken(self, progress: Progress | None = None) -> Indices:
        """Indices of the files that cannot be decoded to their end."""
        return self._each(lambda index, picture: None, progress)

    def _each(self, use: Callable[[int, Tensor], None], progress: Progress | None) -> Indices:
        def readable(index: int) -> bool:
            try:
                use(index, self._decode(index))
            except DataError:
                return False
            return True

        broken = []
        with quiet_pillow(), ThreadPoolExecutor(self.workers) as pool:
            for index, fine in enumerate(pool.map(readable, range(len(self)))):
                if not fine:
                    broken.append(index)
                if progress:
                    progress(index + 1, len(self))
        return np.array(broken, dtype=np.int64)

    def _decode(self, index: int) -> Tensor:
        return to_tensor(fit(open_picture(self.root / self.names[index]), self.side))


def _stacked(futures: list[Future[Tensor]], side: int) -> Tensor:
    if not futures:
        return torch.empty((0, 3, side, side), dtype=torch.uint8)
    return torch.stack([future.result() for future in futures])


def quiet_pillow() -> warnings.catch_warnings[None]:
    """Within this context Pillow's remarks on odd metadata are not passed on; what it cannot read, it raises."""
    return warnings.catch_warnings(action="ignore")


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def open_picture(path: Path) -> Image.Image:
    """Read a picture file whole: upright 8-bit RGB.

    Raises:
        DataError: missing, no picture, truncated, or of a kind that has no agreed range.
    """
    try:
        with Image.open(path, formats=_formats()) as picture:
            picture.load()
            return _near_square(to_rgb(picture))
    # Decoders of the many formats raise what they like at broken data.
    except Exception as error:
        raise DataError(f"{path} cannot be read as a picture: {error}") from None


def _near_square(picture: Image.Image) -> Image.Image:
    """A hair of a picture, its shorter side resized, would be millions of pixels long."""
    if max(picture.size) > MAX_ASPECT * min(picture.size):
        raise DataError(f"it has {picture.width} x {picture.height} pixels: too narrow to take a square out of")
    return picture


def to_rgb(picture: Image.Image) -> Image.Image:
    """A picture, upright by its EXIF orientation, as 8-bit RGB.

    Grey of 16 bits is scaled (Pillow's own conversion clips at 255), palette and CMYK are converted, transparent
    parts lie on white, of animations the first frame is taken.

    Raises:
        DataError: floating-point pixels, whose range nobody knows.
    """
    picture = ImageOps.exif_transpose(picture) or picture
    if picture.mode.startswith("I"):
        pixels = np.asarray(picture).astype(np.float64)
        return Image.fromarray(np.clip(np.rint(pixels / 257), 0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        raise DataError("its pixels are floating-point numbers of unknown range: save it with 8 or 16 bits")
    if "A" in picture.getbands() or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def fit(picture: Image.Image, side: int) -> Image.Image:
    """Shorter side resized to `side` (bilinear, antialiased), centre cropped to a square."""
    short = min(picture.size)
    if short != side:
        width, height = (max(side, round(length * side / short)) for length in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    left, top = ((length - side) // 2 for length in picture.size)
    return picture.crop((left, top, left + side, top + side))


def to_tensor(picture: Image.Image) -> Tensor:
    """An RGB picture as uint8 (3, h, w)."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def picture_sizes(root: Path, names: Sequence[str]) -> list[tuple[int, int]]:
    """Width and height of files, from their headers, turned as their EXIF says; unreadable ones are left out."""
    sizes = []
    with quiet_pillow():
        for name in names:
            try:
                with Image.open(root / name, formats=_formats()) as picture:
                    turned = picture.getexif().get(0x0112, 1) >= 5
                    sizes.append((picture.height, picture.width) if turned else picture.size)
            except Exception:
                continue
    return sizes
