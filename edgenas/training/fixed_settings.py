"""Settings that are fixed when training begins and hold to its end: fixed_settings.json, beside the checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from edgenas.records.record import Count, Record

FILE_NAME = "fixed_settings.json"
LOGGER = logging.getLogger(__name__)


class FixedSettings(Record):
    """The length of a training, and what its bits depend on.

    Attributes:
        steps: optimiser steps in all.
        minutes: value of `--train-minutes`; None where the epochs of the config set the length.
        init_sha256: digest of the file of initial weights; None where they were random.
        circumstances: versions, threads and device. On a CPU, equal ones give equal bits.
    """

    steps: Count
    minutes: Annotated[float, Field(gt=0)] | None
    init_sha256: str | None
    circumstances: dict[str, str | int]

    @classmethod
    def load(cls, folder: Path) -> FixedSettings | None:
        """Return the settings of the training in `folder`; None where none has begun.

        Raises:
            UserError: the file is broken.
        """
        path = folder / FILE_NAME
        if not path.exists():
            return None
        return cls.read(path, "the checkpoint beside it, and train again")

    def save(self, folder: Path) -> None:
        """Write the settings into `folder`, atomically."""
        self.write(folder / FILE_NAME)

    def differences(self, device: torch.device) -> str:
        """Return in words how the circumstances differ from those of the beginning; empty where they are equal."""
        current = circumstances(device)
        return ", ".join(
            f"{key} was {before}, is {current.get(key, 'unknown')}"
            for key, before in self.circumstances.items()
            if current.get(key) != before
        )


def circumstances(device: torch.device) -> dict[str, str | int]:
    """Return what the bits of a training depend on beside its config."""
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def warn_if_minutes_differ(folder: Path, minutes: float | None) -> None:
    """Warn if `--train-minutes` has no effect, because the training in `folder` already has its number of steps."""
    settings = FixedSettings.load(folder)
    if settings is None or minutes in (None, settings.minutes):
        return
    origin = "train.epochs" if settings.minutes is None else f"--train-minutes {settings.minutes:g}"
    LOGGER.warning(
        "note: this training started with %d steps (%s) and keeps them: for --train-minutes %g use another --run",
        settings.steps,
        origin,
        minutes,
    )
