"""Sample inputs of a bundle with the outputs its models gave where they were made: what `verify.py` holds them to."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from edgenas.deploy.onnx.exporter import model_metadata
from edgenas.deploy.onnx.parity import TOLERANCE
from edgenas.deploy.onnx.scoring import onnx_logits
from edgenas.training.data.preprocess import Preprocess

SAMPLES = "samples.npz"
IMAGES = 8
COARSE = 6
"""Values along a side of the noise that samples are drawn from: images have larger shapes, too."""
INT8_TOLERANCE = 0.1
"""Of the spread of a file's outputs. Integer kernels round differently from machine to machine; saturation, which is
what goes wrong with them, is many times as much."""

Pixels = npt.NDArray[np.uint8]


def sample_pixels(size: int, seed: int = 0) -> Pixels:
    """Return smooth coloured noise, uint8 (8, size, size, 3); the user's own images must not be in every bundle."""
    noise = torch.from_numpy(np.random.default_rng(seed).random((IMAGES, 3, COARSE, COARSE), np.float32))
    smooth = F.interpolate(noise, (size, size), mode="bicubic", align_corners=False).clamp_(0, 1)
    return (smooth * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def make_samples(models: Mapping[str, Path], preprocess: Preprocess) -> tuple[bytes, dict[str, Any]]:
    """Return the file of samples, and its entry in the manifest.

    The file holds `pixels`, uint8 (n, size, size, 3), as they are once resized and cropped, and for each model, under
    its file's name without `.onnx`, its logits float32 (n, classes).

    Args:
        models: files by their name in the bundle.
        preprocess: preprocessing of images.
    """
    pixels = sample_pixels(preprocess.size)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    # They are of the network's own size: what comes after resizing and cropping.
    cropped = dataclasses.replace(preprocess, crop=1.0)
    logits = {name: onnx_logits(path, images, cropped).numpy() for name, path in models.items()}
    stream = io.BytesIO()
    arrays: dict[str, Any] = {Path(name).stem: values for name, values in logits.items()}
    np.savez_compressed(stream, pixels=pixels, **arrays)
    tolerances = {name: _tolerance(models[name], values) for name, values in logits.items()}
    return stream.getvalue(), {"file": SAMPLES, "images": len(pixels), "tolerance": tolerances}


def _tolerance(model: Path, logits: npt.NDArray[np.float32]) -> float:
    if "quantiser_recipe" in model_metadata(model):
        return max(TOLERANCE, INT8_TOLERANCE * float(np.ptp(logits)))
    # Noise may be answered more strongly than images are.
    return TOLERANCE * max(1.0, float(np.abs(logits).max()) / 10)
