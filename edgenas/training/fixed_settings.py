"""Settings that are fixed when training begins and hold to its end: fixed_settings.json, beside the checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch

from edgenas.records.train import FixedSettings

FILE_NAME = "fixed_settings.json"
LOGGER = logging.getLogger(__name__)


def load_fixed_settings(folder: Path) -> FixedSettings | None:
    """Return the settings of the training in `folder`; None where none has begun.

    Raises:
        UserError: the file is broken.
    """
    path = folder / FILE_NAME
    return FixedSettings.read(path, "the checkpoint beside it, and train again") if path.exists() else None


def differences(settings: FixedSettings, device: torch.device) -> str:
    """Return in words how the circumstances differ from those of the beginning; empty where they are equal."""
    current = circumstances(device)
    return ", ".join(
        f"{key} was {before}, is {current.get(key, 'unknown')}"
        for key, before in settings.circumstances.items()
        if current.get(key) != before
    )


def circumstances(device: torch.device) -> dict[str, str | int]:
    """Return the circumstances that the bits of a training depend on, beside its config."""
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def warn_if_minutes_differ(folder: Path, minutes: float | None) -> None:
    """Warn if `--train-minutes` has no effect, because the training in `folder` already has its number of steps."""
    settings = load_fixed_settings(folder)
    if settings is None or minutes in (None, settings.minutes):
        return
    origin = "train.epochs" if settings.minutes is None else f"--train-minutes {settings.minutes:g}"
    LOGGER.warning(
        "note: this training started with %d steps (%s) and keeps them: for --train-minutes %g use another --run",
        settings.steps,
        origin,
        minutes,
    )
