"""Scores of architectures from a source of accuracies instead of a supernet: thousands a second."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgenas.accuracy.source import AccuracySource
from edgenas.errors import ConfigError
from edgenas.latency.predictor import LatencyPredictor
from edgenas.progress import Progress
from edgenas.records.ledger import Ledger
from edgenas.records.search import EvaluationRow
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.stages.supernet_scores import Score

Floats = npt.NDArray[np.float64]


class SourceScorer:
    """Errors from a source of accuracies. Each one is appended to the ledger, if there is one, and read from it later.

    Attributes:
        known: scores by architecture.
        seconds: time spent on all of them.
    """

    def __init__(
        self,
        run: Run,
        source: AccuracySource,
        predictors: Mapping[str, LatencyPredictor],
        ledger: Ledger[EvaluationRow] | None,
        progress: Progress,
    ) -> None:
        self._run, self._source, self._predictors = run, source, predictors
        self._ledger, self._progress = ledger, progress
        # Rows of another source do not count.
        stored = ledger.rows() if ledger else ()
        rows = [row for row in stored if row.weights == source.digest]
        self.known = {row.arch.id: Score(row.error) for row in rows}
        self.seconds = sum((row.seconds for row in rows), 0.0)
        self._asked = 0

    def error(self, archs: Sequence[Arch]) -> Floats:
        """Return 1 - top-1, shape (n,)."""
        fresh = list({arch.id: arch for arch in archs if arch.id not in self.known}.values())
        if fresh:
            self._score(fresh)
        self._asked += len(archs)
        self._progress("searching", self._asked, self._run.config.search.evaluations)
        return np.array([self.known[arch.id].error for arch in archs])

    def worst_class_error(self, archs: Sequence[Arch]) -> Floats:
        """Refuse, because the source has no accuracies by class.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"search.objectives: worst_class_error needs images, and {self._source.dataset} has top-1 only: "
            "leave that objective out"
        )

    def _score(self, archs: Sequence[Arch]) -> None:
        started = time.monotonic()
        errors = (1 - self._source.top1(archs)).tolist()
        if self._ledger is not None:
            self._ledger.append(*self._rows(archs, errors, started))
        self.known |= {arch.id: Score(error) for arch, error in zip(archs, errors, strict=True)}
        self.seconds += time.monotonic() - started

    def _rows(self, archs: Sequence[Arch], errors: Sequence[float], started: float) -> list[EvaluationRow]:
        latency_us = {name: predictor.predict(archs).tolist() for name, predictor in self._predictors.items()}
        seconds = (time.monotonic() - started) / len(archs)
        return [
            EvaluationRow(
                arch=arch,
                error=errors[index],
                latency_us={name: values[index] for name, values in latency_us.items()},
                weights=self._source.digest,
                seconds=seconds,
            )
            for index, arch in enumerate(archs)
        ]
