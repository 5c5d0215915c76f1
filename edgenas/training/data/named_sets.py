"""Named data sets: digits, Fashion-MNIST, CIFAR-10 and CIFAR-100, with their training and test images."""

from __future__ import annotations

import gzip
import pickle
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from edgenas.environment import cache_folder
from edgenas.errors import DataError
from edgenas.training.data.split import Split
from edgenas.training.data.splitting import divide

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
# A set without a test split gets one that does not depend on the seed of the run, so that runs can be compared.
TEST_SPLIT_SEED = 20
DIGITS_TEST_IMAGES = 360
NamedSet = tuple[Split, Split, tuple[str, ...]]
"""Training images, test images, and names of the classes."""


def digits(path: Path | None) -> NamedSet:
    """Return scikit-learn's 1,797 handwritten digits, 8 x 8 pixels.

    Raises:
        DataError: a path is given, but the set comes with the library.
    """
    if path is not None:
        raise DataError(f"data.path is {path}, but digits come with scikit-learn: leave data.path out")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Pixels are stored as 0..16; 255 / 16 makes them ordinary grey images.
    images = torch.from_numpy((bunch.images * (255 / 16)).round().astype(np.uint8)).unsqueeze(1)
    whole = Split(images, torch.from_numpy(bunch.target.astype(np.int64)))
    rest, test = divide(whole.labels.numpy(), DIGITS_TEST_IMAGES, TEST_SPLIT_SEED)
    return whole.take(rest), whole.take(test), tuple(str(digit) for digit in range(10))


def fashion_mnist(path: Path | None) -> NamedSet:
    """Return Fashion-MNIST (arXiv 1708.07747), 28 x 28 pixels, from `path`, Debian's package, or a download.

    Raises:
        DataError: files are missing or broken.
    """
    folder = path or (DEBIAN_FASHION_MNIST if DEBIAN_FASHION_MNIST.is_dir() else _download_fashion_mnist())
    splits = [
        Split(
            torch.from_numpy(_read_idx(folder / f"{part}-images-idx3-ubyte.gz", 3)).unsqueeze(1),
            torch.from_numpy(_read_idx(folder / f"{part}-labels-idx1-ubyte.gz", 1).astype(np.int64)),
        )
        for part in ("train", "t10k")
    ]
    for split in splits:
        if len(split.images) != len(split.labels):
            raise DataError(f"{folder}: {len(split.images)} images but {len(split.labels)} labels")
    return splits[0], splits[1], FASHION_MNIST_CLASSES


def cifar10(path: Path | None) -> NamedSet:
    """Return CIFAR-10 (Krizhevsky 2009), 32 x 32 pixels, through torchvision, from `path` or a download.

    Raises:
        DataError: files are missing, broken, or cannot be downloaded.
    """
    return _cifar("CIFAR10", path)


def cifar100(path: Path | None) -> NamedSet:
    """Return CIFAR-100 (Krizhevsky 2009), fine labels, 32 x 32 pixels, through torchvision, from `path` or a download.

    Raises:
        DataError: files are missing, broken, or cannot be downloaded.
    """
    return _cifar("CIFAR100", path)


def _cifar(name: str, path: Path | None) -> NamedSet:
    import torchvision

    if path is not None and not path.is_dir():
        raise DataError(f"data.path {path}: no such folder: expected the root folder of torchvision's {name}")
    root = path or _cache()
    kind = getattr(torchvision.datasets, name)
    try:
        # torchvision compares the MD5 sums of the files with the published ones before it unpickles them.
        parts = [kind(root, train=train, download=path is None) for train in (True, False)]
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(
            f"{name} is missing in {root} or broken, and cannot be downloaded ({error}): set data.path to the root "
            "folder of torchvision's copy, or give its images as class folders (data.name: imagefolder)"
        ) from None
    train, test = (Split(_channels_first(part.data), torch.tensor(part.targets)) for part in parts)
    return train, test, tuple(parts[0].classes)


def _channels_first(images: npt.NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _cache() -> Path:
    folder = cache_folder()
    if folder is None:
        raise DataError("there is no home folder (HOME is not set): set data.path, or XDG_CACHE_HOME for downloads")
    return Path(folder)


def _download_fashion_mnist() -> Path:
    from torchvision.datasets import FashionMNIST

    root = _cache()
    try:
        FashionMNIST(root, download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"Fashion-MNIST is not in {DEBIAN_FASHION_MNIST} and cannot be downloaded ({error}): "
            "install Debian's package dataset-fashion-mnist, or set data.path to a folder of its four .gz files"
        ) from None
    return root / "FashionMNIST" / "raw"


def _read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read an array in the IDX format of MNIST: two zero bytes, type 8 (uint8), rank, big-endian sizes, data.

    torchvision reads only decompressed files, and checks them with assertions.
    """
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: expected a gzipped IDX file ({error})") from None
    if data[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(f"{path}: expected an IDX file of {dimensions}-dimensional bytes, got header {data[:4]!r}")
    if len(data) < 4 + 4 * dimensions:
        raise DataError(f"{path}: the file is truncated inside its header")
    shape = np.frombuffer(data, ">u4", dimensions, offset=4).astype(int)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions)
    if values.size != shape.prod():
        raise DataError(
            f"{path}: expected {shape.prod()} bytes by its header, got {values.size}: the file is truncated"
        )
    return values.reshape(shape).copy()
