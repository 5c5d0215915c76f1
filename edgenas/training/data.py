"""Pictures and labels, in three splits: train, validation (held out of train; all choices see it), test.

Small sets are decoded once and kept as uint8.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgenas.config import DataConfig
from edgenas.errors import DataError

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
# The test split of a set that brings none must not move with the run's seed, or runs could not be compared.
TEST_SPLIT_SEED = 20
DIGITS_TEST_PICTURES = 360


@dataclass(frozen=True)
class SetSize:
    """Pictures of a set before validation is held out, known without loading it."""

    train: int
    test: int
    num_classes: int


SET_SIZES = {"digits": SetSize(1437, 360, 10), "fashion-mnist": SetSize(60_000, 10_000, 10)}


@dataclass(frozen=True)
class Split:
    """Pictures uint8 (n, 1 or 3, h, w) and labels int64 (n,)."""

    pictures: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: npt.NDArray[np.int64]) -> Split:
        """The pictures at `indices`, in that order."""
        chosen = torch.from_numpy(indices)
        return Split(self.pictures[chosen], self.labels[chosen])

    def head(self, count: int | None) -> Split:
        """The first `count` pictures (all, if None). Splits are shuffled, so this is a fair sample."""
        return Split(self.pictures[:count], self.labels[:count])


@dataclass(frozen=True)
class Dataset:
    """A classification set in three splits."""

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    def digest(self) -> str:
        """SHA-256 over pictures and labels of all splits, in order: equal digests mean equal splits."""
        total = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            total.update(split.pictures.numpy().tobytes())
            total.update(split.labels.numpy().tobytes())
        return total.hexdigest()


def load_dataset(config: DataConfig, seed: int) -> Dataset:
    """Load a set and split it, stratified, by `seed`.

    Raises:
        DataError: its files are missing or broken, or too few for the splits asked for.
    """
    loaders = {"digits": _digits, "fashion-mnist": _fashion_mnist}
    whole, test, classes = loaders[config.name](config.path)
    train, validation = _split(whole, round(config.validation * len(whole)), seed)
    if config.limit is not None and config.limit < len(train):
        train = _limit(train, config.limit, seed)
    return Dataset(config.name, classes, train, validation, test)


def _split(split: Split, held_out: int, seed: int) -> tuple[Split, Split]:
    """Two shuffled, stratified parts; the second holds `held_out` pictures.

    Raises:
        DataError: a part would be too small to hold every class.
    """
    from sklearn.model_selection import train_test_split

    try:
        kept, held = train_test_split(
            np.arange(len(split)), test_size=held_out, random_state=seed, stratify=split.labels.numpy()
        )
    except ValueError as error:
        raise DataError(
            f"cannot hold out {held_out} of {len(split)} pictures ({error}): change data.validation or data.limit"
        ) from None
    return split.take(kept), split.take(held)


def _limit(split: Split, count: int, seed: int) -> Split:
    """A fixed, stratified subset of `count` pictures."""
    left_out = len(split) - count
    # Too few to hold every class cannot be stratified; but then hardly anything is left out of a shuffled split.
    if left_out < len(torch.unique(split.labels)):
        return split.head(count)
    return _split(split, left_out, seed)[0]


def _digits(path: Path | None) -> tuple[Split, Split, tuple[str, ...]]:
    if path is not None:
        raise DataError(f"data.path is {path}, but digits come with scikit-learn: leave data.path out")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Stored as 0..16; 255 / 16 makes them ordinary grey pictures.
    pictures = torch.from_numpy((bunch.images * (255 / 16)).round().astype(np.uint8)).unsqueeze(1)
    whole = Split(pictures, torch.from_numpy(bunch.target.astype(np.int64)))
    rest, test = _split(whole, DIGITS_TEST_PICTURES, TEST_SPLIT_SEED)
    return rest, test, tuple(str(digit) for digit in range(10))


def _fashion_mnist(path: Path | None) -> tuple[Split, Split, tuple[str, ...]]:
    folder = path or (DEBIAN_FASHION_MNIST if DEBIAN_FASHION_MNIST.is_dir() else _download_fashion_mnist())
    splits = [
        Split(
            torch.from_numpy(_read_idx(folder / f"{part}-images-idx3-ubyte.gz", 3)).unsqueeze(1),
            torch.from_numpy(_read_idx(folder / f"{part}-labels-idx1-ubyte.gz", 1).astype(np.int64)),
        )
        for part in ("train", "t10k")
    ]
    for split in splits:
        if len(split.pictures) != len(split.labels):
            raise DataError(f"{folder}: {len(split.pictures)} pictures but {len(split.labels)} labels")
    return splits[0], splits[1], FASHION_MNIST_CLASSES


def _download_fashion_mnist() -> Path:
    from torchvision.datasets import FashionMNIST

    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edgenas"
    try:
        FashionMNIST(root, download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"Fashion-MNIST is not in {DEBIAN_FASHION_MNIST} and cannot be downloaded ({error}): "
            "install Debian's package dataset-fashion-mnist, or set data.path to a folder of its four .gz files"
        ) from None
    return root / "FashionMNIST" / "raw"


def _read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """An array in the IDX format of MNIST: two zero bytes, type 8 (uint8), rank, big-endian sizes, data."""
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: wanted a gzipped IDX file ({error})") from None
    if data[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(f"{path}: wanted an IDX file of {dimensions}-dimensional bytes, got header {data[:4]!r}")
    if len(data) < 4 + 4 * dimensions:
        raise DataError(f"{path}: the file is truncated inside its header")
    shape = np.frombuffer(data, ">u4", dimensions, offset=4).astype(int)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions)
    if values.size != shape.prod():
        raise DataError(f"{path}: header announces {shape.prod()} bytes, got {values.size}: the file is truncated")
    return values.reshape(shape).copy()
