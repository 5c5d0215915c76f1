"""Check that a file with an open batch gives an image the same logits in every batch."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from edgenas.deploy.onnx.exporter import model_metadata
from edgenas.deploy.onnx.parity import TOLERANCE, least_agreement
from edgenas.deploy.onnx.scoring import onnx_logits
from edgenas.errors import ParityError
from edgenas.training.data.preprocess import Preprocess

BATCH = 7
"""An odd batch size, which kernels are not optimised for."""


def check_batches(onnx_path: Path, images: Tensor, preprocess: Preprocess, *, batch: int = BATCH) -> float:
    """Return the greatest |Δlogit| between batches of one and of `batch` images.

    Args:
        onnx_path: an exported file whose batch is open, fp32 or int8.
        images: uint8 (n, 1 or 3, h, w), n at least 1.
        preprocess: how images become inputs.
        batch: number of images at a time.

    Raises:
        ParityError: in fp32 a logit differs by more than 1e-3; in int8, where a rounding that falls to the other side
            moves logits, fewer images get the same class than `least_agreement` requires.
        UserError: no file, or the runtime cannot run it.
        DataError: no images, or of another type or shape.
    """
    single, together = (onnx_logits(onnx_path, images, preprocess, batch=size) for size in (1, batch))
    difference = float((single - together).abs().max())
    agreement = float((single.argmax(1) == together.argmax(1)).float().mean())
    int8 = "quantiser_recipe" in model_metadata(onnx_path)
    # The comparisons also fail for NaN.
    if not agreement >= least_agreement(len(images)) - 1e-6 or not (int8 or difference <= TOLERANCE):
        raise ParityError(
            f"{onnx_path}: {batch} images at a time get different logits than one by one (by {difference:.3g}, top-1 "
            f"agreement {agreement:.2%}): export with batch 1"
        )
    return difference
