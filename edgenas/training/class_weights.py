"""Weights of classes in the loss, for training sets whose classes have very different numbers of images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgenas.config.train_config import ClassWeights
from edgenas.training.data.notes import is_unequal

POWERS: dict[ClassWeights, float] = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}
"""A class weighs its number of images to the power of minus this."""


def class_weights(kind: ClassWeights, counts: Sequence[int]) -> Tensor | None:
    """Return the weight of every class in the loss, float32 (classes,); None where all weigh alike.

    The mean over training images is 1, so that the learning rate keeps its meaning.

    Args:
        kind: see `train.class_weights`.
        counts: training images by class.
    """
    power = POWERS["sqrt" if is_unequal(counts) else "none"] if kind == "auto" else POWERS[kind]
    images = torch.tensor(counts, dtype=torch.float64)
    if not power or len(set(counts)) == 1:
        return None
    weights = images.clamp(min=1) ** -power
    return (weights * images.sum() / (weights @ images)).float()
