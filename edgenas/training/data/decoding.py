"""Decodes image files to upright 8-bit RGB, without torch.

The kit's `run.py` decodes in the same way; a test compares the two.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from edgenas.errors import DataError
from edgenas.first_bytes import image_cause, image_format, read_head

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
"""Supported formats, as in `run.py`. Others (EPS, PDF) would start programs on the content of a file."""
MAX_ASPECT = 50
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transposition to the upright image, by EXIF orientation (EXIF 2.3, tag 0x0112)."""
SUBFILE, BITS, PHOTOMETRIC, SAMPLE_FORMAT, DNG_VERSION = 254, 258, 262, 339, 50706
"""TIFF tags (TIFF 6.0, section 8; SampleFormat in section 19; DNGVersion in the DNG specification)."""
SIGNED, FLOAT = 2, 3


class UnreadableImage(DataError):
    """An image file cannot be read; `cause` is the reason without the path."""

    def __init__(self, path: Path, cause: str):
        super().__init__(f"{path} cannot be read as an image: {cause}")
        self.cause = cause


@dataclass(frozen=True)
class Decoded:
    """A decoded image.

    Attributes:
        image: the upright image in 8-bit RGB.
        used: for an image with more than 8 bits a channel, its largest level as a fraction of the range; else None.
    """

    image: Image.Image
    used: float | None


def quiet_pillow() -> warnings.catch_warnings[None]:
    """Return a context that hides Pillow's warnings on odd metadata; errors are still raised."""
    return warnings.catch_warnings(action="ignore")


def _formats() -> tuple[str, ...]:
    # Pillow loads its plugins only once.
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def open_image(path: Path) -> Image.Image:
    """Decode an image file to upright 8-bit RGB.

    Raises:
        UnreadableImage: see `decode`.
    """
    return decode(path).image


def decode(path: Path) -> Decoded:
    """Decode an image file.

    16-bit grey is scaled (Pillow's conversion clips at 255), palette and CMYK are converted, transparent parts become
    white, and animations give their first frame.

    Raises:
        UnreadableImage: the file is missing, truncated or no image, or the image is too narrow or of unknown range.
    """
    try:
        with Image.open(path, formats=_formats()) as image:
            _check_kind(image)
            storage = _storage(image)
            image.load()
            _check_shape(image)
            return _upright(_eight_bit(image, storage), orientation(image))
    # Decoders raise errors of any type at broken data.
    except Exception as error:
        raise UnreadableImage(path, _cause(path, error)) from None


def image_size(path: Path) -> tuple[int, int]:
    """Return the width and height in pixels of an upright image, from its header.

    Raises:
        Exception: an error of Pillow of any type; the header cannot be read.
    """
    with Image.open(path, formats=_formats()) as image:
        sideways = orientation(image) >= 5
        return (image.height, image.width) if sideways else image.size


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 if it is missing or invalid. No other tag is read."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    # Cameras write invalid EXIF blocks beside valid pixels.
    except Exception:
        return 1
    return value if isinstance(value, int) and value in TURNS else 1


def _check_kind(image: Image.Image) -> None:
    """Refuse TIFF files whose pixels or first image are not the visible image."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return
    if DNG_VERSION in tags or _first(tags.get(SUBFILE, 0)) & 1:
        raise DataError("its first image is a reduced preview, as in a camera's raw file: develop it to JPEG or PNG")
    if _first(tags.get(SAMPLE_FORMAT, 1)) == SIGNED:
        raise DataError("its pixels are signed numbers of unknown range: save it with 8 or 16 unsigned bits")


def _first(value: object) -> int:
    value = value[0] if isinstance(value, tuple) else value
    return value if isinstance(value, int) else 0


def _storage(image: ImageFile) -> str:
    """Return Pillow's description of the stored pixels, like `RGB;16B`, which loading discards."""
    if not image.tile:
        return ""
    layout = image.tile[0][3]
    if image.format == "PPM" and isinstance(layout, tuple) and layout[1] == 65535:
        return f"{layout[0]};16"
    return str(layout)


def _check_shape(image: Image.Image) -> None:
    # With its shorter side resized, a very narrow image could be millions of pixels long.
    if max(image.size) > MAX_ASPECT * min(image.size):
        raise DataError(f"it has {image.width} x {image.height} pixels: too narrow to take a square out of")


def _eight_bit(image: Image.Image, storage: str) -> Decoded:
    """Return the image in 8-bit RGB, not yet upright."""
    if image.mode == "F":
        raise DataError("its pixels are floating-point numbers of unknown range: save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        return _deep_grey(image, storage)
    return Decoded(_on_white(image), _used_of_channels(image) if ";16" in storage else None)


def _used_of_channels(image: Image.Image) -> float:
    """Return the largest level of any colour as a fraction; Pillow keeps the upper 8 of 16 bits a channel."""
    colours = [image.getchannel(band) for band in image.getbands() if band not in "Aa"]
    return max(float(np.asarray(colour).max()) for colour in colours) / 255


def _deep_grey(image: Image.Image, storage: str) -> Decoded:
    if "I;32" in storage:
        raise DataError("its pixels are 32-bit numbers of unknown range: save it with 8 or 16 bits")
    tags = getattr(image, "tag_v2", {})
    highest = 4095 if _first(tags.get(BITS, 16)) == 12 else 65535
    pixels = np.asarray(image).astype(np.float64)
    transparent = pixels == image.info.get("transparency", -1)
    if _first(tags.get(PHOTOMETRIC, 1)) == 0:
        pixels = highest - pixels
    grey = np.clip(np.rint(pixels * 255 / highest), 0, 255).astype(np.uint8)
    return Decoded(
        Image.fromarray(np.where(transparent, np.uint8(255), grey)).convert("RGB"), float(pixels.max() / highest)
    )


def _on_white(image: Image.Image) -> Image.Image:
    premultiplied = {"La": "LA", "RGBa": "RGBA"}
    if image.mode in premultiplied:
        image = image.convert(premultiplied[image.mode])
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _upright(decoded: Decoded, exif_orientation: int) -> Decoded:
    if exif_orientation == 1:
        return decoded
    return Decoded(decoded.image.transpose(TURNS[exif_orientation]), decoded.used)


def _cause(path: Path, error: Exception) -> str:
    """Return the cause of an error, by the first bytes of the file where Pillow gives no better one."""
    if isinstance(error, DataError):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None:
        return str(error.strerror)
    stated = image_cause(path)
    if stated is not None:
        return stated
    if isinstance(error, UnidentifiedImageError):
        return _unidentified(path)
    return str(error)


def _unidentified(path: Path) -> str:
    kind = image_format(read_head(path))
    if kind is None:
        return f"expected one of {', '.join(FORMATS)}, got a file that begins like no image"
    return f"it begins like {kind}, but its header is damaged, or a variant that Pillow does not support"
