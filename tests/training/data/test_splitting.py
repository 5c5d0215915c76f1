"""Division into splits: equal images are in one split, and every class is in all."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from user_images import draw_class

from edgenas.config.sections import DataConfig
from edgenas.errors import DataError
from edgenas.training.data import dataset as dataset_module
from edgenas.training.data.dataset import Dataset, load_dataset, set_size
from edgenas.training.data.equal_files import equal_files
from edgenas.training.data.split import Split
from edgenas.training.data.splitting import distinct_images, equal_groups, exchange_copies, hold_out


@st.composite
def labelled(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels, and for each image the index of the first one with equal content."""
    contents = draw(st.lists(st.integers(0, 30), min_size=8, max_size=80))
    wrong = draw(st.sets(st.integers(0, 30), max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    labels = [int(rng.integers(3)) if content in wrong else content % 3 for content in contents]
    return np.array(labels), equal_groups([bytes([content]) for content in contents])


@given(labelled(), st.floats(0.05, 0.5), st.integers(0, 3), st.integers(1, 2))
def test_no_image_is_in_both_parts_and_every_class_is(
    case: tuple[np.ndarray, np.ndarray], share: float, seed: int, keep: int
) -> None:
    labels, copies = case
    distinct = np.bincount(labels[distinct_images(labels, copies)], minlength=labels.max() + 1)
    assume((distinct > keep).all())
    kept, held = hold_out(labels, round(share * len(labels)), seed, keep=keep, copies=copies)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert not set(copies[kept]) & set(copies[held])
    assert set(labels[held]) == set(labels)
    usable = distinct_images(labels, copies)
    assert (np.bincount(labels[[i for i in kept if usable[i]]], minlength=len(distinct)) >= keep).all()
    # Images in two classes are not held out.
    assert all(len(set(labels[copies == copies[i]])) == 1 for i in held)


def test_without_copies_a_split_has_the_requested_size() -> None:
    labels = np.repeat([0, 1], [60, 40])
    kept, held = hold_out(labels, 20, 0, copies=np.arange(100))
    assert np.array_equal(held, hold_out(labels, 20, 0)[1])
    assert np.bincount(labels[held]).tolist() == [12, 8]
    assert len(kept) == 80


def test_unique_images_are_held_out_first() -> None:
    labels = np.zeros(30, dtype=np.int64)
    # 20 copies of a placeholder, and ten images.
    copies = np.array([0] * 20 + list(range(20, 30)))
    for seed in range(5):
        _, held = hold_out(labels, 6, seed, copies=copies)
        assert len(held) == 6
        assert held.min() >= 20


@given(st.lists(st.integers(0, 12), min_size=10, max_size=60), st.integers(0, 5))
def test_exchanging_copies_preserves_sizes_and_classes(contents: list[int], seed: int) -> None:
    copies = equal_groups([bytes([content]) for content in contents])
    labels = np.array(contents) % 2
    order = np.random.default_rng(seed).permutation(len(contents))
    kept, held = exchange_copies(order[4:], order[:4], labels, copies)
    assert sorted([*kept, *held]) == list(range(len(contents)))
    assert not set(copies[kept]) & set(copies[held])
    if len(held) == 4:
        assert sorted(labels[held]) == sorted(labels[order[:4]])


def test_files_with_equal_bytes_are_equal(tmp_path: Path) -> None:
    image = b"\xff\xd8\xff" + b"a" * 5000
    contents = [image, image, image[:3] + b"b" + image[4:], b"", b"c", image, b"c", b""]
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
    names = [*map(str, range(len(contents))), "gone"]
    assert equal_files(tmp_path, names).tolist() == [0, 0, 2, 3, 4, 0, 6, 7, 8]


def load(root: Path, **keys: object) -> Dataset:
    config = DataConfig.model_validate({"name": "imagefolder", "path": root, "validation": 0.3, "test": 0.2, **keys})
    return load_dataset(config, 1, resolution=8)


def contents_of(dataset: Dataset) -> dict[str, set[bytes]]:
    return {name: {image.numpy().tobytes() for image in split.tensor()} for name, split in dataset.splits.items()}


@pytest.mark.parametrize("memory_mb", [0, 100])
def test_copied_files_are_in_one_split_and_counted(memory_mb: int, tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw_class(tmp_path / name, 30)
        for path in sorted((tmp_path / name).iterdir())[:20]:
            shutil.copy(path, path.with_name(f"copy of {path.name}"))
    dataset = load(tmp_path, memory_mb=memory_mb)
    train, validation, test = contents_of(dataset).values()
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert dataset.equal == 80
    assert not dataset.copies
    assert sum(map(len, dataset.splits.values())) == 100
    assert any(note.startswith("80 images have an equal one") for note in dataset.notes)
    size = set_size(
        DataConfig.model_validate({"name": "imagefolder", "path": tmp_path, "validation": 0.3, "test": 0.2}), 1
    )
    assert (size.train, size.validation, size.test) == tuple(map(len, dataset.splits.values()))


@pytest.mark.parametrize("memory_mb", [0, 100])
def test_images_saved_in_another_format_are_in_one_split(memory_mb: int, tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw_class(tmp_path / name, 30)
        for path in sorted((tmp_path / name).iterdir())[:12]:
            Image.open(path).save(path.with_suffix(".bmp"))
    dataset = load(tmp_path, memory_mb=memory_mb)
    train, validation, test = contents_of(dataset).values()
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert dataset.copies
    assert any(
        f"{len(dataset.copies)} images held out of train are also in another split" in note for note in dataset.notes
    )
    again = load_dataset(
        DataConfig.model_validate(
            {"name": "imagefolder", "path": tmp_path, "validation": 0.3, "test": 0.2, "memory_mb": memory_mb}
        ),
        1,
        resolution=8,
        known_unused=[*dataset.broken, *dataset.copies],
    )
    assert again.digest() == dataset.digest()


def test_a_class_of_copies_of_one_image_cannot_be_divided(tmp_path: Path) -> None:
    draw_class(tmp_path / "a", 30)
    draw_class(tmp_path / "b", 1)
    for number in range(20):
        shutil.copy(tmp_path / "b" / "000.png", tmp_path / "b" / f"again {number}.png")
    with pytest.raises(DataError, match=r"'b' has 21 \(1 different ones\), expected at least 3"):
        load(tmp_path)


def test_a_class_of_equal_files_that_are_no_images_is_refused_with_the_cause(tmp_path: Path) -> None:
    draw_class(tmp_path / "a", 20)
    draw_class(tmp_path / "b", 20)
    for path in (tmp_path / "b").iterdir():
        path.write_bytes(b"<html>403 Forbidden</html>")
    with pytest.raises(DataError, match=r"20 of 40 images .* b/000\.png.* and 17 more: it is a web page"):
        load(tmp_path)


def test_named_sets_have_equal_images_in_one_split(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(0, 256, (100, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[50:70] = images[:20]
    labels = torch.arange(100) % 2
    whole = (Split(images, labels), Split(images[:10] // 2, labels[:10]), ("even", "odd"))
    monkeypatch.setitem(dataset_module.NAMED_SETS, "digits", lambda path: whole)
    dataset = load_dataset(DataConfig(name="digits", validation=0.3), 0)
    train, validation, _ = contents_of(dataset).values()
    assert not train & validation
    assert (len(dataset.train), len(dataset.validation), dataset.equal) == (70, 30, 40)
    assert dataset.validation.counts(2) == [15, 15]


def test_twelve_bits_in_sixteen_stop_a_run(tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw_class(tmp_path / name, 10)
        for path in (tmp_path / name).iterdir():
            Image.fromarray(np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 16).save(path)
    for memory_mb in (0, 100):
        with pytest.raises(DataError, match="multiply their pixels by 16"):
            load(tmp_path, memory_mb=memory_mb)
