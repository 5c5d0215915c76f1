"""Named data sets: their splits, their sizes, and broken files."""

import gzip
import hashlib
import pickle
import struct
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgenas.config.sections import DataConfig
from edgenas.errors import DataError
from edgenas.training.data.dataset import Dataset, load_dataset, set_size
from edgenas.training.data.split import Split


def digits(seed: int = 0, validation: float = 0.2, limit: int | None = None) -> Dataset:
    return load_dataset(DataConfig(name="digits", validation=validation, limit=limit), seed)


def rows(split: Split) -> set[bytes]:
    return {image.numpy().tobytes() for image in split.images}


def test_the_splits_of_digits_are_disjoint_and_make_up_the_whole_set() -> None:
    from sklearn.datasets import load_digits

    dataset = digits()
    splits = (dataset.train, dataset.validation, dataset.test)
    whole = sorted((image * (255 / 16)).round().astype(np.uint8).tobytes() for image in load_digits().images)
    assert sorted(image.numpy().tobytes() for split in splits for image in split.images) == whole
    # The set has no image twice, so shared images would be shared rows.
    assert len(set(whole)) == len(whole)
    assert not rows(splits[0]) & rows(splits[1])
    assert not (rows(splits[0]) | rows(splits[1])) & rows(splits[2])


def test_digits_are_grey_uint8_of_full_range_with_their_labels() -> None:
    dataset = digits()
    for split in (dataset.train, dataset.validation, dataset.test):
        assert (split.images.dtype, split.images.shape[1:]) == (torch.uint8, (1, 8, 8))
        assert (split.labels.dtype, len(split.labels)) == (torch.int64, len(split))
        assert (int(split.images.min()), int(split.images.max())) == (0, 255)
    assert dataset.classes == tuple("0123456789")
    assert dataset.num_classes == 10


def test_splits_are_stratified() -> None:
    dataset = digits()
    shares = [split.labels.bincount() / len(split) for split in (dataset.train, dataset.validation, dataset.test)]
    for share in shares[1:]:
        assert (share - shares[0]).abs().max() < 0.006


def test_equal_seeds_give_equal_splits_and_the_test_split_does_not_depend_on_them() -> None:
    one, same, other = digits(seed=1), digits(seed=1), digits(seed=2)
    assert one.digest() == same.digest() != other.digest()
    assert not torch.equal(one.train.images, other.train.images)
    assert torch.equal(one.test.images, other.test.images)
    assert torch.equal(one.test.labels, other.test.labels)
    assert torch.equal(one.test.images, digits(validation=0.4, limit=100).test.images)


def test_sizes_without_loading_are_those_of_the_set() -> None:
    for limit in (None, 500):
        dataset, size = digits(limit=limit), set_size(DataConfig(name="digits", validation=0.2, limit=limit), 0)
        assert (size.train, size.validation, size.test) == tuple(len(split) for split in dataset.splits.values())
        assert dataset.num_classes == size.num_classes


def test_the_requested_fraction_is_held_out() -> None:
    assert len(digits(validation=0.25).validation) == pytest.approx(0.25 * 1437, abs=1)


# 131 and 206 give fractional images a class; 1145 leaves out fewer images than classes.
@pytest.mark.parametrize("limit", [10, 100, 131, 206, 1000, 1145, 1149, 5000])
def test_a_limit_gives_exactly_that_many_images_of_all_classes(limit: int) -> None:
    whole, dataset = digits(), digits(limit=limit)
    assert len(dataset.train) == min(limit, len(whole.train))
    assert len(dataset.train.labels.unique()) == 10
    assert rows(dataset.train) <= rows(whole.train)
    assert torch.equal(dataset.validation.images, whole.validation.images)


def test_head_and_take() -> None:
    split = digits().train
    assert torch.equal(split.head(5).images, split.images[:5])
    assert len(split.head(None)) == len(split)
    taken = split.take(np.array([3, 1]))
    assert torch.equal(taken.images, split.images[[3, 1]])
    assert torch.equal(taken.labels, split.labels[[3, 1]])


def test_too_few_images_to_hold_out_are_refused() -> None:
    with pytest.raises(DataError, match="cannot hold out"):
        digits(validation=0.001)


def test_digits_have_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"leave data\.path out"):
        load_dataset(DataConfig(name="digits", path=tmp_path), 0)


IMAGES = np.random.default_rng(0).integers(0, 256, (60, 28, 28)).astype(np.uint8)
LABELS = (np.arange(60) % 10).astype(np.uint8)


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_fashion(folder: Path) -> Path:
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES)))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))
    return folder


def fashion(folder: Path) -> Dataset:
    return load_dataset(DataConfig(name="fashion-mnist", path=folder, validation=0.2), 0)


def test_fashion_mnist_is_read_from_a_folder(tmp_path: Path) -> None:
    dataset = fashion(write_fashion(tmp_path))
    assert (len(dataset.train), len(dataset.validation), dataset.num_classes) == (48, 12, 10)
    assert torch.equal(dataset.test.images, torch.from_numpy(IMAGES)[:, None])
    assert torch.equal(dataset.test.labels, torch.from_numpy(LABELS.astype(np.int64)))
    for image, label in zip(dataset.train.images, dataset.train.labels, strict=True):
        (index,) = np.flatnonzero((image[0].numpy() == IMAGES).all(axis=(1, 2)))
        assert LABELS[index] == label


