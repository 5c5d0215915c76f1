"""Image files of every common kind give the same RGB pixels as in the kit's run.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from kit_scripts import load_script
from PIL import Image

from edgenas.errors import DataError
from edgenas.training.data.image_files import ImageFiles, fit, image_sizes, open_image, to_tensor
from edgenas.training.data.preprocess import Preprocess


@pytest.fixture(scope="module")
def kit() -> ModuleType:
    return load_script("run")


def pixels(height: int = 20, width: int = 30, seed: int = 0) -> np.ndarray:
    # A smooth image, which lossy formats change little.
    rows, columns = np.mgrid[:height, :width]
    channels = [rows * 255 // height, columns * 255 // width, (rows + columns + seed) * 255 // (height + width + seed)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def save_plain(path: Path) -> None:
    Image.fromarray(pixels()).save(path)


def save_grey_16(path: Path) -> None:
    Image.fromarray(pixels()[..., 0].astype(np.uint16) * 257).save(path)


def save_alpha(path: Path) -> None:
    alpha = np.full((20, 30, 1), 255, np.uint8)
    alpha[:, :10] = 0
    Image.fromarray(np.concatenate([pixels(), alpha], axis=-1)).save(path)


def save_palette(path: Path) -> None:
    Image.fromarray(pixels()).quantize(64).save(path)


def save_cmyk(path: Path) -> None:
    Image.fromarray(pixels()).convert("CMYK").save(path, quality=95)


def save_turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels()).save(path, exif=exif)


def save_animated(path: Path) -> None:
    frames = [Image.fromarray(pixels(seed=seed)) for seed in (0, 40)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


KINDS: dict[str, Callable[[Path], None]] = {
    "plain.png": save_plain,
    "plain.jpg": save_plain,
    "plain.webp": save_plain,
    "plain.bmp": save_plain,
    "grey16.png": save_grey_16,
    "grey16.tif": save_grey_16,
    "alpha.png": save_alpha,
    "palette.gif": save_palette,
    "palette.png": save_palette,
    "cmyk.jpg": save_cmyk,
    "turned.jpg": save_turned,
    "animated.gif": save_animated,
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_decoded_as_in_the_kit(name: str, tmp_path: Path, kit: ModuleType) -> None:
    KINDS[name](tmp_path / name)
    image, expected = open_image(tmp_path / name), kit.open_image(str(tmp_path / name))
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("presize", "size", "crop"), [(16, 16, 1), (16, 12, 1), (24, 32, 1), (16, 14, 0.875), (24, 15, 0.7)]
)
def test_training_and_the_kit_compute_the_same_inputs(
    name: str, presize: int, size: int, crop: float, tmp_path: Path, kit: ModuleType
) -> None:
    KINDS[name](tmp_path / name)
    preprocess = Preprocess(size=size, presize=presize, crop=crop)
    presized = to_tensor(fit(open_image(tmp_path / name), presize))
    device = kit.Preprocess(**asdict(preprocess))(kit.open_image(str(tmp_path / name)))
    np.testing.assert_allclose(preprocess(presized[None]).numpy(), device, rtol=0, atol=1e-6)


def test_decoded_images_are_those_that_were_saved(tmp_path: Path) -> None:
    for name in ("plain.png", "plain.bmp", "grey16.png", "turned.jpg", "alpha.png"):
        KINDS[name](tmp_path / name)
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "plain.png")), pixels())
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "plain.bmp")), pixels())
    grey = np.asarray(open_image(tmp_path / "grey16.png"))
    np.testing.assert_array_equal(grey, np.repeat(pixels()[..., :1], 3, axis=-1))
    # Orientation 6: the saved rows are the columns of the upright image, from the right.
    upright = np.asarray(open_image(tmp_path / "turned.jpg")).astype(int)
    assert np.abs(upright - np.rot90(pixels(), -1)).mean() < 4
    alpha = np.asarray(open_image(tmp_path / "alpha.png"))
    assert (alpha[:, :10] == 255).all()
    np.testing.assert_array_equal(alpha[:, 10:], pixels()[:, 10:])


def test_sizes_from_headers_are_those_of_the_upright_image(tmp_path: Path) -> None:
    save_plain(tmp_path / "plain.png")
    save_turned(tmp_path / "turned.jpg")
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert image_sizes(tmp_path, ["plain.png", "broken.png", "turned.jpg"]) == [(30, 20), (20, 30)]


@pytest.mark.parametrize("data", [b"", b"no image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_files_that_are_no_images_are_named(data: bytes, tmp_path: Path) -> None:
    # The last one is a PostScript program, which Pillow would run in an interpreter.
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(DataError, match=r"x\.png cannot be read"):
        open_image(tmp_path / "x.png")


def test_floating_point_images_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match="save it with 8 or 16 bits"):
        open_image(tmp_path / "x.tif")


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    names = tuple(f"{number:02d}.png" for number in range(23))
    for number, name in enumerate(names):
        Image.fromarray(np.full((10, 12, 3), number * 5, np.uint8)).save(tmp_path / name)
    return ImageFiles(tmp_path, names, side=8, workers=3)


def test_indexing_decodes_files(files: ImageFiles) -> None:
    decoded, reading = files.load()
    assert (decoded.shape, decoded.dtype, reading.unread) == ((23, 3, 8, 8), torch.uint8, {})
    assert sorted(reading.contents) == list(range(23))
    assert len(set(reading.contents.values())) == 23
    assert decoded[:, 0, 0, 0].tolist() == [number * 5 for number in range(23)]
    torch.testing.assert_close(files[3:9], decoded[3:9])
    torch.testing.assert_close(files[torch.tensor([7, 2, 7])], decoded[[7, 2, 7]])
    torch.testing.assert_close(files.subset(np.array([4, 1]))[:], decoded[[4, 1]])
    assert files[5:5].shape == (0, 3, 8, 8)


def test_a_stream_preserves_the_order_and_reads_only_a_few_batches_ahead(files: ImageFiles) -> None:
    requested: list[int] = []

    def batches():  # type: ignore[no-untyped-def]
        for start in range(0, 20, 2):
            requested.append(start)
            yield np.array([start + 1, start])

    stream = files.stream(batches())
    first = next(stream)
    assert first[:, 0, 0, 0].tolist() == [5, 0]
    assert len(requested) <= 6
    rest = torch.cat([first, *stream])
    assert rest[:, 0, 0, 0].tolist() == [5 * (i ^ 1) for i in range(20)]


def test_broken_files_are_found_by_their_index(files: ImageFiles) -> None:
    whole = (files.root / "05.png").read_bytes()
    (files.root / "05.png").write_bytes(whole[: len(whole) // 2])
    (files.root / "11.png").write_bytes(b"")
    assert sorted(files.read().unread) == [5, 11]
    decoded, reading = files.load()
    assert sorted(reading.unread) == [5, 11]
    assert "empty" in reading.unread[11]
    assert int(decoded[6, 0, 0, 0]) == 30
    with pytest.raises(DataError, match=r"05\.png"):
        files[:]
