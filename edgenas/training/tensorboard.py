"""What training told, for TensorBoard; its package is an extra."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgenas.errors import ConfigError

FOLDER = "tensorboard"
"""Beside the checkpoint: `tensorboard --logdir runs` finds it."""


def load_tensorboard() -> Any:
    """Torch's module for it.

    Raises:
        ConfigError: the package is not installed; the install line is told.
    """
    try:
        from torch.utils import tensorboard
    except ImportError as error:
        raise ConfigError(
            "train.tensorboard needs TensorBoard, which is not installed: pip install 'edgenas[tensorboard]'"
        ) from error
    return tensorboard


class Board:
    """Curves of one training."""

    def __init__(self, folder: Path, begun: int):
        """Args: the checkpoint's folder; the step that training goes on from, since when older curves count no more."""
        self._writer = load_tensorboard().SummaryWriter(str(folder / FOLDER), purge_step=begun)

    def tell(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curves of these names, and show it at once."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
