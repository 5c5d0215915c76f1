"""What is settled when training begins and holds to its end: kept in schedule.json, beside the checkpoint."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, TypeAdapter, ValidationError

from edgenas.errors import RunFolderError, explained
from edgenas.files import read_json, write_json

FILE_NAME = "schedule.json"
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """How long a training is, and what its bits depend on.

    Attributes:
        steps: optimiser steps in all.
        minutes: what `--minutes` asked for; None where the config's epochs did.
        init_sha256: of the file that the weights started from; None where they started anew.
        circumstances: versions, threads and device: with equal ones, a CPU computes equal bits.
    """

    steps: Annotated[int, Field(ge=0)]
    minutes: Annotated[float, Field(gt=0)] | None
    init_sha256: str | None
    circumstances: dict[str, str | int]

    @classmethod
    def read(cls, folder: Path) -> Schedule | None:
        """The schedule of the training in `folder`; None where none has begun.

        Raises:
            UserError: the file is broken.
        """
        path = folder / FILE_NAME
        if not path.exists():
            return None
        try:
            return TypeAdapter(cls).validate_python(read_json(path))
        except ValidationError as error:
            raise RunFolderError(
                f"{path}: {explained(error.errors())}: delete it, and the checkpoint beside it, to train anew"
            ) from None

    def save(self, folder: Path) -> None:
        """Write it into `folder`, atomically."""
        write_json(folder / FILE_NAME, asdict(self))

    def differences(self, device: torch.device) -> str:
        """In what the circumstances of now are others than those of the beginning, in words; empty if in nothing."""
        now = circumstances(device)
        return ", ".join(
            f"{key} was {before}, is {now.get(key, 'unknown')}"
            for key, before in self.circumstances.items()
            if now.get(key) != before
        )


def circumstances(device: torch.device) -> dict[str, str | int]:
    """What the bits of a training depend on, beside its config."""
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def tell_other_minutes(folder: Path, minutes: float | None) -> None:
    """Say so if `--minutes` comes too late, because the training in `folder` has its number of steps already."""
    schedule = Schedule.read(folder)
    if schedule is None or minutes in (None, schedule.minutes):
        return
    asked = "train.epochs" if schedule.minutes is None else f"--minutes {schedule.minutes:g}"
    LOGGER.warning(
        "note: this training began with %d steps (%s) and keeps them: for --minutes %g choose another --run folder",
        schedule.steps,
        asked,
        minutes,
    )
