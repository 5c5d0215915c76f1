"""The user's own images, from class folders of all kinds of files to labels on the device."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_run import SHORT, SMALL_CONFIG, SMALL_SPACE, edgenas


@dataclass(frozen=True)
class OwnRun:
    """The working directory of the command, the run's folder, and the standard error output."""

    cwd: Path
    folder: Path
    stderr: str


CLASSES = ("Äpfel, rot", "bars", "dots")
SIZES = ((40, 40), (52, 40), (30, 64), (80, 60))


def image(label: int, number: int) -> Image.Image:
    """Return an image of a class: red, stripes or dots, of several sizes and with noise."""
    rng = np.random.default_rng((label, number))
    height, width = SIZES[number % len(SIZES)]
    pixels = rng.integers(60, 200, (height, width, 3)).astype(float)
    rows, columns = np.mgrid[:height, :width]
    if label == 0:
        pixels[..., 0] += 90
    elif label == 1:
        pixels += 80 * np.sign(np.sin(rows / 3))[..., None]
    else:
        pixels += 80 * np.sign(np.sin(rows / 3) * np.sin(columns / 3))[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def save(image: Image.Image, path: Path, number: int) -> None:
    kind = number % 5
    if kind == 0:
        image.save(path.with_suffix(".png"))
    elif kind == 1:
        image.save(path.with_suffix(".jpg"), quality=92)
    elif kind == 2:
        image.convert("RGBA").save(path.with_suffix(".webp"), quality=92)
    elif kind == 3:
        image.quantize(200).save(path.with_suffix(".gif"))
    else:
        exif = Image.Exif()
        exif[0x0112] = 8
        image.rotate(-90, expand=True).save(path.with_suffix(".jpeg"), quality=92, exif=exif)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> OwnRun:
    cwd = tmp_path_factory.mktemp("own images")
    for split, count in (("train", 110), ("test", 30)):
        for label, name in enumerate(CLASSES):
            folder = cwd / "meine Bilder" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                save(image(label, number + 1000 * (split == "test")), folder / f"{number:03d}", number)
    (cwd / "meine Bilder" / "train" / "bars" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much")
    (cwd / "tiny-16.yaml").write_text(SMALL_SPACE)
    data = "data: {name: imagefolder, path: meine Bilder, validation: 0.2}"
    (cwd / "own.yaml").write_text(SMALL_CONFIG.replace("data: {name: digits}", data).replace("epochs: 3", "epochs: 12"))
    done = edgenas("run", "own.yaml", *SHORT, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return OwnRun(cwd, cwd / "runs" / "small", done.stderr)


def test_the_set_is_described_and_its_faults_are_reported(run: OwnRun) -> None:
    data = json.loads((run.folder / "data.json").read_text())
    assert data["classes"] == sorted(CLASSES)
    assert data["counts"]["test"] == 90
    assert data["counts"]["train"] + data["counts"]["validation"] == 330
    assert data["broken"] == ["train/bars/broken.jpg"]
    assert data["presize"] == 16
    assert "train/bars/broken.jpg" in run.stderr


def test_the_bundle_labels_the_raw_files_as_was_reported(run: OwnRun) -> None:
    bundle = run.folder / "export" / "bundle"
    assert json.loads((bundle / "manifest.json").read_text())["preprocess"]["presize"] == 16
    files = sorted((run.cwd / "meine Bilder" / "test").rglob("*.*"))
    command = [sys.executable, str(bundle / "run.py"), str(bundle / "model.onnx"), *map(str, files), "--json"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    named = [row["classes"][0]["class"] for row in json.loads(done.stdout)["images"]]
    top1 = np.mean([name == file.parent.name for name, file in zip(named, files, strict=True)])
    # The device resizes as training did, to the bit.
    assert top1 == pytest.approx(json.loads((run.folder / "summary.json").read_text())["chosen"]["test_top1"])
    assert top1 > 0.6


def test_changed_images_are_not_mixed_into_a_run(run: OwnRun) -> None:
    again = shutil.copytree(run.folder, run.cwd / "runs" / "again")
    (again / "export" / "result.json").unlink()
    extra = run.cwd / "meine Bilder" / "train" / "dots" / "late.png"
    image(2, 5000).save(extra)
    changed = edgenas("export", str(again), cwd=run.cwd)
    extra.unlink()
    assert changed.returncode == 2
    assert "the images of imagefolder changed since this run began" in changed.stderr
    assert edgenas("export", str(again), cwd=run.cwd).returncode == 0
