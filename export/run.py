#!/usr/bin/env python3
"""Classify images: one file, Python 3.9 or newer, NumPy, ONNX Runtime and Pillow.

    python run.py model.onnx image.png [more.jpg ...] [--top 3] [--json]

Classes and preprocessing are read from `manifest.json` beside the model.

Images are turned upright by their EXIF orientation and converted to 8-bit RGB: 16-bit grey is scaled (not clipped),
palette and CMYK are converted, transparent parts become white, and animations give their first frame. Signed, 32-bit
and floating-point pixels are refused, since their range is unknown. Exit code 0: every image was classified. 2: an
argument or image is invalid; the other images are still classified.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
    # The folder of this file may contain someone's own random.py. Python before 3.11 has no option against it.
    del sys.path[0]

import argparse
import json
import math
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Read by ONNX Runtime at import; without it, it writes an id into the home folder, and a thread sends reports.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    import numpy as np
    import onnxruntime as ort
    from PIL import Image, UnidentifiedImageError
except ImportError as error:
    sys.exit(f"run: {error}: pip install numpy onnxruntime pillow")

SCHEMA_VERSION = 1
BILINEAR = Image.Resampling.BILINEAR
MAX_ASPECT = 50
# The formats of training. Pillow runs programs on the content of others (EPS, PDF).
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
DARK = 0.25  # 14 bits of 16
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
SUBFILE, BITS, PHOTOMETRIC, SAMPLE_FORMAT, DNG_VERSION = 254, 258, 262, 339, 50706  # tags of TIFF
SIGNED = 2
CAUSES = (
    (rb"$", "it is empty"),
    (rb"version https://git-lfs", "it is a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", "it is a HEIC (HEIF) image: convert it to JPEG or PNG"),
    (rb"(?i:\s*<(!doctype html|html|head|body))", "it is a web page (HTML), as after a failed download"),
    (rb"\s*(<\?xml[^>]*>\s*|<!--.*?-->\s*)*<svg", "it is an SVG drawing: convert it to PNG"),
    (rb"\x1f\x8b", "it is a gzip archive: unpack it with gunzip"),
    (rb"%!PS|%PDF", "it is PostScript or PDF: convert it to PNG"),
)


class UsageError(Exception):
    """An argument or a file is invalid; the message is one line."""


class Preprocess(NamedTuple):
    """How an image becomes the network's input (the manifest's `preprocess`)."""

    size: int
    mean: Sequence[float]
    std: Sequence[float]
    colour_order: str
    interpolation: str
    presize: int | None = None
    crop: float = 1.0

    def __call__(self, image: Image.Image) -> np.ndarray:
        """RGB image to float32 (1, 3, size, size): `pixels`, then `(pixel / 255 - mean) / std` by channel."""
        pixels = self.pixels(image)[0].astype(np.float32) / np.float32(255)
        mean, std = (np.asarray(values, dtype=np.float32) for values in (self.mean, self.std))
        return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1)[None])

    def pixels(self, image: Image.Image) -> np.ndarray:
        """RGB image to uint8 (1, size, size, 3): shorter side to `size / crop`, rounded up, centre crop.

        If training stored its images at a `presize`, the shorter side is first resized to that.
        """
        if self.presize:
            image = fit(image, self.presize, self.presize)
        # Minus an epsilon, since exact divisions may round up in floating point.
        return np.asarray(fit(image, math.ceil(self.size / self.crop - 1e-6), self.size))[None]


def fit(image: Image.Image, shorter: int, side: int) -> Image.Image:
    """Shorter side resized to `shorter` (bilinear, antialiased), centre cropped to a square of `side`."""
    short = min(image.size)
    if short != shorter:
        width, height = (max(shorter, round(length * shorter / short)) for length in image.size)
        # Rows first, as in training: which comes first is up to Pillow's version otherwise, and is a level apart.
        for size in ((width, image.height), (width, height)):
            image = image.resize(size, BILINEAR)
    left, top = ((length - side) // 2 for length in image.size)
    return image.crop((left, top, left + side, top + side))


def decode(image: Image.Image) -> tuple[Image.Image, float | None]:
    """Return an opened image upright as 8-bit RGB, and for deeper ones the largest level as a share of the range."""
    _check_kind(image)
    storage = _storage(image)
    image.load()
    if max(image.size) > MAX_ASPECT * min(image.size):
        raise UsageError(f"it has {image.width} x {image.height} pixels: too narrow for a square crop")
    rgb, used = _eight_bit(image, storage)
    turned = orientation(image)
    return (rgb.transpose(TURNS[turned]) if turned in TURNS else rgb), used


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 if it is missing or invalid; no other metadata is read."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    # Cameras write malformed EXIF blocks; the pixels are intact anyway.
    except Exception:
        return 1
    return value if isinstance(value, int) and value in TURNS else 1


def _check_kind(image: Image.Image) -> None:
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return
    if DNG_VERSION in tags or _first(tags.get(SUBFILE, 0)) & 1:
        raise UsageError("its first image is a reduced preview, as in a camera's raw file: develop it to JPEG or PNG")
    if _first(tags.get(SAMPLE_FORMAT, 1)) == SIGNED:
        raise UsageError("its pixels are signed numbers of unknown range: save it with 8 or 16 unsigned bits")


def _first(value: Any) -> int:
    value = value[0] if isinstance(value, tuple) else value
    return value if isinstance(value, int) else 0


def _storage(image: Image.Image) -> str:
    """Return Pillow's description of the stored pixels, like `RGB;16B`, which loading discards."""
    if not image.tile:
        return ""
    layout = image.tile[0][3]
    if image.format == "PPM" and isinstance(layout, tuple) and layout[1] == 65535:
        return f"{layout[0]};16"
    return str(layout)


