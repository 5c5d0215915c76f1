"""Odd images: run.py and the page give the label that Preprocess and ONNX Runtime give in Python, or a message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from in_browser import NAME_ALL
from little_bundle import run_rows
from odd_images import broken, lossless, lossy
from PIL import Image

from edgenas.errors import DataError
from edgenas.training.data.image_files import open_image, to_tensor
from edgenas.training.data.preprocess import Preprocess

TIE = 0.05
"""Of confidence. Decoders and libraries that resize differ by a level here and there, which may turn a tie alone."""


class Expected(NamedTuple):
    """Of an image: its label, how sure that is, and by how much surer than the next one."""

    label: str
    confidence: float
    margin: float


class Reference:
    """A bundle's model as training would use it: torch prepares, ONNX Runtime computes."""

    def __init__(self, bundle: Path) -> None:
        manifest = json.loads((bundle / "manifest.json").read_text())
        self.classes = manifest["classes"]
        self.preprocess = Preprocess(**manifest["preprocess"])
        self.session = onnxruntime.InferenceSession(str(bundle / "model.onnx"), providers=["CPUExecutionProvider"])

    def __call__(self, pixels: torch.Tensor) -> Expected:
        """Pixels uint8 (3, h, w)."""
        inputs = self.preprocess(pixels[None]).contiguous().numpy()
        logits = torch.from_numpy(self.session.run(None, {"pixels": inputs})[0])
        best, second = logits.softmax(1)[0].topk(2).values.tolist()
        return Expected(self.classes[int(logits.argmax())], best, best - second)


@pytest.fixture(scope="module")
def reference(shared_bundle: Path) -> Reference:
    return Reference(shared_bundle)


def assert_labelled(name: str, label: str, confidence: float, expected: Expected) -> None:
    assert label == expected.label or expected.margin < TIE, name
    if label == expected.label:
        assert confidence == pytest.approx(expected.confidence, abs=TIE), name


@pytest.fixture(scope="module")
def expected(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Expected]]:
    """Images with what is expected of them; of lossless ones from pixels that no decoder has touched."""
    folder = tmp_path_factory.mktemp("odd")
    known = {
        name: (path, reference(to_tensor(Image.fromarray(pixels)))) for name, (path, pixels) in lossless(folder).items()
    }
    return known | {name: (path, reference(to_tensor(open_image(path)))) for name, path in lossy(folder).items()}


def test_training_sees_what_one_sees(tmp_path: Path) -> None:
    for name, (path, pixels) in lossless(tmp_path / "odd").items():
        assert np.array_equal(np.asarray(open_image(path)), pixels), name


def test_the_labels_tell_images_apart(expected: dict[str, tuple[Path, Expected]]) -> None:
    reported = [one for _, one in expected.values() if one.margin >= TIE]
    assert len(reported) > 0.8 * len(expected)
    assert len({one.label for one in reported}) > 5


def test_run_py_labels_odd_images_as_training_would(
    shared_bundle: Path, expected: dict[str, tuple[Path, Expected]]
) -> None:
    rows = run_rows(shared_bundle, [path for path, _ in expected.values()])
    for (name, (_, wanted)), row in zip(expected.items(), rows, strict=True):
        first = row["classes"][0]
        assert_labelled(name, first["class"], first["confidence"], wanted)


def test_the_page_labels_odd_images_as_training_would(
    page: Any, site: tuple[Path, str], expected: dict[str, tuple[Path, Expected]]
) -> None:
    served = site[0] / "odd"
    served.mkdir()
    for path, _ in expected.values():
        (served / path.name).write_bytes(path.read_bytes())
    got = page.evaluate(NAME_ALL, [f"odd/{path.name}" for path, _ in expected.values()])
    for (name, (_, wanted)), found in zip(expected.items(), got, strict=True):
        assert "error" not in found, (name, found)
        assert_labelled(name, found["label"], found["confidence"], wanted)


def test_what_is_no_whole_image_is_refused_by_training_and_run_py(shared_bundle: Path, tmp_path: Path) -> None:
    images = broken(tmp_path / "broken")
    rows = run_rows(shared_bundle, list(images.values()))
    for (name, path), row in zip(images.items(), rows, strict=True):
        assert row["error"].startswith(f"{path}: "), name
        assert "\n" not in row["error"]
        with pytest.raises(DataError):
            open_image(path)


def test_what_is_no_whole_image_is_a_message_in_the_page(page: Any, site: tuple[Path, str]) -> None:
    images = broken(site[0] / "broken")
    got = page.evaluate(NAME_ALL, [f"broken/{name}" for name in images])
    for name, found in zip(images, got, strict=True):
        assert "error" in found, (name, found)
        assert found["error"].startswith(f"broken/{name}: ")


def test_kinds_that_browsers_lack_are_a_message_in_the_page(page: Any, site: tuple[Path, str]) -> None:
    folder = site[0] / "strange"
    folder.mkdir()
    Image.new("CMYK", (20, 20)).save(folder / "cmyk.tiff")
    Image.fromarray(np.zeros((20, 20), np.float32)).save(folder / "float.tiff")
    (folder / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    for found in page.evaluate(NAME_ALL, [f"strange/{path.name}" for path in sorted(folder.iterdir())]):
        assert found["error"].endswith("not an image that this browser can read")
