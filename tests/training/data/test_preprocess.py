"""Preprocessing against Pillow and its formula."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgenas.errors import DataError
from edgenas.training.data.preprocess import Preprocess, resize

STD = 0.5


def image(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Return a smooth gradient with noise, uint8 (h, w, c)."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 200, height)[:, None, None] * np.linspace(0.2, 1, width)[None, :, None]
    return (ramp + rng.integers(0, 56, (height, width, channels))).astype(np.uint8)


def as_batch(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).movedim(-1, 0)[None]


def by_pillow(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize the shorter side with Pillow, crop the centre, scale to -1..1."""
    image = Image.fromarray(pixels)
    short = min(image.size)
    width, height = (round(side * size / short) for side in image.size)
    for step in ((width, image.height), (width, height)):
        image = image.resize(step, Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    cropped = np.asarray(image.crop((left, top, left + size, top + size)), np.float64)
    return np.moveaxis((cropped / 255 - 0.5) / STD, -1, 0)


@pytest.mark.parametrize("size", [8, 17, 24, 32, 48, 64])
@pytest.mark.parametrize(("height", "width"), [(24, 24), (32, 45), (50, 31), (100, 41)])
def test_preprocessing_is_pillows_bilinear_resize(height: int, width: int, size: int) -> None:
    pixels = image(height, width)
    inputs = Preprocess(size)(as_batch(pixels))[0].numpy()
    assert inputs.shape == (3, size, size)
    assert np.abs(inputs - by_pillow(pixels, size)).max() <= 1e-6


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70), st.integers(1, 70), st.integers(0, 3))
def test_resizing_is_bit_identical_to_pillow(
    height: int, width: int, new_height: int, new_width: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    # The direction that Pillow resizes first depends on its version, so each is requested on its own.
    expected = Image.fromarray(pixels)
    for step in ((new_width, height), (new_width, new_height)):
        expected = expected.resize(step, Image.Resampling.BILINEAR)
    resized = resize(as_batch(pixels), new_height, new_width)[0].movedim(0, -1).numpy()
    np.testing.assert_array_equal(resized, np.asarray(expected))


def test_large_batches_are_resized_like_single_images() -> None:
    images = torch.randint(0, 256, (150, 3, 20, 24), dtype=torch.uint8)
    whole = Preprocess(16)(images)
    assert torch.equal(whole, torch.cat([Preprocess(16)(image[None]) for image in images]))


def test_images_of_the_right_size_are_not_resized() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    inputs = Preprocess(16)(pixels)
    assert torch.equal(((inputs * 0.5 + 0.5) * 255).round()[:, :1].to(torch.uint8), pixels)


def test_the_formula_holds_by_channel() -> None:
    preprocess = Preprocess(2, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    inputs = preprocess(torch.full((1, 3, 2, 2), 51, dtype=torch.uint8))
    expected = torch.tensor([(0.2 - 0.1) / 0.5, 0.0, (0.2 - 0.3) / 2.0])
    torch.testing.assert_close(inputs[0, :, 0, 0], expected, atol=1e-6, rtol=0)


def test_grey_images_are_repeated_into_three_channels() -> None:
    pixels = as_batch(image(20, 20, channels=1))
    inputs = Preprocess(16)(pixels)
    assert torch.equal(inputs, Preprocess(16)(pixels.expand(-1, 3, -1, -1)))
    assert torch.equal(inputs[:, 0], inputs[:, 2])


@pytest.mark.parametrize(("height", "width", "rows", "columns"), [(4, 9, (0, 4), (2, 6)), (8, 4, (2, 6), (0, 4))])
def test_the_centre_is_cropped(height: int, width: int, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    pixels = torch.arange(height * width, dtype=torch.uint8).view(1, 1, height, width)
    inputs = ((Preprocess(4)(pixels)[:, :1] * 0.5 + 0.5) * 255).round().to(torch.uint8)
    assert torch.equal(inputs, pixels[..., slice(*rows), slice(*columns)])


def test_batches_are_float32_and_channels_last() -> None:
    inputs = Preprocess(8)(torch.zeros(5, 3, 12, 10, dtype=torch.uint8))
    assert (inputs.dtype, inputs.shape) == (torch.float32, (5, 3, 8, 8))
    assert inputs.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("images", "given"),
    [
        (torch.zeros(1, 3, 8, 8), r"torch.float32 \(1, 3, 8, 8\)"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"torch.uint8 \(3, 8, 8\)"),
        (torch.zeros(1, 4, 8, 8, dtype=torch.uint8), r"torch.uint8 \(1, 4, 8, 8\)"),
    ],
)
def test_other_types_and_shapes_are_refused(images: torch.Tensor, given: str) -> None:
    with pytest.raises(DataError, match=given):
        Preprocess(8)(images)


def test_a_crop_keeps_its_fraction_of_the_shorter_side() -> None:
    pixels = torch.arange(16 * 20, dtype=torch.int64).remainder(251).to(torch.uint8).view(1, 1, 16, 20)
    # 14 / 0.875 is 16, the size of the image: nothing is resized.
    inputs = Preprocess(14, crop=0.875)(pixels)
    assert torch.equal(inputs, Preprocess(14)(pixels[..., 1:15, 3:17]))
    # Once-for-all's sizes before the crop.
    for size, shorter in ((224, 256), (160, 183), (128, 147)):
        image = torch.randint(0, 256, (1, 3, shorter, shorter + 7), dtype=torch.uint8)
        top, left = (shorter - size) // 2, (shorter + 7 - size) // 2
        cut = image[..., top : top + size, left : left + size]
        assert torch.equal(Preprocess(size, crop=0.875)(image), Preprocess(size)(cut))


def test_json_values_are_complete() -> None:
    value = json.loads(json.dumps(asdict(Preprocess(24))))
    assert value == {
        "size": 24,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "colour_order": "RGB",
        "interpolation": "bilinear",
        "presize": None,
        "crop": 1.0,
    }
