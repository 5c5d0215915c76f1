"""Quantisation-aware fine-tuning at the end of a run: when it is due, its cost and its gain."""

from __future__ import annotations

import time
from typing import Literal

from edgenas.config.run_config import RunConfig
from edgenas.config.train_config import TrainConfig
from edgenas.progress import Progress
from edgenas.records.export import QatRecord
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.split import Split
from edgenas.training.qat import STEPS, finetune_for_int8

DUE_ABOVE = 0.01
"""Of validation top-1 lost to int8, above which `export.quantisation_aware: auto` fine-tunes."""


def tuning_due(when: Literal["auto", "always", "never"], drop: float) -> bool:
    """Return whether to fine-tune.

    Args:
        when: `export.quantisation_aware`.
        drop: drop of validation top-1 in int8.
    """
    # Fractions of whole images are not exact.
    return when == "always" or (when == "auto" and drop > DUE_ABOVE + 1e-9)


def fine_tuned(
    config: RunConfig, train: Split, subnet: Subnet, progress: Progress, *, seven_bit_weights: bool
) -> tuple[Subnet, float]:
    """Return the subnet, fine-tuned on training images, and the seconds that it took. `subnet` is left as it was."""
    started = time.perf_counter()
    tuned = finetune_for_int8(
        subnet,
        train,
        config.training,
        calibration=train.images[: config.export.calibration_images],
        seed=config.seed,
        progress=lambda done, total: progress("fine-tuning for int8", done, total),
        weight_bits=7 if seven_bit_weights else 8,
        steps=STEPS,
    )
    return tuned, time.perf_counter() - started


def qat_record(config: TrainConfig, train: Split, seconds: float, drop_before: float, drop_after: float) -> QatRecord:
    """Return the cost and the gain of `fine_tuned`."""
    return QatRecord(
        steps=STEPS,
        epochs=STEPS * config.batch_size / len(train),
        seconds=seconds,
        drop_before=drop_before,
        drop_after=drop_after,
        kept=drop_after < drop_before,
    )


def qat_sentence(tuning: QatRecord) -> str:
    """Return the cost and the gain of fine-tuning in words."""
    length = f"{tuning.steps} steps ({tuning.epochs:.1f} epochs, {tuning.seconds:.0f} s)"
    gain = f"{-100 * tuning.drop_after:+.2f} points of validation top-1, {-100 * tuning.drop_before:+.2f} without"
    rejected = "" if tuning.kept else "; the int8 file is the one without"
    return f"int8 after {length} of quantisation-aware fine-tuning: {gain}{rejected}"
