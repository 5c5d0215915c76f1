"""Images that are odd in every way that users' images are, and what is no whole image."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from little_subnet import digits
from PIL import Image, features

Pixels = npt.NDArray[np.uint8]
Made = dict[str, tuple[Image.Image | bytes, dict[str, Any]]]
SIZES = ((1, 1), (1, 2), (2, 1), (3, 100), (100, 3), (7, 5), (12, 12), (17, 41), (640, 481))
"""Widths and heights."""
ORIENTATION = 0x0112
AVIF = ("avif",) if features.check("avif") else ()
UNTURNED = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: np.transpose(p, (1, 0, 2)),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: np.rot90(np.transpose(p, (1, 0, 2)), 2),
    8: lambda p: np.rot90(p, -1),
}
"""How an image is stored whose EXIF orientation says that (EXIF 2.3, tag 0x0112)."""


@cache
def _digits() -> Pixels:
    return np.asarray(digits().test.tensor()[:, 0].numpy())


def seen(number: int, width: int = 40, height: int = 40) -> Pixels:
    """A digit as one sees it, in colour, uint8 (height, width, 3)."""
    grey = Image.fromarray(_digits()[number])
    large = np.asarray(grey.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return np.stack([large, np.minimum(large + 20, 255), large * 9 // 10], axis=-1).astype(np.uint8)


def lossless(folder: Path) -> dict[str, tuple[Path, Pixels]]:
    """Files by name, and what one sees in each, to the bit."""
    known = {f"size {w}x{h}.png": seen(n, w, h) for n, (w, h) in enumerate(SIZES)}
    made: Made = {name: (Image.fromarray(pixels), {}) for name, pixels in known.items()}
    for place, (kind, make) in enumerate(KINDS.items()):
        made[kind], known[kind] = make(seen(20 + place))
    return {name: (_saved(folder / name, *made[name]), known[name]) for name in made}


def _saved(path: Path, image: Image.Image | bytes, options: dict[str, Any]) -> Path:
    path.parent.mkdir(exist_ok=True)
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        image.save(path, **options)
    return path


Kind = Callable[[Pixels], tuple[tuple[Image.Image | bytes, dict[str, Any]], Pixels]]


def _grey(pixels: Pixels) -> tuple[Image.Image, Pixels]:
    one = pixels[..., 0]
    return Image.fromarray(one), np.repeat(one[..., None], 3, axis=-1)


def _sixteen(pixels: Pixels) -> tuple[Image.Image, Pixels]:
    # What is between two levels of 8 bits is nearer to this one.
    between = np.random.default_rng(0).integers(-100, 100, pixels.shape[:2])
    deep = np.clip(pixels[..., 0].astype(int) * 257 + between, 0, 65535).astype(np.uint16)
    return Image.fromarray(deep), _grey(pixels)[1]


def _palette(pixels: Pixels) -> tuple[Image.Image, Pixels]:
    few = Image.fromarray(pixels).quantize(16)
    return few, np.asarray(few.convert("RGB"))


def _clear(pixels: Pixels) -> tuple[Image.Image, Pixels]:
    """Its left half is clear, which one sees as the white behind it."""
    half = pixels.shape[1] // 2
    alpha = np.full(pixels.shape[:2], 255, np.uint8)
    alpha[:, :half] = 0
    white = pixels.copy()
    white[:, :half] = 255
    return Image.fromarray(np.dstack([pixels, alpha])), white


def _clear_colour(pixels: Pixels) -> tuple[tuple[Image.Image, dict[str, Any]], Pixels]:
    few, shown = _palette(pixels)
    index = int(np.bincount(np.asarray(few).ravel()).argmax())
    white = shown.copy()
    white[np.asarray(few) == index] = 255
    return (few, {"transparency": index}), white


def _bits(pixels: Pixels) -> tuple[Image.Image, Pixels]:
    bright = pixels[..., 0] > 120
    return Image.fromarray(bright), np.repeat(255 * bright.astype(np.uint8)[..., None], 3, axis=-1)


def _turned(orientation: int) -> Kind:
    def make(pixels: Pixels) -> tuple[tuple[Image.Image, dict[str, Any]], Pixels]:
        # Not square: a turn that is missed would change the size.
        wide = pixels[8:]
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        stored = np.ascontiguousarray(UNTURNED[orientation](wide))
        return (Image.fromarray(stored), {"exif": exif}), wide

    return make


def _film(pixels: Pixels) -> tuple[tuple[Image.Image, dict[str, Any]], Pixels]:
    few, shown = _palette(pixels)
    return (few, {"save_all": True, "append_images": [Image.new("RGB", few.size, "white")]}), shown


def _lossless_film(pixels: Pixels) -> tuple[tuple[Image.Image, dict[str, Any]], Pixels]:
    others = [Image.new("RGB", pixels.shape[1::-1], "white")]
    return (Image.fromarray(pixels), {"save_all": True, "append_images": others, "lossless": True}), pixels


def _deep_colour(pixels: Pixels) -> tuple[tuple[bytes, dict[str, Any]], Pixels]:
    """A PNG of 16 bits a channel, which Pillow cannot write."""
    height, width, _ = pixels.shape
    rows = (pixels.astype(">u2") * 257).astype(">u2").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(raw)))
    return (b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in (*chunks, (b"IEND", b""))), {}), pixels


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _plain(make: Callable[[Pixels], tuple[Image.Image, Pixels]]) -> Kind:
    def made(pixels: Pixels) -> tuple[tuple[Image.Image | bytes, dict[str, Any]], Pixels]:
        image, shown = make(pixels)
        return (image, {}), shown

    return made


KINDS: dict[str, Kind] = {
    "grey.png": _plain(_grey),
    "grey 16 bits.png": _plain(_sixteen),
    "colour 16 bits.png": _deep_colour,
    "black and white.png": _plain(_bits),
    "palette.png": _plain(_palette),
    "palette with a clear colour.png": _clear_colour,
    "clear.png": _plain(_clear),
    "colour.bmp": _plain(lambda pixels: (Image.fromarray(pixels), pixels)),
    "film.gif": _film,
    "film.png": _lossless_film,
    "film.webp": _lossless_film,
    **{f"turned {number}.png": _turned(number) for number in UNTURNED},
}


def lossy(folder: Path) -> dict[str, Path]:
    """Files by name that two decoders may read a level apart."""
    made: Made = {
        "grey.jpg": (Image.fromarray(seen(50)).convert("L"), {"quality": 95}),
        "cmyk.jpg": (Image.fromarray(seen(51)).convert("CMYK"), {"quality": 95}),
        "progressive.jpg": (Image.fromarray(seen(52)), {"quality": 90, "progressive": True}),
        "large.jpg": (Image.fromarray(seen(53, 1201, 803)), {"quality": 90}),
        "image.webp": (Image.fromarray(seen(54)), {"quality": 90}),
        **{f"image.{kind}": (Image.fromarray(seen(55)), {"quality": 90}) for kind in AVIF},
    }
    for orientation, store in UNTURNED.items():
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        stored = np.ascontiguousarray(store(seen(55 + orientation)[8:]))
        made[f"turned {orientation}.jpg"] = (Image.fromarray(stored), {"exif": exif.tobytes(), "quality": 95})
    return {name: _saved(folder / name, *one) for name, one in made.items()}


def broken(folder: Path) -> dict[str, Path]:
    """What is no whole image, by name."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    made: dict[str, bytes] = {"text.png": b"no image", "empty.png": b"", "empty.jpg": b""}
    for kind in ("jpg", "png", "gif", "webp", "bmp", *AVIF):
        whole = _saved(folder / f"whole.{kind}", Image.fromarray(noise), {})
        data = whole.read_bytes()
        whole.unlink()
        made |= {f"torn at {share}.{kind}": data[: share * len(data) // 100] for share in (2, 30, 66, 95)}
    thin = _saved(folder / "whole.png", Image.new("RGB", (2000, 3)), {})
    made["thin.png"] = thin.read_bytes()
    thin.unlink()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2**30, 2**30, 8, 2, 0, 0, 0))
    made["bomb.png"] = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return {name: _saved(folder / name, data, {}) for name, data in made.items()}
