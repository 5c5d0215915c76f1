"""Files as users have them: EXIF blocks, TIFF and PNG headers that Pillow cannot write."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.generic]
UPRIGHT_6 = (0x112, 3, 1, struct.pack("<H", 6))
ODD_EXIF = {
    "exposure of -2/0": ([UPRIGHT_6], [(0x9204, 10, 1, struct.pack("<ii", -2, 0))]),
    "a number as text": ([UPRIGHT_6, (0x213, 2, 2, b"1\0")], []),
    "a width of undefined bytes": ([UPRIGHT_6, (0x100, 7, 4, b"abcd")], []),
    "a resolution that is no number": ([UPRIGHT_6, (0x11A, 11, 1, struct.pack("<f", float("nan")))], []),
}
"""Entries of the first directory and of the Exif directory; pixels are whole, and the orientation is 6."""
Entry = tuple[int, int, int, bytes]


def noise(height: int = 16, width: int = 24, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Random pixels, uint8 (height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def exif_block(entries: list[Entry], sub: list[Entry]) -> bytes:
    """A little-endian EXIF block of a first directory and, where given, an Exif directory behind it."""
    first = 8
    if sub:
        behind = _directory(sorted(entries), first, 1)
        entries = [*entries, (0x8769, 4, 1, struct.pack("<I", first + len(behind)))]
    block = b"II*\0" + struct.pack("<I", first) + _directory(sorted(entries), first)
    return block + (_directory(sorted(sub), len(block)) if sub else b"")


def _directory(entries: list[Entry], at: int, more: int = 0) -> bytes:
    """A directory that begins `at`, its long values behind it; `more` entries are left room for."""
    values_at = at + 2 + 12 * (len(entries) + more) + 4
    rows, values = b"", b""
    for tag, kind, count, data in entries:
        own = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", values_at + len(values))
        values += data if len(data) > 4 else b""
        rows += struct.pack("<HHI", tag, kind, count) + own
    return struct.pack("<H", len(entries)) + rows + bytes(12 * more) + struct.pack("<I", 0) + values


def jpeg_with(block: bytes, pixels: npt.NDArray[np.uint8]) -> bytes:
    """A JPEG with that EXIF block."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    data, exif = stream.getvalue(), b"Exif\0\0" + block
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def tiff(
    pixels: Pixels, *, white_is_zero: bool = False, bits: int | None = None, extra: dict[int, int] | None = None
) -> bytes:
    """A little-endian uncompressed TIFF of numbers as they are, its SampleFormat by their type."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    bits = bits or pixels.dtype.itemsize * 8
    sample = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    data = _packed(pixels) if bits == 12 else pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    photometric = 2 if channels == 3 else 1 - white_is_zero
    shorts = {258: [bits] * channels, 259: [1], 262: [photometric], 277: [channels], 339: [sample] * channels}
    longs = {256: pixels.shape[1], 257: pixels.shape[0], 278: pixels.shape[0], 279: len(data), **(extra or {})}
    entries = [(tag, 3, len(values), struct.pack(f"<{len(values)}H", *values)) for tag, values in shorts.items()]
    entries += [(tag, 4, 1, struct.pack("<I", value)) for tag, value in longs.items()]
    length = len(_directory(sorted(entries), 8, 1))
    entries.append((273, 4, 1, struct.pack("<I", 8 + length)))
    return b"II*\0" + struct.pack("<I", 8) + _directory(sorted(entries), 8) + data


def _packed(pixels: Pixels) -> bytes:
    """Numbers of 12 bits, two in three bytes, the high bits first."""
    pairs = pixels.reshape(-1, 2).astype(int)
    high, low = pairs[:, 0], pairs[:, 1]
    return np.stack([high >> 4, (high & 15) << 4 | low >> 8, low & 255], axis=1).astype(np.uint8).tobytes()


def png_16(pixels: npt.NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits a channel, grey or RGB."""
    height, width = pixels.shape[:2]
    kind = 2 if pixels.ndim == 3 else 0
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)), (b"IDAT", zlib.compress(raw)))
    made = (
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in (*chunks, (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def draw_class(folder: Path, count: int, *, seed: int = 0, side: int = 8) -> None:
    """PNG files of noise, no two alike."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng((seed, *str(folder).encode()))
    for number in range(count):
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
