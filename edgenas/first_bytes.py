"""The kind of a file, from its first bytes: names are often wrong, and errors state the cause."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

HEAD_BYTES = 512
IMAGES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "GIF": rb"GIF8[79]a",
    "WEBP": rb"RIFF....WEBP",
    "BMP": rb"BM.{4}\0\0\0\0",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "PPM": rb"P[1-6]\s+[#\d]",
    "AVIF": rb"....ftyp(avi[fs]|mif1.{4}.{0,40}avif)",
}
"""First bytes of readable image files, by Pillow's name of the format."""


@dataclass(frozen=True)
class Kind:
    """A kind of file that is not read as an image.

    Attributes:
        name: name of the kind, with its article.
        advice: how to get a readable file.
        is_image: whether it is an image in another format.
    """

    name: str
    advice: str
    is_image: bool = False


CONVERT = "convert it to JPEG or PNG"
_TEXT = rb"(?:\xef\xbb\xbf)?\s*"
_AGAIN = "download the file again"
_STAND_INS: tuple[tuple[bytes, Kind], ...] = (
    (rb"version https://git-lfs\.github\.com", Kind("a Git LFS pointer, not the file itself", "run `git lfs pull`")),
    (rb"/?(\.\./)*\.?(git/)?annex/objects/", Kind("a git-annex pointer, not the file itself", "run `git annex get`")),
    (_TEXT + rb"(?i:<(!doctype html|html|head|body))", Kind("a web page (HTML), as of a failed download", _AGAIN)),
    (_TEXT + rb"<\?xml", Kind("an XML text, as of a failed download", _AGAIN)),
    (rb"\s*[{\[]\s*[\"}\]{]", Kind("a JSON text, as of a failed download", _AGAIN)),
    (rb"\0{64}", Kind("a file of zeros, as of a copy that was cut short", "copy the file again")),
)  # fmt: skip
"""Kinds of files that replace the intended file."""
_KINDS: tuple[tuple[bytes, Kind], ...] = (
    (rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", Kind("a HEIC (HEIF) image", CONVERT, True)),
    (rb"....ftypcrx ", Kind("a camera's raw file (CR3)", "develop it to JPEG or PNG", True)),
    (rb"II[*]\0....CR\x02", Kind("a camera's raw file (CR2)", "develop it to JPEG or PNG", True)),
    (rb"FUJIFILMCCD-RAW|IIRO|IIRS|IIU\0", Kind("a camera's raw file", "develop it to JPEG or PNG", True)),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", Kind("a JPEG 2000 image", CONVERT, True)),
    (rb"\0\0\0\x0cJXL |\xff\x0a", Kind("a JPEG XL image", CONVERT, True)),
    (rb"8BPS", Kind("a Photoshop document", CONVERT, True)),
    (rb"\x76\x2f\x31\x01", Kind("an OpenEXR image", CONVERT, True)),
    (rb".{128}DICM", Kind("a DICOM image", CONVERT, True)),
    (rb"%!PS|\xc5\xd0\xd3\xc6", Kind("a PostScript program", CONVERT, True)),
    (_TEXT + rb"(<\?xml[^>]*>\s*|<!--.*?-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg", Kind("an SVG drawing", CONVERT, True)),
    (rb"%PDF", Kind("a PDF document", CONVERT)),
    (rb"\x1f\x8b", Kind("a gzip archive", "unpack it with gunzip")),
    (rb"PK\x03\x04", Kind("a ZIP archive", "unpack it")),
    *_STAND_INS,
)  # fmt: skip


def read_head(path: Path) -> bytes:
    """Return a file's first bytes, at most HEAD_BYTES.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as stream:
        return stream.read(HEAD_BYTES)


def image_format(head: bytes) -> str | None:
    """Return Pillow's name of a file's image format; None for other files."""
    if other_kind(head) is not None:
        return None
    return next((name for name, pattern in IMAGES.items() if re.match(pattern, head, re.DOTALL)), None)


def other_kind(head: bytes) -> Kind | None:
    """Return the kind of a file that is not read as an image; None if it is unknown."""
    return None if re.match(IMAGES["AVIF"], head, re.DOTALL) else _kind(head, _KINDS)


def image_cause(path: Path) -> str | None:
    """Return why a file is not a readable image, with advice; None if its first bytes do not show it."""
    return _cause(path, _KINDS)


def stand_in_cause(path: Path) -> str | None:
    """Return the kind of file in place of a model or weights, with advice; None if the first bytes do not show it."""
    return _cause(path, _STAND_INS)


def _kind(head: bytes, kinds: tuple[tuple[bytes, Kind], ...]) -> Kind | None:
    if not head:
        return Kind("an empty file", "copy or download it again")
    return next((kind for pattern, kind in kinds if re.match(pattern, head, re.DOTALL)), None)


def _cause(path: Path, kinds: tuple[tuple[bytes, Kind], ...]) -> str | None:
    try:
        kind = _kind(read_head(path), kinds)
    except OSError:
        return None
    return None if kind is None else f"it is {kind.name}: {kind.advice}"
