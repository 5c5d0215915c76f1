"""The log of a training: training.jsonl, and training.csv with one line a step for spreadsheets.

After a kill, training.jsonl holds some steps twice; the later rows count. training.csv holds the rows that count and is
written again at validations.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from edgenas.files import read_jsonl, write_csv
from edgenas.records.ledger import Ledger
from edgenas.records.train import InitialWeightsRow, ResumeRow, StepRow, ValidationRow
from edgenas.training.tensorboard import TensorBoardWriter

FILE_NAME, TABLE_NAME = "training.jsonl", "training.csv"
COLUMNS = ("step", "epoch", "loss", "learning_rate", "images_per_second", "seconds")
CURVES = ("loss", "learning_rate", "images_per_second")
LOG_ROWS = 100
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingLog:
    """The log of a training.

    Attributes:
        path: the file training.jsonl.
        total: steps of the training.
        steps_per_epoch: steps of an epoch.
        batch_size: images of a step.
        validations: validations of the training.
        writes: whether this process writes files.
        board: writer of TensorBoard curves, or None.
    """

    path: Path
    total: int
    steps_per_epoch: int
    batch_size: int
    validations: int = 5
    writes: bool = True
    board: TensorBoardWriter | None = None

    @property
    def _steps(self) -> Ledger[StepRow]:
        return Ledger(self.path, StepRow)

    @property
    def _validations(self) -> Ledger[ValidationRow]:
        return Ledger(self.path, ValidationRow)

    def due(self, step: int) -> bool:
        """Return whether a step gets a row."""
        return step % max(1, self.total // LOG_ROWS) == 0 or step == self.total - 1

    def validation_due(self, step: int) -> bool:
        """Return whether a validation follows a step."""
        return (step + 1) % max(1, self.total // self.validations) == 0

    def validation_missing(self, step: int) -> bool:
        """Return whether a validation was due after a step and was not logged."""
        return self.validation_due(step) and all(row.step != step for row in self._validations.rows())

    def add_step(self, step: int, loss: float, learning_rate: float, seconds: float) -> None:
        """Add the row of a step; `seconds` are those of all steps so far."""
        if not self.writes:
            return
        row = StepRow(
            step=step,
            epoch=step / self.steps_per_epoch,
            loss=loss,
            learning_rate=learning_rate,
            images_per_second=(step + 1) * self.batch_size / seconds,
            seconds=seconds,
        )
        self._steps.append(row)
        if self.board is not None:
            self.board.add(step, {name: getattr(row, name) for name in CURVES})

    def add_validation(self, step: int, scores: dict[str, float]) -> None:
        """Add the validation top-1 of subnets, by name."""
        self._validations.append(ValidationRow(step=step, epoch=(step + 1) / self.steps_per_epoch, top1=scores))
        if self.board is not None:
            self.board.add(step, {f"top1/{name}": score for name, score in scores.items()})

    def add_initial_weights(self, sha256: str | None) -> None:
        """Note that the weights were taken from a file as they are, without a training step."""
        Ledger(self.path, InitialWeightsRow).append(InitialWeightsRow(init_sha256=sha256))

    def write_table(self) -> None:
        """Write training.csv from the rows so far."""
        steps = self._steps.last(lambda row: row.step)
        scores = self._validations.last(lambda row: row.step)
        names = dict.fromkeys(name for row in scores.values() for name in row.top1)
        blank = dict.fromkeys([*COLUMNS, *(f"top1_{name}" for name in names)], "")
        # A step may have a validation, but no row of its own.
        table = [blank | _columns(steps.get(step), scores.get(step)) for step in sorted({*steps, *scores})]
        write_csv(self.path.with_name(TABLE_NAME), list(blank), table)

    def validations_since_best(self, step: int) -> int:
        """Return how many validations ago, up to a step, the mean top-1 was best; the first of equal ones counts."""
        scores = self._validations.last(lambda row: row.step)
        means = [sum(scores[at].top1.values()) / len(scores[at].top1) for at in sorted(scores) if at <= step]
        return len(means) - 1 - means.index(max(means))

    def add_resume(self, step: int, differences: str, device: torch.device) -> None:
        """Note whether a resumed training can equal an undisturbed one bit for bit; warn if not."""
        if not self.writes:
            return
        if device.type != "cpu":
            differences = differences or "a GPU adds up in no fixed order"
        Ledger(self.path, ResumeRow).append(ResumeRow(step=step, bit_identical=not differences))
        if differences:
            LOGGER.warning(
                "note: training resumes at step %d, but not bit-identical to an undisturbed one: %s", step, differences
            )


def _columns(step: StepRow | None, validation: ValidationRow | None) -> dict[str, int | float]:
    columns: dict[str, int | float] = {}
    if validation is not None:
        columns |= {"step": validation.step, "epoch": validation.epoch}
        columns |= {f"top1_{name}": score for name, score in validation.top1.items()}
    if step is not None:
        columns |= {name: getattr(step, name) for name in COLUMNS}
    return columns


def steps_taken(folder: Path) -> int | None:
    """Return the steps of the finished training in `folder`, fewer than planned if it stopped early.

    None where the log has no row of a step or validation.
    """
    # The last step gets a row, and so does the validation that ends a training early. The order of the rows counts:
    # steps that a kill undid stand before.
    rows = read_jsonl(folder / FILE_NAME)
    steps: list[int] = [row["step"] for row in rows if row.get("kind") in ("step", "validation")]
    return steps[-1] + 1 if steps else None
