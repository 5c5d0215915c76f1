"""The problem of `halves.py`, trained in one of several processes, in double precision."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
import yaml
from halves import CLASSES, CONFIG, problem, quiet
from small_run import SMALL_SPACE

from edgenas.exits import exit_codes
from edgenas.space.loading import parse_space
from edgenas.supernet.supernet import SuperNet
from edgenas.training import training_loop as loop
from edgenas.training.distributed import join_process_group

STEPS = 12
UPDATE = {"epochs": STEPS / 6, "learning_rate": 1e-3, "clip_norm": 5.0, "device": "cpu", "validations": 1}


def supernet() -> SuperNet:
    """Return a small supernet: depthwise convolutions in double precision are slow."""
    torch.manual_seed(1)
    return SuperNet(parse_space(yaml.safe_load(SMALL_SPACE), "tiny").with_classes(len(CLASSES))).double()


def main(folder: Path, recipe: str, ends: int | None = None, sleeps: bool = False) -> None:
    """Train in a folder, as one of the group that the environment describes.

    Args:
        folder: the folder.
        recipe: the recipe of the training.
        ends: the last process ends itself after this step; None for an undisturbed training.
        sleeps: instead, every process sleeps a little after each step from then on.
    """
    torch.set_num_threads(1)
    config = CONFIG.model_copy(update={"recipe": recipe, **UPDATE})
    with exit_codes(), join_process_group(torch.device("cpu")) as processes:

        def progress(label: str, done: int, total: int) -> None:
            if sleeps and ends is not None and done >= ends:
                time.sleep(0.4)
            elif done == ends and processes.rank == processes.count - 1:
                os._exit(9)

        loop.train(
            supernet(),
            problem(),
            config,
            seed=5,
            folder=folder,
            progress=progress if ends else quiet,
            processes=processes,
        )
