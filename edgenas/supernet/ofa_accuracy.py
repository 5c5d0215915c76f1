"""Once-for-all's published accuracy predictors: small networks that read an arch and tell its top-1.

Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment", ICLR 2020.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgenas.errors import DataError, SpaceError, first_line
from edgenas.space.arch import Arch

Floats = npt.NDArray[np.float64]
Layers = tuple[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]], ...]
STAGES, POSITIONS = 5, 4
KERNELS, EXPANDS = (3, 5, 7), (3, 4, 6)
RESOLUTIONS = tuple(range(112, 225, 16))
INPUTS = STAGES * POSITIONS * (len(KERNELS) + len(EXPANDS)) + len(RESOLUTIONS)


class OFAAccuracy:
    """A plain network of ReLU layers on one-hot kernels, expand ratios and resolution; inactive blocks are zeros.

    What it tells is top-1 on pictures held out of training, which for the published one lies 3.8 points above that
    on ImageNet's validation set: good to rank archs by, not to quote.
    """

    def __init__(self, layers: Layers) -> None:
        """Store the layers: weights of shape (out, in) and biases of shape (out,)."""
        self.layers = layers

    @classmethod
    def load(cls, path: Path) -> OFAAccuracy:
        """Read a published file, a torch state dict of alternating weights and biases.

        Raises:
            DataError: the file is missing or broken, or holds something else.
        """
        import torch

        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
            arrays = [value.numpy().astype(np.float32) for value in state.values()]
        except (OSError, RuntimeError, EOFError, AttributeError, TypeError, pickle.UnpicklingError) as error:
            raise DataError(f"{path} cannot be read as an accuracy predictor: {first_line(error)}") from None
        layers = tuple(zip(arrays[::2], arrays[1::2], strict=False))
        shapes = [array.shape for array in arrays]
        if not _chained(layers, len(arrays)):
            raise DataError(
                f"{path}: wanted layers from {INPUTS} inputs to one output, weights and biases in turn, got {shapes}"
            )
        return cls(layers)

    def top1(self, archs: Sequence[Arch]) -> Floats:
        """Predicted top-1, a fraction, shape (n,).

        Raises:
            SpaceError: an arch is not one of the once-for-all MobileNetV3 spaces at 112, 128, … 224 pixels.
        """
        hidden = np.array([_features(arch) for arch in archs], dtype=np.float32).reshape(-1, INPUTS)
        for number, (weight, bias) in enumerate(self.layers):
            hidden = np.maximum(hidden, 0) @ weight.T + bias if number else hidden @ weight.T + bias
        return hidden[:, 0].astype(np.float64)


def _chained(layers: Layers, arrays: int) -> bool:
    if not layers or arrays != 2 * len(layers) or any(w.ndim != 2 or b.shape != w.shape[:1] for w, b in layers):
        return False
    widths = [INPUTS, *(len(weight) for weight, _ in layers)]
    return widths[-1] == 1 and all(weight.shape[1] == width for width, (weight, _) in zip(widths, layers, strict=False))


def _features(arch: Arch) -> npt.NDArray[np.float32]:
    """60 of kernels, 60 of expand ratios, 8 of resolutions; one-hot, in order of position."""
    kernels = np.zeros((STAGES, POSITIONS, len(KERNELS)), dtype=np.float32)
    expands = np.zeros((STAGES, POSITIONS, len(EXPANDS)), dtype=np.float32)
    resolution = np.zeros(len(RESOLUTIONS), dtype=np.float32)
    try:
        resolution[RESOLUTIONS.index(arch.resolution)] = 1
        for s, stage in enumerate(arch.stages[1:]):
            for b, block in enumerate(stage.blocks):
                kernels[s, b, KERNELS.index(block.kernel)] = 1
                expands[s, b, EXPANDS.index(int(block.expand))] = 1
    except (ValueError, IndexError):
        raise SpaceError(
            f"arch {arch}: wanted one of the once-for-all MobileNetV3 spaces at "
            f"{', '.join(map(str, RESOLUTIONS))} pixels"
        ) from None
    return np.concatenate([kernels.ravel(), expands.ravel(), resolution])
