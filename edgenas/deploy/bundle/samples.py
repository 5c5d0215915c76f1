"""Sample inputs and expected outputs of a bundle's models, for `verify.py`."""

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
from edgenas.records.bundle import Samples
from edgenas.training.data.preprocess import Preprocess

SAMPLES = "samples.npz"
IMAGES = 8
COARSE = 6
"""Number of noise values along a side of a sample. The noise is coarse, because images have larger shapes as well."""
INT8_TOLERANCE = 0.1
"""Tolerance of an int8 file as a share of the range of its outputs.

Integer kernels round differently on different machines. The error of saturation is many times larger.
"""

Pixels = npt.NDArray[np.uint8]


def sample_pixels(size: int, seed: int = 0) -> Pixels:
    """Return smooth coloured noise, uint8 of shape (8, size, size, 3).

    Images of the user are not used, because they must not be in every bundle.
    """
    noise = torch.from_numpy(np.random.default_rng(seed).random((IMAGES, 3, COARSE, COARSE), np.float32))
    smooth = F.interpolate(noise, (size, size), mode="bicubic", align_corners=False).clamp_(0, 1)
    return (smooth * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def make_samples(models: Mapping[str, Path], preprocess: Preprocess) -> tuple[bytes, Samples]:
    """Return the contents of the samples' file, and its entry in the manifest.

    The file has the resized and cropped `pixels`, uint8 of shape (n, size, size, 3), and the logits of each model,
    float32 of shape (n, classes), under the name of its file without `.onnx`.

    Args:
        models: model files by their names in the bundle.
        preprocess: preprocessing of images.
    """
    pixels = sample_pixels(preprocess.size)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    # The samples have the size of the network's inputs, so they are not cropped again.
    cropped = dataclasses.replace(preprocess, crop=1.0)
    logits = {name: onnx_logits(path, images, cropped).numpy() for name, path in models.items()}
    stream = io.BytesIO()
    arrays: dict[str, Any] = {Path(name).stem: values for name, values in logits.items()}
    np.savez_compressed(stream, pixels=pixels, **arrays)
    tolerances = {name: _tolerance(models[name], values) for name, values in logits.items()}
    return stream.getvalue(), Samples(file=SAMPLES, images=len(pixels), tolerance=tolerances)


def _tolerance(model: Path, logits: npt.NDArray[np.float32]) -> float:
    if "quantiser_recipe" in model_metadata(model):
        return max(TOLERANCE, INT8_TOLERANCE * float(np.ptp(logits)))
    # Outputs for noise may be larger than outputs for images.
    return TOLERANCE * max(1.0, float(np.abs(logits).max()) / 10)
