"""Scores of architectures by the run's supernet on validation images, each written to a file at once."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from edgenas.progress import Progress
from edgenas.records.ledger import Ledger
from edgenas.records.search import EvaluationRow
from edgenas.runs.run import Run, open_run
from edgenas.space.arch import Arch
from edgenas.stages.limits import Limits
from edgenas.stages.run_subnets import Subnets, run_subnets
from edgenas.training import checkpoint
from edgenas.training.data.split import Split
from edgenas.training.materialise import accuracy

Floats = npt.NDArray[np.float64]
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Score:
    """Error rate of a subnet on validation images, and that of its worst class, NaN where it was not counted."""

    error: float
    worst_class_error: float = math.nan


class Scorer(Protocol):
    """Gives validation errors of architectures; `search.run_scorer` chooses the one of a run.

    Attributes:
        known: scores by architecture.
        seconds: wall-clock time that scoring all of them took.
    """

    known: dict[str, Score]
    seconds: float

    def error(self, archs: Sequence[Arch]) -> Floats:
        """Return 1 - top-1, shape (n,)."""
        ...

    def worst_class_error(self, archs: Sequence[Arch]) -> Floats:
        """Return 1 - the lowest top-1 of any class, shape (n,)."""
        ...


@dataclass(frozen=True)
class _Bench:
    """The subnets and images that score an architecture."""

    subnets: Subnets
    validation: Split

    def score(self, arch: Arch) -> tuple[Score, float]:
        """Return the score, and the seconds that it took."""
        started = time.monotonic()
        found = accuracy(self.subnets(arch), self.validation)
        return Score(1 - found.top1, 1 - found.worst_class), time.monotonic() - started


class SupernetScorer:
    """Validation errors of architectures; each one is appended to a ledger, and read from it later.

    With several `search.workers`, archs are scored in as many processes, which share the cores.

    Attributes:
        known: scores by architecture.
        seconds: wall-clock time that scoring all of them took.
    """

    def __init__(self, run: Run, subnets: Subnets, limits: Limits, progress: Progress):
        self._bench = _Bench(subnets, run.images.scoring)
        self._run, self._limits, self._progress = run, limits, progress
        self._asked: set[str] = set()
        self._ledger = evaluation_ledger(run)
        self._weights = checkpoint.digest(run.result_path("train").parent)
        rows = self._own_rows()
        self.known = {row.arch.id: score_of(row) for row in rows}
        self.seconds = sum((row.seconds for row in rows), 0.0)

    def error(self, archs: Sequence[Arch]) -> Floats:
        """Return 1 - top-1, shape (n,)."""
        return np.array([score.error for score in self._scores(archs)])

    def worst_class_error(self, archs: Sequence[Arch]) -> Floats:
        """Return 1 - the lowest top-1 of any class, shape (n,)."""
        return np.array([score.worst_class_error for score in self._scores(archs)])

    def _own_rows(self) -> list[EvaluationRow]:
        """Return the rows of these weights and images: scores of another supernet do not count."""
        rows = self._ledger.rows()
        setting = (self._weights, self._bench.subnets.images, len(self._bench.validation))
        own = [row for row in rows if (row.weights, row.calibration_images, row.validation_images) == setting]
        if len(own) < len(rows):
            LOGGER.warning(
                "note: %s: %d of %d evaluations are of other weights or images: they do not count",
                self._ledger.path,
                len(rows) - len(own),
                len(rows),
            )
        return own

    def _scores(self, archs: Sequence[Arch]) -> list[Score]:
        missing = list({arch.id: arch for arch in archs if arch.id not in self.known}.values())
        self._report([arch for arch in archs if arch.id in self.known])
        for arch, (score, seconds) in zip(missing, self._scored(missing), strict=True):
            self._keep(arch, score, seconds)
            self._report([arch])
        return [self.known[arch.id] for arch in archs]

    def _scored(self, archs: Sequence[Arch]) -> Iterator[tuple[Score, float]]:
        """Yield scores and seconds in the order of the architectures."""
        workers = self._run.config.search.workers
        if workers == 1 or not archs:
            return map(self._bench.score, archs)
        from joblib import Parallel, cpu_count, delayed

        threads = max(1, cpu_count() // workers)
        folder = self._run.folder.resolve()
        jobs = (delayed(_score_elsewhere)(folder, self._weights, threads, arch.id) for arch in archs)
        return iter(Parallel(n_jobs=workers, return_as="generator", pre_dispatch="all")(jobs))

    def _keep(self, arch: Arch, score: Score, seconds: float) -> None:
        latency = {name: float(p.predict([arch])[0]) for name, p in self._limits.predictors.items()}
        # What several processes do at once takes the clock only once.
        seconds /= self._run.config.search.workers
        row = EvaluationRow(
            arch=arch,
            error=score.error,
            worst_class_error=score.worst_class_error,
            latency_us=latency,
            weights=self._weights,
            calibration_images=self._bench.subnets.images,
            validation_images=len(self._bench.validation),
            seconds=seconds,
        )
        self._ledger.append(row)
        self.known[arch.id] = score
        self.seconds += seconds

    def _report(self, archs: Sequence[Arch]) -> None:
        self._asked.update(arch.id for arch in archs)
        self._progress("searching", len(self._asked), self._run.config.search.evaluations)


def evaluation_ledger(run: Run) -> Ledger[EvaluationRow]:
    """Return the ledger of every evaluation of a run."""
    path = run.folder / "search" / "evaluations.jsonl"
    return Ledger(path, EvaluationRow, run.space, "delete that line; the subnet is scored again")


def score_of(row: EvaluationRow) -> Score:
    """Return the score that a row states."""
    return Score(row.error, math.nan if row.worst_class_error is None else row.worst_class_error)


def _score_elsewhere(folder: Path, weights: str, threads: int, arch: str) -> tuple[Score, float]:
    """Score an architecture in a worker process."""
    torch.set_num_threads(threads)
    run, bench = _opened(folder, weights)
    return bench.score(run.space.parse(arch))


@lru_cache(maxsize=1)
def _opened(folder: Path, weights: str) -> tuple[Run, _Bench]:
    """Open a run in a worker process, which keeps supernet and images as long as the weights are these."""
    run = open_run(folder)
    return run, _Bench(run_subnets(run), run.images.scoring)
