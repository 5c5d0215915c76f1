"""What scores archs in a search; `search` chooses which."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgenas.files import append_rows
from edgenas.latency.predictor import LatencyPredictor
from edgenas.pipeline.accuracy import AccuracySource
from edgenas.pipeline.results import read_evaluations
from edgenas.pipeline.run import Progress, Run
from edgenas.space.arch import Arch

Floats = npt.NDArray[np.float64]


class Scorer(Protocol):
    """Validation error of archs; every one is appended to a file, and read from it if it stands there.

    Attributes:
        seconds: spent on all that stands there.
    """

    seconds: float

    def __call__(self, archs: Sequence[Arch]) -> Floats:
        """Errors (1 - top-1), shape (n,)."""
        ...


class SourceScorer:
    """Errors as something else than a supernet tells them, thousands a second."""

    def __init__(
        self,
        run: Run,
        source: AccuracySource,
        predictors: Mapping[str, LatencyPredictor],
        path: Path | None,
        progress: Progress,
    ) -> None:
        self.run, self.source, self.predictors, self.path, self.progress = run, source, predictors, path, progress
        # Rows of another source say nothing of this one.
        stored = read_evaluations(path, run.space) if path else []
        rows = [row for row in stored if row["weights"] == source.digest]
        self.known = {row["arch"]: float(row["error"]) for row in rows}
        self.seconds = sum(float(row["seconds"]) for row in rows)
        self.asked = 0

    def __call__(self, archs: Sequence[Arch]) -> Floats:
        """Errors (1 - top-1), shape (n,)."""
        fresh = [arch for arch in archs if arch.id not in self.known]
        if fresh:
            self._score(fresh)
        self.asked += len(archs)
        self.progress("searching", self.asked, self.run.config.search.evaluations)
        return np.array([self.known[arch.id] for arch in archs])

    def _score(self, archs: Sequence[Arch]) -> None:
        started = time.monotonic()
        errors = (1 - self.source.top1(archs)).tolist()
        if self.path is None:
            self.known |= dict(zip((arch.id for arch in archs), errors, strict=True))
            self.seconds += time.monotonic() - started
            return
        latency_us = {name: predictor.predict(archs).tolist() for name, predictor in self.predictors.items()}
        seconds = (time.monotonic() - started) / len(archs)
        rows: list[dict[str, Any]] = [
            {
                "arch": arch.id,
                "error": errors[place],
                "latency_us": {name: values[place] for name, values in latency_us.items()},
                "weights": self.source.digest,
                "seconds": seconds,
            }
            for place, arch in enumerate(archs)
        ]
        append_rows(self.path, rows)
        self.known |= {row["arch"]: row["error"] for row in rows}
        self.seconds += seconds * len(archs)
