"""Early stopping of a standalone training: validations at regular steps, and the weights of the best one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from edgenas.supernet.subnet import Subnet
from edgenas.training import checkpoint
from edgenas.training.data.split import Split
from edgenas.training.materialise import recalibrate
from edgenas.training.optimizer import Average, averaged
from edgenas.training.repeated_validation import repeated_top1


@dataclass
class EarlyStopping:
    """Stops a training after `patience` validations without a better one.

    Attributes:
        score: returns the accuracy of a network that is being trained, without changing it.
        patience: number of validations.
        validations: number of validations of a training that is not stopped.
        folder: folder of the best weights.
        scores: results so far.
        steps_taken: optimiser steps of the training; None while it runs.
    """

    score: Callable[[Subnet], float]
    patience: int
    validations: int
    folder: Path
    scores: list[float] = field(default_factory=list)
    steps_taken: int | None = None

    def due(self, done: int, steps: int) -> bool:
        """Return whether a validation is due after so many of all steps; the last one is."""
        return done * self.validations // steps > (done - 1) * self.validations // steps

    def validate(self, net: Subnet, average: Average | None) -> None:
        """Score the network, with its averaged weights if there are any, and keep the weights if they are the best."""
        with averaged(net, average):
            self.scores.append(self.score(net))
            if self.since_best == 0:
                checkpoint.save_best(self.folder, net)

    @property
    def since_best(self) -> int:
        """Return how many validations came after the best one; of equals, the first counts."""
        return len(self.scores) - 1 - self.scores.index(max(self.scores))

    @property
    def stops(self) -> bool:
        """Return whether the training is to be stopped."""
        return bool(self.scores) and self.since_best >= self.patience

    def resume(self, scores: Sequence[float]) -> None:
        """Take the results from before an interruption."""
        self.scores[:] = scores


def validation_score(calibration: Tensor, validation: Split, *, mirrored: bool) -> Callable[[Subnet], float]:
    """Return a score for early stopping: that of `repeated_top1` for a recalibrated copy.

    Args:
        calibration: training images that recalibrate batch norm, uint8 (n, 1 or 3, h, w).
        validation: the images that are scored.
        mirrored: see `repeated_top1`.
    """
    return lambda net: repeated_top1(recalibrate(copy.deepcopy(net), calibration), validation, mirrored=mirrored)
