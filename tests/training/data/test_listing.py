"""The files of folders that are taken as images; no file that looks like one is skipped silently."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from user_images import draw_class, noise

from edgenas.cli.commands import app
from edgenas.cli.data_display import print_folder_check
from edgenas.errors import DataError
from edgenas.training.data import check
from edgenas.training.data.check import FolderCheck, check_folder
from edgenas.training.data.image_folder import ImageFolder, SplitFiles, scan

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:7\nsize 51234\n"
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for name in ("cat", "dog"):
        draw_class(root / name, 8)
    return root


def jpeg(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(seed=seed)).save(stream, "JPEG")
    return stream.getvalue()


def counts(root: Path) -> dict[str, int]:
    return check_folder(root).counts["train"]


@pytest.mark.parametrize(
    "name", ["a.jfif", "a.jpe", "a.JPG", "a", "a.jpg_large", "a.JPEG~", "a.jpg?w=640", "a.txt", "a.heic", "a (1).jpg"]
)
def test_an_image_is_recognised_under_any_name(name: str, tree: Path) -> None:
    (tree / "dog" / name).write_bytes(jpeg(1))
    assert counts(tree) == {"cat": 8, "dog": 9}
    assert not scan(tree).left_out


@pytest.mark.parametrize(
    ("name", "data", "cause"),
    [
        ("a.heic", HEIC, "HEIC"),
        ("a", HEIC, "HEIC"),
        ("a.svg", b"<svg/>", "SVG"),
        ("a.nef", b"II*\0" + bytes(60), "raw file"),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        ("a.psd", b"8BPS", "Photoshop"),
        ("a.dcm", bytes(128) + b"DICM", "DICOM"),
        ("a.jpg.gz", b"\x1f\x8b\x08", "gunzip"),
        ("a.jpg?w=640", b"<html>403", "HTML"),
        ("a.jpg.part", b"", "empty"),
        ("a.heif", LFS, "git lfs pull"),
        ("a.eps", b"%!PS-Adobe-3.0", "PostScript"),
        ("a.tga", b"\0\0\x02\0", "format is not supported"),
    ],
)
def test_files_that_look_like_images_and_are_not_read_are_named_and_counted(
    name: str, data: bytes, cause: str, tree: Path
) -> None:
    (tree / "dog" / name).write_bytes(data)
    folder = scan(tree)
    assert list(folder.left_out) == [f"dog/{name}"]
    assert cause in folder.left_out[f"dog/{name}"]
    # One of 17 is more than 1 %.
    [problem] = check_folder(tree).problems
    assert f"1 of 17 images cannot be read or used; at most 1% are allowed: dog/{name}: " in problem


@pytest.mark.parametrize("name", ["notes.txt", "labels.csv", "a.jpg.json", "a.jpg.xml", "Thumbs.db", "a.zip"])
def test_files_that_do_not_look_like_images_are_ignored_and_named(name: str, tree: Path) -> None:
    (tree / "dog" / name).write_bytes(b'{"x": 1}')
    folder = scan(tree)
    assert folder.ignored == (f"dog/{name}",)
    assert not folder.left_out
    assert not check_folder(tree).problems


def test_broken_links_are_named(tree: Path) -> None:
    (tree / "dog" / "a.jpg").symlink_to(tree / "gone.jpg")
    (tree / "dog" / "b").symlink_to(".git/annex/objects/SHA256E-s9--0.jpg")
    (tree / "dog" / "readme").symlink_to("gone")
    (tree / "ox").symlink_to("gone")
    folder = scan(tree)
    assert set(folder.left_out) == {"dog/a.jpg", "dog/b", "ox"}
    assert "which is missing" in folder.left_out["dog/a.jpg"]
    assert "git annex get" in folder.left_out["dog/b"]
    assert folder.ignored == ("dog/readme",)


def test_a_file_that_may_not_be_opened_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "dog" / "a.jfif~").write_bytes(jpeg(1))

    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("edgenas.training.data.listing.read_head", refused)
    assert scan(tree).left_out == {"dog/a.jfif~": "it cannot be opened: Permission denied"}


TOOLS = ["@eaDir", "#recycle", "@Recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information", "lost+found"]


@pytest.mark.parametrize("name", [*TOOLS, "__MACOSX", ".thumbnails", ".Trash-1000", ".ipynb_checkpoints"])
@pytest.mark.parametrize("parent", ["", "cat/", "cat/deep/"])
def test_folders_of_tools_are_left_out_at_any_depth_and_named(name: str, parent: str, tree: Path) -> None:
    draw_class(tree / parent / name / "inner", 3, seed=1)
    folder = scan(tree)
    assert folder.classes == ("cat", "dog")
    assert folder.set_aside == {f"{parent}{name}/": 3}
    assert counts(tree) == {"cat": 8, "dog": 8}
    assert not check_folder(tree).problems


def test_thumbnails_are_left_out_inside_classes_and_may_be_a_class(tree: Path) -> None:
    draw_class(tree / "cat" / "Thumbs", 3, seed=1)
    draw_class(tree / "thumbs", 8, seed=2)
    assert scan(tree).classes == ("cat", "dog", "thumbs")
    assert scan(tree).set_aside == {"cat/Thumbs/": 3}


def test_metadata_of_macos_is_no_image(tree: Path) -> None:
    (tree / "cat" / "._000.png").write_bytes(b"\0\x05\x16\x07" + bytes(80))
    (tree / "cat" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    folder = scan(tree)
    assert not folder.set_aside
    assert not folder.left_out
    assert not folder.ignored


def test_images_beside_a_class_named_like_a_split_are_a_problem(tmp_path: Path) -> None:
    for name, count in (("bus", 30), ("car", 30), ("train/steam", 15), ("train/diesel", 15)):
        draw_class(tmp_path / name, count)
    [problem] = check_folder(tmp_path).problems
    assert "60 of 90 images" in problem
    assert "bus/000.png, bus/001.png, bus/002.png and 57 more: it is beside train/" in problem
    assert "split" in problem
    assert "rename it" in problem


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("control", "test"), r"test/, which is the name of a split, but no train/"),
        (("bus", "train"), r"it is the name of the training split"),
        (("train/a", "train/b", "Training/a"), r"both are names of the train split"),
        (("training_set/a", "training_set/b", "test_set/a", "test_set/b"), r"_set has sub-folders and is named like"),
        (
            ("a/train", "a/test", "b/train", "b/test"),
            r"expected class folders inside the folders of splits, as test/a/",
        ),
    ],
)
def test_errors_state_the_names_that_are_taken_for_splits(
    folders: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    for name in folders:
        draw_class(tmp_path / name, 4)
    with pytest.raises(DataError, match=message):
        scan(tmp_path)


def test_classes_inside_train_may_have_names_of_splits(tmp_path: Path) -> None:
    for name in ("control", "test", "train"):
        draw_class(tmp_path / "train" / name, 4)
    assert scan(tmp_path).classes == ("control", "test", "train")


def test_images_beside_the_class_folders_are_named(tree: Path) -> None:
    Image.fromarray(noise()).save(tree / "loose.png")
    assert list(scan(tree).left_out) == ["loose.png"]
    assert "beside the class folders" in scan(tree).left_out["loose.png"]


def test_a_placeholder_in_every_class_is_reported_in_one_short_line(tmp_path: Path) -> None:
    for number in range(40):
        draw_class(tmp_path / f"n{number:02d}", 4)
        (tmp_path / f"n{number:02d}" / "000.png").write_bytes(_placeholder())
    result = check_folder(tmp_path)
    [group] = result.contradictions
    assert len(group) == 40
    # Every class has three images of its own, enough for two held-out splits and training.
    assert not result.problems
    assert max(map(len, _printed(result))) < 400


def _placeholder() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "grey").save(stream, "PNG")
    return stream.getvalue()


def _printed(result: FolderCheck) -> list[str]:
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        print_folder_check(result)
    return stream.getvalue().splitlines()


def test_twelve_bits_in_sixteen_are_a_problem_that_names_the_factor(tree: Path) -> None:
    for path in tree.rglob("*.png"):
        grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16)
        Image.fromarray(grey * 16).save(path)
    [problem] = check_folder(tree).problems
    assert "all 16 images of 16 bits a channel use only the lowest 12 bits" in problem
    assert "multiply their pixels by 16" in problem


def test_errors_on_many_classes_are_short(tmp_path: Path) -> None:
    for number in range(300):
        draw_class(tmp_path / "train" / f"class number {number:03d}", 1)
        draw_class(tmp_path / "test" / f"class number {number:03d}", 1)
    with pytest.raises(DataError, match=r"; and 290 more: --json lists all") as caught:
        app(["data", "check", str(tmp_path), "--quiet"], standalone_mode=False)
    assert len(str(caught.value)) < 2000
    draw_class(tmp_path / "test" / "class number", 1)
    with pytest.raises(DataError, match=r"class number 049 and 250 more$") as caught:
        scan(tmp_path)
    assert len(str(caught.value)) < 2000


def test_counting_takes_one_pass_for_any_number_of_classes() -> None:
    """The label of every image is read once."""
    reads = 0

    class CountedImage:
        split = "train"

        def __init__(self, label: int) -> None:
            self._label = label

        @property
        def label(self) -> int:
            nonlocal reads
            reads += 1
            return self._label

    classes = tuple(map(str, range(500)))
    part = SplitFiles((), np.empty(0, np.int64))
    folder = ImageFolder(Path(), classes, {"train": part}, np.empty(0, np.int64), {}, (), {}, ())
    counts = check._counts(folder, [CountedImage(number % 500) for number in range(2000)])  # type: ignore[misc]
    assert reads == 2000
    assert set(counts["train"].values()) == {4}