PACKED = gzip.compress(idx(IMAGES))
BROKEN = {
    "last byte missing": (gzip.compress(idx(IMAGES)[:-1]), "truncated"),
    "a byte too many": (gzip.compress(idx(IMAGES) + b"\0"), "by its header"),
    "sizes missing": (gzip.compress(idx(IMAGES)[:9]), "truncated"),
    "gzip torn": (PACKED[:-20], "gzipped IDX"),
    "gzip of an invalid block": (PACKED[:10] + b"\x07" + PACKED[11:], "gzipped IDX"),
    "gzip of a wrong checksum": (PACKED[:-8] + b"\0" * 4 + PACKED[-4:], "gzipped IDX"),
    "not gzipped": (idx(IMAGES), "gzipped IDX"),
    "empty": (b"", "gzipped IDX|header"),
    "labels for images": (gzip.compress(idx(LABELS)), "3-dimensional"),
    "floats": (gzip.compress(idx(IMAGES, kind=13)), "header"),
    "something else": (gzip.compress(b"PNG"), "header"),
}


@pytest.mark.parametrize(("data", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_files_are_refused_by_name(tmp_path: Path, data: bytes, message: str) -> None:
    path = write_fashion(tmp_path) / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as raised:
        fashion(tmp_path)
    assert str(path) in str(raised.value)


@given(st.integers(0, len(idx(IMAGES[:2])) - 1))
def test_no_cut_file_is_read(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    folder = write_fashion(tmp_path_factory.mktemp("fashion"))
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES[:2])[:length]))
    with pytest.raises(DataError):
        fashion(folder)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = write_fashion(tmp_path) / "train-labels-idx1-ubyte.gz"
    path.unlink()
    with pytest.raises(DataError, match=path.name):
        fashion(tmp_path)


def test_images_and_labels_must_have_equal_counts(tmp_path: Path) -> None:
    path = write_fashion(tmp_path) / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(LABELS[:59])))
    with pytest.raises(DataError, match="60 images but 59 labels"):
        fashion(tmp_path)


CIFAR_ROWS = np.random.default_rng(0).integers(0, 256, (60, 3072), dtype=np.uint8)


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Write small files of the published layout, and set their MD5 sums in torchvision."""
    import torchvision

    kind = getattr(torchvision.datasets, name)
    key, meta_key = ("labels", "label_names") if name == "CIFAR10" else ("fine_labels", "fine_label_names")
    classes = [f"class {number}" for number in range(10)]
    folder = root / kind.base_folder
    folder.mkdir(parents=True)

    def write(file: str, value: object) -> str:
        data = pickle.dumps(value)
        (folder / file).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    parts = {}
    for list_name, start in (("train_list", 0), ("test_list", 40)):
        rows = CIFAR_ROWS[start : start + (40 if start == 0 else 20)]
        pieces = np.array_split(np.arange(len(rows)), len(getattr(kind, list_name)))
        parts[list_name] = [
            [file, write(file, {"data": rows[piece], key: [int(i) % 10 for i in piece]})]
            for (file, _), piece in zip(getattr(kind, list_name), pieces, strict=True)
        ]
    meta = {**kind.meta, "md5": write(kind.meta["filename"], {meta_key: classes})}
    for attribute, value in {**parts, "meta": meta}.items():
        monkeypatch.setattr(kind, attribute, value)


@pytest.mark.parametrize(("name", "kind"), [("cifar10", "CIFAR10"), ("cifar100", "CIFAR100")])
def test_cifar_is_read_through_torchvision(
    name: Literal["cifar10", "cifar100"], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(tmp_path, monkeypatch, kind)
    dataset = load_dataset(DataConfig(name=name, path=tmp_path, validation=0.25), 0)
    assert dataset.classes == tuple(f"class {number}" for number in range(10))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 30, "validation": 10, "test": 20}
    # A row has the red plane, then the green, then the blue.
    assert torch.equal(dataset.test.tensor(), torch.from_numpy(CIFAR_ROWS[40:].reshape(20, 3, 32, 32)))
    stored = {image.numpy().tobytes() for split in (dataset.train, dataset.validation) for image in split.tensor()}
    assert stored == {row.tobytes() for row in CIFAR_ROWS[:40]}


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_tampered_cifar_file_is_never_unpickled(
    name: Literal["cifar10", "cifar100"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = name.upper()
    write_cifar(tmp_path, monkeypatch, kind)
    witness = tmp_path / "witness"
    for file in next(path for path in tmp_path.iterdir() if path.is_dir()).iterdir():
        file.write_bytes(b"cposix\nsystem\n(S'touch " + str(witness).encode() + b"'\ntR.")
    with pytest.raises(DataError, match=kind):
        load_dataset(DataConfig(name=name, path=tmp_path), 0)
    assert not witness.exists()
