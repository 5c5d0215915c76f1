"""Training and the kit decode stored values exactly, or refuse the file with the cause. No value is guessed."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from kit_scripts import load_script
from PIL import Image
from user_images import ODD_EXIF, exif_block, jpeg_with, noise, png_16, tiff

from edgenas.errors import DataError
from edgenas.training.data.decoding import FORMATS, decode, open_image, quiet_pillow
from edgenas.training.data.stored_range import DARK

Open = Callable[[Path], Image.Image]
GREY = np.arange(256, dtype=np.uint16).reshape(16, 16)


@pytest.fixture(scope="module")
def kit() -> ModuleType:
    return load_script("run")


@pytest.fixture(params=["training", "kit"])
def opened(request: pytest.FixtureRequest, kit: ModuleType) -> Open:
    """Return one of the two functions that open an image; every property holds for both."""
    return open_image if request.param == "training" else lambda path: kit.open_image(str(path))


@pytest.fixture(scope="module")
def refusals(kit: ModuleType) -> tuple[type[Exception], ...]:
    return DataError, kit.UsageError


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def grey_of(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image).astype(int)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def test_the_kit_supports_the_formats_of_training_and_no_other(kit: ModuleType) -> None:
    assert kit.FORMATS == FORMATS
    assert kit.DARK == DARK


@pytest.mark.parametrize("name", ODD_EXIF)
def test_invalid_exif_beside_the_orientation_is_not_read(name: str, opened: Open, tmp_path: Path) -> None:
    pixels = noise()
    path = written(tmp_path, "phone.jpg", jpeg_with(exif_block(*ODD_EXIF[name]), pixels))
    plain = written(tmp_path, "plain.jpg", jpeg_with(b"", pixels))
    turned = np.rot90(np.asarray(Image.open(plain).convert("RGB")), -1)
    np.testing.assert_array_equal(np.asarray(opened(path)), turned)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_invalid_orientation_is_ignored(value: int, opened: Open, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    Image.fromarray(noise()).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(opened(tmp_path / "x.png")), noise())


@pytest.mark.parametrize("block", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"nonsense" * 9])
def test_a_damaged_exif_block_is_ignored(block: bytes, opened: Open, tmp_path: Path) -> None:
    with quiet_pillow():
        assert opened(written(tmp_path, "x.jpg", jpeg_with(block, noise()))).size == (24, 16)


@pytest.mark.parametrize(("bits", "white_is_zero"), [(8, False), (8, True), (12, False), (16, False), (16, True)])
def test_grey_of_any_depth_is_scaled_to_8_bits(bits: int, white_is_zero: bool, opened: Open, tmp_path: Path) -> None:
    highest = 2**bits - 1
    shades = np.round(GREY / 255 * highest)
    stored = (highest - shades if white_is_zero else shades).astype(np.uint8 if bits == 8 else np.uint16)
    path = written(tmp_path, "x.tif", tiff(stored, white_is_zero=white_is_zero, bits=bits))
    np.testing.assert_array_equal(grey_of(opened(path)), GREY)


def test_twelve_bits_with_white_as_zero_are_refused(
    opened: Open, refusals: tuple[type[Exception], ...], tmp_path: Path
) -> None:
    path = written(tmp_path, "x.tif", tiff(GREY, white_is_zero=True, bits=12))
    with pytest.raises(refusals, match="TIFF"):
        opened(path)


@pytest.mark.parametrize("order", ["<u2", ">u2"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_byte_orders_make_no_difference(order: str, compression: str | None, opened: Open, tmp_path: Path) -> None:
    Image.fromarray((GREY * 257).astype(order)).save(tmp_path / "x.tif", compression=compression)
    np.testing.assert_array_equal(grey_of(opened(tmp_path / "x.tif")), GREY)


@pytest.mark.parametrize("highest", [255, 1023, 4095, 65535])
def test_the_range_that_a_file_states_is_used(highest: int, opened: Open, tmp_path: Path) -> None:
    values = np.round(GREY / 255 * highest).astype(np.uint8 if highest == 255 else ">u2")
    path = written(tmp_path, "x.pgm", f"P5 16 16 {highest}\n".encode() + values.tobytes())
    np.testing.assert_array_equal(grey_of(opened(path)), GREY)


@pytest.mark.parametrize(
    ("pixels", "cause"),
    [
        (GREY.astype(np.int8), "signed"),
        (GREY.astype(np.int16), "signed"),
        (GREY.astype(np.int32), "signed"),
        (GREY.astype(np.uint32), "32-bit"),
        (GREY.astype(np.float32), "floating-point"),
    ],
    ids=["int8", "int16", "int32", "uint32", "float32"],
)
def test_unknown_ranges_are_refused(
    pixels: np.ndarray, cause: str, opened: Open, refusals: tuple[type[Exception], ...], tmp_path: Path
) -> None:
    with pytest.raises(refusals, match=cause):
        opened(written(tmp_path, "x.tif", tiff(pixels)))


@pytest.mark.parametrize("tag", [{254: 1}, {50706: 0x01040000}], ids=["reduced", "DNG"])
def test_previews_of_raw_files_are_refused(
    tag: dict[int, int], opened: Open, refusals: tuple[type[Exception], ...], tmp_path: Path
) -> None:
    with pytest.raises(refusals, match="preview"):
        opened(written(tmp_path, "x.tif", tiff(noise(), extra=tag)))


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_the_used_share_of_the_range_is_reported(bits: int, colour: bool, tmp_path: Path) -> None:
    values = np.round(GREY / 255 * (2**bits - 1)).astype(np.uint16)
    data = png_16(np.dstack([values] * 3) if colour else values)
    used = decode(written(tmp_path, "x.png", data)).used
    assert used == pytest.approx(2.0 ** (bits - 16), rel=0.26)
    assert (used < DARK) == (bits < 16)
    Image.fromarray(noise()).save(tmp_path / "eight.png")
    assert decode(tmp_path / "eight.png").used is None


def test_a_very_narrow_image_is_refused(opened: Open, refusals: tuple[type[Exception], ...], tmp_path: Path) -> None:
    Image.new("RGB", (60_000, 1)).save(tmp_path / "narrow.png")
    with pytest.raises(refusals, match="too narrow"):
        opened(tmp_path / "narrow.png")


def test_the_kit_warns_of_unused_range(kit: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit.open_image(str(written(tmp_path, "full.png", png_16(GREY * 257))))
    assert not capsys.readouterr().err
    kit.open_image(str(written(tmp_path, "dark.png", png_16(GREY * 16))))
    assert "dark.png: warning: it uses 6.2% of its 16 bits" in capsys.readouterr().err


NO_IMAGES = {
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:7\nsize 51234\n", "git lfs pull"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
    "page": (b"\n<!DOCTYPE html><html><body>403 Forbidden", "HTML"),
    "drawing": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "packed": (b"\x1f\x8b\x08\0\0\0\0\0", "gzip"),
    "empty": (b"", "empty"),
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_files_that_are_no_images_are_named(
    name: str, opened: Open, refusals: tuple[type[Exception], ...], tmp_path: Path
) -> None:
    data, cause = NO_IMAGES[name]
    with pytest.raises(refusals, match=cause):
        opened(written(tmp_path, "x.jpg", data))


@pytest.mark.parametrize(
    "data", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n", b"%PDF-1.4\n"]
)
def test_no_image_starts_a_program(
    data: bytes,
    opened: Open,
    refusals: tuple[type[Exception], ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mark = tmp_path / "was-run"
    for program in ("gs", "gswin64c"):
        path = written(tmp_path, program, f'#!/bin/sh\n: >"{mark}"\nexit 1\n'.encode())
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(refusals, match=r"PostScript|PDF"):
        opened(written(tmp_path, "image.png", data))
    assert not mark.exists()
