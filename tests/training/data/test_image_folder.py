"""Class folders: listing, splitting, loading, and errors."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgenas.config.sections import DataConfig
from edgenas.errors import DataError
from edgenas.training.data.dataset import Dataset, load_dataset, set_size
from edgenas.training.data.image_files import ImageFiles
from edgenas.training.data.image_folder import scan


def make_class(folder: Path, count: int, *, seed: int = 0, size: tuple[int, int] = (14, 12)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng((seed, *folder.name.encode(), *folder.parent.name.encode()))
    for number in range(count):
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / f"{number:03d}.png")


@pytest.fixture
def one_tree(tmp_path: Path) -> Path:
    root = tmp_path / "my images, ä"
    for name, count in (("cat", 40), ("dög, spotted", 24), ("ox", 16)):
        make_class(root / name, count)
    return root


@pytest.fixture
def split_tree(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for split, count in (("train", 20), ("val", 6), ("test", 5)):
        for name in ("a", "b"):
            make_class(root / split / name, count)
    return root


def load(root: Path, seed: int = 0, *, resolution: int = 8, **keys: object) -> Dataset:
    config = DataConfig.model_validate({"name": "imagefolder", "path": root, **keys})
    return load_dataset(config, seed, resolution=resolution)


def rows(images: torch.Tensor) -> Counter[bytes]:
    return Counter(image.numpy().tobytes() for image in images)


def test_class_folders_are_split_stratified_and_no_image_is_lost(one_tree: Path) -> None:
    dataset = load(one_tree, validation=0.25, test=0.2)
    assert dataset.classes == ("cat", "dög, spotted", "ox")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 48, "validation": 16, "test": 16}
    counts = {name: split.counts(3) for name, split in dataset.splits.items()}
    assert counts == {"train": [24, 14, 10], "validation": [8, 5, 3], "test": [8, 5, 3]}
    whole = sum((rows(split.tensor()) for split in dataset.splits.values()), Counter())
    assert len(whole) == whole.total() == 80


def test_images_keep_their_labels(one_tree: Path) -> None:
    for label, name in enumerate(("cat", "dög, spotted", "ox")):
        for number, path in enumerate(sorted((one_tree / name).iterdir())):
            Image.fromarray(np.full((9, 9, 3), 80 * label + number, np.uint8)).save(path)
    for split in load(one_tree).splits.values():
        assert (split.tensor()[:, 0, 0, 0] // 80).tolist() == split.labels.tolist()


def test_folders_of_splits_are_used_as_splits(split_tree: Path) -> None:
    counts = {name: split.counts(2) for name, split in load(split_tree).splits.items()}
    assert counts == {"train": [20, 20], "validation": [6, 6], "test": [5, 5]}


@pytest.mark.parametrize("missing", ["val", "test"])
def test_a_split_without_a_folder_is_held_out_of_train(split_tree: Path, missing: str) -> None:
    shutil.rmtree(split_tree / missing)
    dataset = load(split_tree, validation=0.2, test=0.2)
    name = {"val": "validation", "test": "test"}[missing]
    assert (len(dataset.train), len(dataset.splits[name])) == (32, 8)


def test_the_test_split_does_not_depend_on_the_seed(one_tree: Path) -> None:
    one, same, other = load(one_tree, 1), load(one_tree, 1), load(one_tree, 2)
    assert one.digest() == same.digest() != other.digest()
    assert rows(one.test.tensor()) == rows(other.test.tensor())
    assert rows(one.train.tensor()) != rows(other.train.tensor())


def test_the_order_does_not_depend_on_the_class(split_tree: Path) -> None:
    for split in load(split_tree).splits.values():
        assert len(split.head(len(split) // 2).labels.unique()) == 2


def test_a_limit_is_a_stratified_subset(one_tree: Path) -> None:
    whole, limited = load(one_tree), load(one_tree, limit=20)
    assert len(limited.train) == 20
    assert rows(limited.train.tensor()) <= rows(whole.train.tensor())
    assert limited.train.counts(3) == [10, 6, 4]
    assert torch.equal(limited.validation.tensor(), whole.validation.tensor())


def test_sizes_are_computed_without_opening_an_image(one_tree: Path, split_tree: Path) -> None:
    for root in (one_tree, split_tree):
        for keys in ({}, {"limit": 15, "validation": 0.3}):
            dataset = load(root, 3, **keys)
            size = set_size(DataConfig.model_validate({"name": "imagefolder", "path": root, **keys}), 3)
            assert (size.train, size.validation, size.test) == tuple(len(s) for s in dataset.splits.values())
            assert size.num_classes == dataset.num_classes


@pytest.mark.parametrize(("resolution", "side"), [(8, 8), (12, 12), (64, 12)])
def test_images_are_kept_at_the_smaller_of_resolution_and_their_size(
    split_tree: Path, resolution: int, side: int
) -> None:
    dataset = load(split_tree, resolution=resolution)
    assert dataset.presize == side
    assert dataset.train.tensor().shape[1:] == (3, side, side)


def test_splits_that_do_not_fit_in_memory_are_read_when_needed_and_equal(one_tree: Path) -> None:
    decoded, streamed = load(one_tree), load(one_tree, memory_mb=0)
    for name, split in streamed.splits.items():
        assert isinstance(split.images, ImageFiles)
        whole = decoded.splits[name]
        assert torch.equal(split.tensor(), whole.tensor())
        batches = list(split.batches(7))
        assert torch.equal(torch.cat([batch.tensor() for batch in batches]), whole.tensor())
        assert torch.equal(torch.cat([batch.labels for batch in batches]), whole.labels)
        assert torch.equal(split.head(5).tensor(), whole.head(5).tensor())
        indices = np.array([3, 0, 3])
        assert torch.equal(split.take(indices).tensor(), whole.take(indices).tensor())


def break_files(root: Path, count: int) -> list[str]:
    files = sorted(root.rglob("*.png"))[:count]
    for file in files:
        file.write_bytes(file.read_bytes()[:60])
    return [file.relative_to(root).as_posix() for file in files]


@pytest.mark.parametrize("memory_mb", [0, 100])
def test_under_one_percent_of_broken_images_are_left_out_and_named(tmp_path: Path, memory_mb: int) -> None:
    for name in ("a", "b"):
        make_class(tmp_path / name, 100, size=(4, 4))
    [name] = break_files(tmp_path, 1)
    dataset = load(tmp_path, memory_mb=memory_mb)
    assert dataset.broken == (name,)
    assert name in dataset.notes[0]
    assert sum(len(split) for split in dataset.splits.values()) == 199
    assert sum(len(split.tensor()) for split in dataset.splits.values()) == 199


@pytest.mark.parametrize("memory_mb", [0, 100])
def test_more_than_one_percent_of_broken_images_are_refused(one_tree: Path, memory_mb: int) -> None:
    names = break_files(one_tree, 2)
    with pytest.raises(DataError, match=r"2 of 80 images cannot be read") as caught:
        load(one_tree, memory_mb=memory_mb)
    assert all(name in str(caught.value) for name in names)


def test_known_broken_files_are_not_searched_again(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_class(tmp_path / name, 100, size=(4, 4))
    names = break_files(tmp_path, 1)
    config = DataConfig(name="imagefolder", path=tmp_path, memory_mb=0)
    labels: list[str] = []
    first = load_dataset(config, 0, resolution=8, progress=lambda label, done, total: labels.append(label))
    assert labels
    labels.clear()
    again = load_dataset(
        config, 0, resolution=8, known_unused=names, progress=lambda label, done, total: labels.append(label)
    )
    assert not labels
    assert again.digest() == first.digest()


def test_a_vanished_file_is_named_when_it_is_needed(one_tree: Path) -> None:
    dataset = load(one_tree, memory_mb=0)
    assert isinstance(dataset.train.images, ImageFiles)
    gone = dataset.train.images.names[4]
    (one_tree / gone).unlink()
    with pytest.raises(DataError, match="cannot be read"):
        dataset.train.tensor()


def other_notes(dataset: Dataset) -> list[str]:
    """Return notes other than those on few images, which all of these little sets have."""
    return [note for note in dataset.notes if "validation images: the" not in note and "classes have fewer" not in note]


def test_test_images_among_training_images_are_noted(split_tree: Path) -> None:
    assert not other_notes(load(split_tree))
    shutil.copy(split_tree / "train/a/003.png", split_tree / "test/a/copy.png")
    assert other_notes(load(split_tree)) == [
        "1 test images are also among the training images: the test accuracy is too good by them"
    ]


def test_uneven_classes_are_noted(tmp_path: Path) -> None:
    make_class(tmp_path / "common", 80)
    make_class(tmp_path / "rare", 12)
    [note] = other_notes(load(tmp_path))
    assert "'rare'" in note
    assert "'common'" in note


def test_files_that_are_no_images_are_left_out_and_noted(split_tree: Path) -> None:
    (split_tree / "train/a/notes.txt").write_text("x")
    (split_tree / "train/a/.hidden.png").write_text("x")
    (split_tree / "train/.cache").mkdir()
    (split_tree / "spare").mkdir()
    make_class(split_tree / "train/b/deeper", 1, seed=1)
    folder = scan(split_tree)
    assert folder.classes == ("a", "b")
    assert set(folder.ignored) == {"spare/", "train/a/notes.txt"}
    assert len(folder.splits["train"]) == 41
    assert folder.set_aside == {"train/a/.hidden.png": 1}
    assert len(other_notes(load(split_tree))) == 2


DAMAGES = [
    ("rm -r train/b val/b test/b", "2 or more classes, got only a/"),
    ("rm -r train/a train/b", "got none"),
    ("rm train/b/*", "train/b has no images"),
    ("rm -r val/b", r"val lacks 1 of the classes of train/ \(b\)"),
    ("mv val/b val/bb", "val has class 'bb', which train/ lacks; did you mean 'b'"),
    ("mv train lessons", "but no train/"),
    ("cp -r val valid", "has both val/ and valid/"),
    ("rm -r val; rm train/a/00[1-9].png train/a/01?.png", "class 'a' has 1, expected at least 2"),
]
"""Shell commands that damage a tree with splits, and the expected message."""


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_damaged_trees_are_refused_with_the_cause(split_tree: Path, damage: str, message: str) -> None:
    subprocess.run(damage, shell=True, cwd=split_tree, check=True)
    with pytest.raises(DataError, match=message):
        load(split_tree)


def test_split_folders_are_recognised_in_any_case(split_tree: Path) -> None:
    for name, other in (("train", "Training"), ("val", "Valid"), ("test", "TEST")):
        (split_tree / name).rename(split_tree / other)
    sizes = {name: len(split) for name, split in load(split_tree).splits.items()}
    assert sizes == {"train": 40, "validation": 12, "test": 10}


@pytest.mark.parametrize("count", [3, 4, 5, 9])
def test_a_rare_class_is_in_every_split_and_in_every_limit(tmp_path: Path, count: int) -> None:
    make_class(tmp_path / "common", 200, size=(4, 4))
    make_class(tmp_path / "rare", count, size=(4, 4))
    for limit in (None, 2, 50):
        counts = [split.counts(2)[1] for split in load(tmp_path, limit=limit).splits.values()]
        assert min(counts) >= 1
        assert sum(counts) == count or limit
    with pytest.raises(DataError, match="at least one image for each of 2 classes"):
        load(tmp_path, limit=1)


def test_names_that_are_not_utf8_are_left_out_or_refused(split_tree: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    (split_tree / f"train/a/{odd}.png").write_bytes((split_tree / "train/a/000.png").read_bytes())
    folder = scan(split_tree)
    assert folder.left_out == {"train/a/caf\\xe9.png": "its name is not UTF-8: rename it"}
    "".join(folder.left_out).encode()
    for split in ("train", "val", "test"):
        (split_tree / split / odd).mkdir()
    with pytest.raises(DataError, match="not UTF-8"):
        load(split_tree)


def test_pipes_and_loose_files_are_left_out_and_links_are_followed_once(split_tree: Path) -> None:
    os.mkfifo(split_tree / "train/a/pipe.png")
    (split_tree / "train/loose.txt").write_bytes(b"x")
    (split_tree / "train/__background__").mkdir()
    make_class(split_tree.parent / "elsewhere", 3)
    (split_tree / "train/a/linked").symlink_to(split_tree.parent / "elsewhere")
    (split_tree / "train/a/circle").symlink_to(split_tree / "train/a")
    folder = scan(split_tree)
    assert set(folder.ignored) == {"train/__background__/", "train/loose.txt"}
    assert folder.left_out == {"train/a/pipe.png": "it is not an ordinary file"}
    assert len(folder.splits["train"]) == 43


def test_a_folder_around_the_class_folders_is_suggested(split_tree: Path) -> None:
    outer = split_tree.parent / "outer"
    outer.mkdir()
    (split_tree / "train").rename(outer / "inner")
    with pytest.raises(DataError, match=r"did you mean .*inner"):
        scan(outer)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"data\.path is missing"):
        load_dataset(DataConfig(name="imagefolder"), 0)