def _eight_bit(image: Image.Image, storage: str) -> tuple[Image.Image, float | None]:
    if image.mode == "F":
        raise UsageError("its pixels are floating-point numbers of unknown range: save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        return _deep_grey(image, storage)
    return _on_white(image), (_used_of_channels(image) if ";16" in storage else None)


def _deep_grey(image: Image.Image, storage: str) -> tuple[Image.Image, float]:
    """Return grey of 12 or 16 bits (`I;16`, in older Pillow `I`) scaled to 8; Pillow's conversion clips at 255."""
    if "I;32" in storage:
        raise UsageError("its pixels are 32-bit numbers of unknown range: save it with 8 or 16 bits")
    tags = getattr(image, "tag_v2", {})
    highest = 4095 if _first(tags.get(BITS, 16)) == 12 else 65535
    pixels = np.asarray(image).astype(np.float64)
    clear = pixels == image.info.get("transparency", -1)
    if _first(tags.get(PHOTOMETRIC, 1)) == 0:
        pixels = highest - pixels
    grey = np.clip(np.rint(pixels * 255 / highest), 0, 255).astype(np.uint8)
    return Image.fromarray(np.where(clear, np.uint8(255), grey)).convert("RGB"), float(pixels.max() / highest)


def _used_of_channels(image: Image.Image) -> float:
    """Return the largest level of any colour channel; of 16 bits Pillow stores the upper eight."""
    colours = [image.getchannel(band) for band in image.getbands() if band not in "Aa"]
    return max(float(np.asarray(colour).max()) for colour in colours) / 255


def _on_white(image: Image.Image) -> Image.Image:
    premultiplied = {"La": "LA", "RGBa": "RGBA"}
    if image.mode in premultiplied:
        image = image.convert(premultiplied[image.mode])
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def open_image(path: str) -> Image.Image:
    """Read and decode an image file; a suspiciously dark one prints a warning on standard error.

    Raises:
        UsageError: the file is missing, not an image, broken, or of a format or range that training refuses.
    """
    Image.init()
    try:
        with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as image:
            rgb, used = decode(image)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    # Decoders raise many kinds of exceptions at broken data.
    except Exception as error:
        raise UsageError(f"{path}: {_cause(path, error)}") from None
    if used is not None and used < DARK:
        dark = f"it uses {used:.1%} of its 16 bits a channel, as cameras of 10 to 14 bits do: scale its pixels up"
        print(f"run: {path}: warning: {dark}", file=sys.stderr)
    return rgb


def _cause(path: str, error: Exception) -> str:
    """Return why an image cannot be read, from its first bytes if they are recognised."""
    cause = None if isinstance(error, OSError) and error.errno else _recognised(path)
    if cause:
        return cause
    if isinstance(error, UnidentifiedImageError):
        return f"not an image of a supported format ({', '.join(FORMATS)})"
    return f"cannot be read: {error}"


def _recognised(path: str) -> str | None:
    """Return what kind of other file this is, by its first bytes; None if unknown."""
    with open(path, "rb") as stream:
        head = stream.read(512)
    return next((cause for pattern, cause in CAUSES if re.match(pattern, head, re.DOTALL)), None)


class Classifier:
    """A model with the classes and preprocessing of the manifest in its folder."""

    def __init__(self, model: str):
        manifest = read_manifest(Path(model).parent / "manifest.json")
        self.classes = [str(name) for name in manifest["classes"]]
        self.preprocess = _preprocess(manifest["preprocess"])
        self.session = _session(model)
        source, target = self.session.get_inputs()[0], self.session.get_outputs()[0]
        size = self.preprocess.size
        # A model with uint8 input contains the normalisation.
        self.normalises = source.type == "tensor(uint8)"
        expected = ([1, size, size, 3] if self.normalises else [1, 3, size, size], [1, len(self.classes)])
        if (_for_one(source.shape), _for_one(target.shape)) != expected:
            raise UsageError(
                f"{model} takes {source.shape} and gives {target.shape}, its manifest.json expects "
                f"{expected[0]} and {expected[1]}: put the model next to its own manifest.json"
            )
        self.input = source.name

    def __call__(self, image: Image.Image) -> list[tuple[str, float]]:
        """Return every class with its confidence (softmax), most confident first."""
        prepared = self.preprocess.pixels(image) if self.normalises else self.preprocess(image)
        logits = self.session.run(None, {self.input: prepared})[0][0].astype(np.float64)
        exponents = np.exp(logits - logits.max())
        confidences = exponents / exponents.sum()
        order = np.argsort(-confidences, kind="stable")
        return [(self.classes[index], float(confidences[index])) for index in order]


def _for_one(shape: list[Any]) -> list[Any]:
    """Return a model's shape for one image: an open batch is 1."""
    return [1, *shape[1:]] if shape and not isinstance(shape[0], int) else shape


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest and check the fields that this script needs.

    Raises:
        UsageError: it is missing, broken, or of a newer schema.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UsageError(f"{path} is missing: keep the model in its bundle") from None
    except ValueError as error:
        raise UsageError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(manifest, dict) or not {"schema_version", "classes", "preprocess"} <= set(manifest):
        raise UsageError(f"{path} lacks schema_version, classes or preprocess: it is not a bundle's manifest")
    if not isinstance(manifest["classes"], list):
        raise UsageError(f"{path} has no list of classes: it is not a bundle's manifest")
    if not isinstance(manifest["schema_version"], int) or manifest["schema_version"] > SCHEMA_VERSION:
        raise UsageError(f"{path} has schema {manifest['schema_version']}: use the run.py of its bundle")
    return manifest


def _valid(preprocess: Preprocess) -> bool:
    size, mean, std, presize = preprocess.size, preprocess.mean, preprocess.std, preprocess.presize
    try:
        by_channel = np.asarray([mean, std], dtype=np.float32)
        sides = [side for side in (size, presize) if side is not None]
        whole = all(isinstance(side, int) and side > 0 for side in sides)
        return whole and by_channel.shape == (2, 3) and bool((by_channel[1] > 0).all()) and 0 < preprocess.crop <= 1
    except (TypeError, ValueError):
        return False


def _preprocess(values: Any) -> Preprocess:
    try:
        preprocess = Preprocess(**values)
    except TypeError:
        raise UsageError(f"the manifest's preprocess has unexpected fields: {values!r}") from None
    if not _valid(preprocess):
        raise UsageError(f"the manifest's preprocess has invalid values: {values!r}")
    if (preprocess.colour_order, preprocess.interpolation) != ("RGB", "bilinear"):
        raise UsageError(f"preprocess: {preprocess.colour_order}, {preprocess.interpolation}: expected RGB, bilinear")
    return preprocess


def _session(model: str) -> ort.InferenceSession:
    if not Path(model).is_file():
        raise UsageError(f"{model}: no such file")
    ort.set_default_logger_severity(4)
    try:
        return ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    # ONNX Runtime's exceptions have no public common base.
    except Exception as error:
        # Without positions in the runtime's source code.
        message = " ".join(str(error).split())
        message = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?", "", message)
        message = re.sub(r"\S+\.(?:h|cc|cpp):\d+ .*?\) (?=[A-Z])", "", message).rstrip(".")
        raise UsageError(
            f"{model} cannot be loaded by onnxruntime {ort.__version__}: {_recognised(model) or message}: "
            "install a newer one, or copy the bundle again"
        ) from None


def classify_images(classifier: Classifier, paths: Sequence[str], top: int) -> list[dict[str, Any]]:
    """Return for each image its `top` most confident classes, or an `error`."""
    rows: list[dict[str, Any]] = []
    for path in paths:
        try:
            ranked = classifier(open_image(path))[:top]
        except UsageError as error:
            rows.append({"image": path, "error": str(error)})
            continue
        rows.append({"image": path, "classes": [{"class": name, "confidence": value} for name, value in ranked]})
    return rows


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print a line for each image: its classes, most confident first."""
    for row in rows:
        if "classes" in row:
            parts = [f"{shown(entry['class'])} ({entry['confidence']:.1%})" for entry in row["classes"]]
            print(f"{row['image']}: {', '.join(parts)}")


def shown(name: str) -> str:
    """Return a class's name for one line: in quotes if it contains a comma, control characters escaped."""
    plain = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)
    return json.dumps(plain, ensure_ascii=False) if "," in plain else plain


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(description="Classify images.")
    command.add_argument("model", help="model.onnx, with its manifest.json in the same folder")
    command.add_argument("images", nargs="+", metavar="image", help="JPEG, PNG, WebP, BMP, GIF, TIFF, PPM or AVIF")
    command.add_argument("--top", type=int, default=3, help="classes to print for each (default 3)")
    command.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0: every image was classified, else 2."""
    args = parser().parse_args(argv)
    if args.top < 1:
        print(f"run: --top: expected a number from 1, got {args.top}", file=sys.stderr)
        return 2
    # Characters that the terminal's encoding lacks are escaped instead of raising.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    # Pillow warns about odd metadata and big images; files that it cannot read raise an exception.
    warnings.simplefilter("ignore")
    try:
        rows = classify_images(Classifier(args.model), args.images, args.top)
    except UsageError as error:
        print(f"run: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps({"model": args.model, "images": rows}, ensure_ascii=False))
    else:
        print_rows(rows)
    failures = [row["error"] for row in rows if "error" in row]
    for failure in failures:
        print(f"run: {failure}", file=sys.stderr)
    return 2 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
