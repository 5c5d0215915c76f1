"""The scorer: every architecture is scored once, written to a file at once, and read from it later."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgenas.accuracy.scores import AccuracySource, Score, ScoreSetting
from edgenas.errors import ConfigError
from edgenas.latency.predictor import LatencyPredictor
from edgenas.records.ledger import Ledger
from edgenas.records.search import EvaluationRow
from edgenas.space.arch import Arch

Floats = npt.NDArray[np.float64]
LOGGER = logging.getLogger(__name__)


class Scorer:
    """Gives validation errors of architectures, which a search minimises.

    Attributes:
        source: the source of the scores.
        scores: scores by architecture.
        seconds: wall-clock time that scoring all of them took.
    """

    def __init__(
        self,
        source: AccuracySource,
        ledger: Ledger[EvaluationRow] | None,
        predictors: Mapping[str, LatencyPredictor],
        progress: Callable[[int], None],
    ) -> None:
        """Read the ledger's scores that the source would give again.

        Args:
            source: gives new scores.
            ledger: new scores are appended to it; None to keep none.
            predictors: latency predictors by device, whose predictions are written beside the scores.
            progress: called with the number of architectures that were asked for.
        """
        self.source, self._ledger, self._predictors, self._progress = source, ledger, predictors, progress
        self._asked: set[Arch] = set()
        scores = [] if ledger is None else kept_scores(ledger, source.setting)
        self.scores = {score.arch: score for score in scores}
        self.seconds = sum(score.seconds for score in scores)

    def error(self, archs: Sequence[Arch]) -> Floats:
        """Return 1 - top-1, shape (n,)."""
        return np.array([score.error for score in self._scores(archs)])

    def worst_class_error(self, archs: Sequence[Arch]) -> Floats:
        """Return 1 - the lowest top-1 of any class, shape (n,).

        Raises:
            ConfigError: the source has no accuracies by class.
        """
        return self._by_class("worst_class_error", [score.worst_class_error for score in self._scores(archs)])

    def balanced_error(self, archs: Sequence[Arch]) -> Floats:
        """Return 1 - the mean top-1 of the classes, shape (n,).

        Raises:
            ConfigError: the source has no accuracies by class.
        """
        return self._by_class("balanced_error", [score.balanced_error for score in self._scores(archs)])

    def _by_class(self, name: str, errors: Sequence[float]) -> Floats:
        if any(map(math.isnan, errors)):
            raise ConfigError(
                f"search.objectives: {name} needs images, and {self.source.dataset} has top-1 only: "
                "leave that objective out"
            )
        return np.array(errors)

    def _scores(self, archs: Sequence[Arch]) -> list[Score]:
        missing = [arch for arch in dict.fromkeys(archs) if arch not in self.scores]
        self._report([arch for arch in archs if arch in self.scores])
        for scores in self.source.scores(missing):
            self._keep(scores)
            self._report([score.arch for score in scores])
        return [self.scores[arch] for arch in archs]

    def _keep(self, scores: Sequence[Score]) -> None:
        if self._ledger is not None:
            self._ledger.append(*self._rows(scores))
        self.scores |= {score.arch: score for score in scores}
        self.seconds += sum(score.seconds for score in scores)

    def _rows(self, scores: Sequence[Score]) -> list[EvaluationRow]:
        archs = [score.arch for score in scores]
        latency_us = {name: predictor.predict(archs).tolist() for name, predictor in self._predictors.items()}
        weights, calibration_images, validation_images = self.source.setting
        return [
            EvaluationRow(
                arch=score.arch,
                error=score.error,
                worst_class_error=None if math.isnan(score.worst_class_error) else score.worst_class_error,
                balanced_error=None if math.isnan(score.balanced_error) else score.balanced_error,
                latency_us={name: values[index] for name, values in latency_us.items()},
                weights=weights,
                calibration_images=calibration_images,
                validation_images=validation_images,
                seconds=score.seconds,
            )
            for index, score in enumerate(scores)
        ]

    def _report(self, archs: Sequence[Arch]) -> None:
        self._asked.update(archs)
        self._progress(len(self._asked))


def kept_scores(ledger: Ledger[EvaluationRow], setting: ScoreSetting) -> list[Score]:
    """Return the scores of a ledger that are of this setting, and warn of others, which do not count."""
    rows = ledger.rows()
    counting = [row for row in rows if (row.weights, row.calibration_images, row.validation_images) == setting]
    if len(counting) < len(rows):
        LOGGER.warning(
            "note: %s: %d of %d evaluations are of other weights or images: they do not count",
            ledger.path,
            len(rows) - len(counting),
            len(rows),
        )
    return [_score(row) for row in counting]


def _score(row: EvaluationRow) -> Score:
    worst_class_error = math.nan if row.worst_class_error is None else row.worst_class_error
    balanced_error = math.nan if row.balanced_error is None else row.balanced_error
    return Score(row.arch, row.error, worst_class_error, balanced_error, row.seconds)
