"""training.jsonl: what training told as it went. After a kill it holds some steps twice; the later rows count.

training.csv beside it holds the rows that count, a step a line, for spreadsheets; it is written anew at validations.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgenas.files import append_jsonl, read_jsonl, write_csv
from edgenas.training.tensorboard import Board

FILE_NAME, TABLE_NAME = "training.jsonl", "training.csv"
COLUMNS = ("step", "epoch", "loss", "learning_rate", "images_per_second", "seconds")
TOP1 = "top1_"
LOG_ROWS = 100
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingLog:
    """The log of a training of `total` steps, and which of them it tells of."""

    path: Path
    total: int
    steps_per_epoch: int
    batch_size: int
    validations: int = 5
    writes: bool = True
    board: Board | None = None

    def due(self, step: int) -> bool:
        """Whether a step gets a row."""
        return step % max(1, self.total // LOG_ROWS) == 0 or step == self.total - 1

    def validation_due(self, step: int) -> bool:
        """Whether subnets are to be scored after a step."""
        return (step + 1) % max(1, self.total // self.validations) == 0

    def owes_validation(self, step: int) -> bool:
        """Whether subnets were to be scored after a step, and were not."""
        told = {row["step"] for row in read_jsonl(self.path) if row.get("kind") == "validation"}
        return self.validation_due(step) and step not in told

    def step(self, step: int, loss: float, rate: float, seconds: float) -> None:
        """Tell of a step; `seconds` are those of all steps so far."""
        if not self.writes:
            return
        speed = (step + 1) * self.batch_size / seconds
        values = {"loss": loss, "learning_rate": rate, "images_per_second": speed, "seconds": seconds}
        append_jsonl(self.path, {"kind": "step", "step": step, "epoch": step / self.steps_per_epoch, **values})
        if self.board is not None:
            self.board.tell(step, {name: values[name] for name in ("loss", "learning_rate", "images_per_second")})

    def validation(self, step: int, scores: dict[str, float]) -> None:
        """Tell of scores, by subnet."""
        epoch = (step + 1) / self.steps_per_epoch
        append_jsonl(self.path, {"kind": "validation", "step": step, "epoch": epoch, "top1": scores})
        if self.board is not None:
            self.board.tell(step, {f"top1/{name}": score for name, score in scores.items()})

    def write_table(self) -> None:
        """Write training.csv from what was told so far."""
        rows = read_jsonl(self.path)
        steps = {row["step"]: row for row in rows if row.get("kind") == "step"}
        scores = {row["step"]: _flat(row) for row in rows if row.get("kind") == "validation"}
        names = [name for row in scores.values() for name in row if name.startswith(TOP1)]
        blank = dict.fromkeys([*COLUMNS, *names], "")
        # Not every step that is scored is told of otherwise.
        table = [blank | scores.get(step, {}) | steps.get(step, {}) for step in sorted({*steps, *scores})]
        write_csv(self.path.with_name(TABLE_NAME), list(blank), table)

    def stale(self, step: int) -> int:
        """How many validations ago the best one was, by its mean, as told up to a step; the first of equals counts."""
        told = {row["step"]: row["top1"] for row in read_jsonl(self.path) if row.get("kind") == "validation"}
        means = [sum(told[at].values()) / len(told[at]) for at in sorted(told) if at <= step]
        return len(means) - 1 - means.index(max(means))

    def resumed(self, step: int, differences: str, device: torch.device) -> None:
        """Write down, and say, whether what follows can equal an undisturbed training bit for bit."""
        if not self.writes:
            return
        if device.type != "cpu":
            differences = differences or "a GPU adds up in no fixed order"
        append_jsonl(self.path, {"kind": "resume", "step": step, "bit_identical": not differences})
        if differences:
            LOGGER.warning(
                "note: training goes on at step %d, but not bit-identical to an undisturbed one: %s", step, differences
            )


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A validation's row with a column for each subnet."""
    return row | {f"{TOP1}{name}": score for name, score in row["top1"].items()}


def steps_taken(folder: Path) -> int | None:
    """Steps that the finished training in `folder` took: fewer than were planned, if it stopped early.

    None where nothing tells.
    """
    path = folder / FILE_NAME
    told = [row["step"] for row in read_jsonl(path) if row.get("kind") in ("step", "validation")]
    # The last step gets a row, and so does the validation that ends a training early; what a kill undid stands before.
    return told[-1] + 1 if told else None
