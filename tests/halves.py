"""A small problem with two classes that differ in which half of the image is bright, and its training.

`main` trains in a folder, with a checkpoint after every few steps, for tests that kill it.
"""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path

import pytest
import torch
from spaces import SMALL
from torch import Tensor

from edgenas.config.train_config import AugmentConfig, TrainConfig
from edgenas.progress import Progress
from edgenas.supernet.supernet import SuperNet
from edgenas.training import training_loop as loop
from edgenas.training.data.dataset import Dataset
from edgenas.training.data.split import Split

CONFIG = TrainConfig(
    recipe="sandwich", epochs=1, batch_size=8, learning_rate=3e-3, augment=AugmentConfig(shift=0.1, flip=True)
)
EVERY_STEP = CONFIG.model_copy(update={"checkpoint_seconds": 0.0})
"""The same training with a checkpoint after every step."""
STEPS = 6
"""Steps of one epoch."""
CLASSES = ("top", "bottom")


class Killed(Exception):
    """Raised by a test to end a training."""


def kill_at(step: int) -> Progress:
    """Return a progress callback that ends the training after a step."""

    def progress(label: str, done: int, total: int) -> None:
        if label.startswith("training") and done == step:
            raise Killed

    return progress


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the messages of all warnings."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def quiet(label: str, done: int, total: int) -> None:
    pass


def problem(train: int = 8 * STEPS) -> Dataset:
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        labels = torch.arange(count) % 2
        images = torch.randint(0, 100, (count, 1, 12, 12), generator=generator)
        images[labels == 1, :, 6:] += 120
        images[labels == 0, :, :6] += 120
        return Split(images.to(torch.uint8), labels)

    return Dataset("halves", CLASSES, split(train), split(20), split(20))


def supernet(num_classes: int = 2) -> SuperNet:
    torch.manual_seed(1)
    return SuperNet(SMALL.with_classes(num_classes))


def train(
    folder: Path, config: TrainConfig = CONFIG, progress: Progress = quiet, minutes: float | None = None
) -> dict[str, Tensor]:
    net = supernet()
    loop.train(net, problem(), config, seed=5, folder=folder, progress=progress, minutes=minutes)
    return net.state_dict()


def main(folder: Path, epochs: float, slow_from: float = math.inf) -> None:
    """Print each step when it is done; from a step on, wait a little after each, so that there is time for a kill."""

    def progress(label: str, done: int, total: int) -> None:
        print(done, flush=True)
        if done >= slow_from:
            time.sleep(0.4)

    train(folder, CONFIG.model_copy(update={"epochs": epochs, "checkpoint_seconds": 0.1}), progress)
