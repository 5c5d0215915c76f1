"""training.jsonl: what training told as it went. After a kill it holds some steps twice; the later rows count."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from edgenas.files import append_jsonl

FILE_NAME = "training.jsonl"
LOG_ROWS = 100
VALIDATIONS = 5
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingLog:
    """The log of a training of `total` steps, and which of them it tells of."""

    path: Path
    total: int
    steps_per_epoch: int
    batch_size: int

    def due(self, step: int) -> bool:
        """Whether a step gets a row."""
        return step % max(1, self.total // LOG_ROWS) == 0 or step == self.total - 1

    def validation_due(self, step: int) -> bool:
        """Whether subnets are to be scored after a step."""
        return (step + 1) % max(1, self.total // VALIDATIONS) == 0

    def step(self, step: int, loss: float, rate: float, seconds: float) -> None:
        """Tell of a step; `seconds` are those of all steps so far."""
        speed = (step + 1) * self.batch_size / seconds
        values = {"loss": loss, "learning_rate": rate, "images_per_second": speed, "seconds": seconds}
        append_jsonl(self.path, {"kind": "step", "step": step, "epoch": step / self.steps_per_epoch, **values})

    def validation(self, step: int, scores: dict[str, float]) -> None:
        """Tell of scores, by subnet."""
        epoch = (step + 1) / self.steps_per_epoch
        append_jsonl(self.path, {"kind": "validation", "step": step, "epoch": epoch, "top1": scores})

    def resumed(self, step: int, differences: str, device: torch.device) -> None:
        """Write down, and say, whether what follows can equal an undisturbed training bit for bit."""
        if device.type != "cpu":
            differences = differences or "a GPU adds up in no fixed order"
        append_jsonl(self.path, {"kind": "resume", "step": step, "bit_identical": not differences})
        if differences:
            LOGGER.warning(
                "note: training goes on at step %d, but not bit-identical to an undisturbed one: %s", step, differences
            )
