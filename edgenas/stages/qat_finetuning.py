"""Quantisation-aware fine-tuning at the end of a run: when it is due, its cost and its gain."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from edgenas.progress import Progress
from edgenas.runs.run import Run
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.dataset import Dataset
from edgenas.training.qat import STEPS, finetune_for_int8

DUE_ABOVE = 0.01
"""Of validation top-1 lost to int8, above which `export.quantisation_aware: auto` fine-tunes."""


@dataclass(frozen=True)
class FineTuning:
    """The cost and the gain of fine-tuning. Drops are of validation top-1, from the fp32 file's.

    Attributes:
        steps: steps of the optimiser.
        epochs: passes over the training images.
        seconds: time that the steps took.
        drop_before: drop of the best int8 file before fine-tuning.
        drop_after: drop of the best int8 file after fine-tuning.
    """

    steps: int
    epochs: float
    seconds: float
    drop_before: float
    drop_after: float

    @property
    def kept(self) -> bool:
        """Whether the int8 file is that of the fine-tuned network, because it is more accurate."""
        return self.drop_after < self.drop_before

    def to_json(self) -> dict[str, Any]:
        """Return the fine-tuning as a manifest states it."""
        return asdict(self) | {"kept": self.kept}

    def __str__(self) -> str:
        took = f"{self.steps} steps ({self.epochs:.1f} epochs, {self.seconds:.0f} s) of quantisation-aware fine-tuning"
        changes = f"{-100 * self.drop_after:+.2f} points of validation top-1, {-100 * self.drop_before:+.2f} without"
        return f"int8 after {took}: {changes}" + ("" if self.kept else "; the int8 file is the one without")


def tuning_due(run: Run, drop: float) -> bool:
    """Return whether to fine-tune, given the drop of validation top-1 in int8; see `export.quantisation_aware`."""
    when = run.config.export.quantisation_aware
    # Fractions of whole images are not exact.
    return when == "always" or (when == "auto" and drop > DUE_ABOVE + 1e-9)


def fine_tuned(
    run: Run, dataset: Dataset, subnet: Subnet, progress: Progress, *, seven_bit_weights: bool
) -> tuple[Subnet, float]:
    """Return the fine-tuned subnet, and the seconds that it took. `subnet` is left as it was."""
    started = time.perf_counter()
    tuned = finetune_for_int8(
        subnet,
        dataset.train,
        run.config.training,
        calibration=dataset.train.images[: run.config.export.calibration_images],
        seed=run.config.seed,
        progress=lambda done, total: progress("fine-tuning for int8", done, total),
        weight_bits=7 if seven_bit_weights else 8,
        steps=STEPS,
    )
    return tuned, time.perf_counter() - started


def outcome(run: Run, dataset: Dataset, seconds: float, drop_before: float, drop_after: float) -> FineTuning:
    """Return the cost and the gain of `fine_tuned`."""
    epochs = STEPS * run.config.training.batch_size / len(dataset.train)
    return FineTuning(STEPS, epochs, seconds, drop_before, drop_after)
