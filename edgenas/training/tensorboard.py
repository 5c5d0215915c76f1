"""Training curves for TensorBoard, whose package is an extra."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgenas.errors import ConfigError

FOLDER = "tensorboard"
"""Folder beside the checkpoint; `tensorboard --logdir runs` finds it."""


def load_tensorboard() -> Any:
    """Return torch's module for TensorBoard.

    Raises:
        ConfigError: the package is not installed; the message gives the install line.
    """
    try:
        from torch.utils import tensorboard
    except ImportError as error:
        raise ConfigError(
            "train.tensorboard needs TensorBoard, which is not installed: pip install 'edgenas[tensorboard]'"
        ) from error
    return tensorboard


class TensorBoardWriter:
    """Curves of one training."""

    def __init__(self, folder: Path, first_step: int):
        """Open the log beside the checkpoint in `folder`; older points from `first_step` on are discarded."""
        self._writer = load_tensorboard().SummaryWriter(str(folder / FOLDER), purge_step=first_step)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curves of these names, and write it at once."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
