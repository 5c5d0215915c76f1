"""Scores of archs, each kept in a file as soon as it is known: by the run's supernet, on validation images."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from edgenas.files import append_jsonl
from edgenas.runs.folder import Progress, Run, open_run
from edgenas.runs.results import read_evaluations
from edgenas.runs.run_data import run_dataset, scoring_split
from edgenas.space.arch import Arch
from edgenas.stages.limits import Limits
from edgenas.stages.run_subnets import Subnets, run_subnets
from edgenas.training import checkpoint
from edgenas.training.data.dataset import Dataset
from edgenas.training.data.split import Split
from edgenas.training.materialise import accuracy

Floats = npt.NDArray[np.float64]
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Score:
    """What a subnet gets wrong on validation images, as fractions; of its worst class where that is known."""

    error: float
    worst_class_error: float = math.nan


class Scorer(Protocol):
    """Tells validation errors of archs; which one a run has, `search.run_scorer` chooses.

    Attributes:
        known: by arch.
        seconds: that scoring all of them took, by the clock.
    """

    known: dict[str, Score]
    seconds: float

    def error(self, archs: Sequence[Arch]) -> Floats:
        """1 - top-1, shape (n,)."""
        ...

    def worst_class_error(self, archs: Sequence[Arch]) -> Floats:
        """1 - the share that is right of the class least often right, shape (n,)."""
        ...


@dataclass(frozen=True)
class _Bench:
    """All that it takes to score an arch."""

    subnets: Subnets
    validation: Split

    def score(self, arch: Arch) -> tuple[Score, float]:
        """The score, and the seconds that it took."""
        started = time.monotonic()
        found = accuracy(self.subnets(arch), self.validation)
        return Score(1 - found.top1, 1 - found.worst_class), time.monotonic() - started


class SupernetScorer:
    """Validation errors of archs; every one is appended to a file, and read from it if it stands there.

    With several `search.workers`, archs are scored in as many processes, which share the cores.

    Attributes:
        known: by arch.
        seconds: that scoring all of them took, by the clock.
    """

    def __init__(self, run: Run, subnets: Subnets, dataset: Dataset, limits: Limits, progress: Progress):
        self._bench = _Bench(subnets, scoring_split(run, dataset))
        self._run, self._limits, self._progress = run, limits, progress
        self._asked: set[str] = set()
        self._path = evaluations_path(run)
        self._setting = {
            "weights": checkpoint.digest(run.result_path("train").parent),
            "calibration_images": self._bench.subnets.images,
            "validation_images": len(self._bench.validation),
        }
        rows = self._own_rows()
        self.known = {row["arch"]: Score(float(row["error"]), float(row["worst_class_error"])) for row in rows}
        self.seconds = sum((float(row["seconds"]) for row in rows), 0.0)

    def error(self, archs: Sequence[Arch]) -> Floats:
        """1 - top-1, shape (n,)."""
        return np.array([score.error for score in self._scores(archs)])

    def worst_class_error(self, archs: Sequence[Arch]) -> Floats:
        """1 - the share that is right of the class least often right, shape (n,)."""
        return np.array([score.worst_class_error for score in self._scores(archs)])

    def _own_rows(self) -> list[dict[str, Any]]:
        """Rows of these weights and images: those of a supernet trained anew since say nothing about this one."""
        rows = read_evaluations(self._path, self._run.space)
        own = [row for row in rows if "worst_class_error" in row and self._setting.items() <= row.items()]
        if len(own) < len(rows):
            LOGGER.warning(
                "note: %s: %d of %d evaluations are of other weights or images: they do not count",
                self._path,
                len(rows) - len(own),
                len(rows),
            )
        return own

    def _scores(self, archs: Sequence[Arch]) -> list[Score]:
        missing = list({arch.id: arch for arch in archs if arch.id not in self.known}.values())
        self._told([arch for arch in archs if arch.id in self.known])
        for arch, (score, seconds) in zip(missing, self._scored(missing), strict=True):
            self._keep(arch, score, seconds)
            self._told([arch])
        return [self.known[arch.id] for arch in archs]

    def _scored(self, archs: Sequence[Arch]) -> Iterator[tuple[Score, float]]:
        """In order, each as soon as it and those before it are known."""
        workers = self._run.config.search.workers
        if workers == 1 or not archs:
            return map(self._bench.score, archs)
        from joblib import Parallel, cpu_count, delayed

        threads = max(1, cpu_count() // workers)
        weights = str(self._setting["weights"])
        jobs = (delayed(_score_elsewhere)(self._run.folder.resolve(), weights, threads, arch.id) for arch in archs)
        return iter(Parallel(n_jobs=workers, return_as="generator", pre_dispatch="all")(jobs))

    def _keep(self, arch: Arch, score: Score, seconds: float) -> None:
        latency = {name: float(p.predict([arch])[0]) for name, p in self._limits.predictors.items()}
        # What several processes do at once takes the clock only once.
        seconds /= self._run.config.search.workers
        row = {"arch": arch.id, **asdict(score), "latency_us": latency, **self._setting, "seconds": seconds}
        append_jsonl(self._path, row)
        self.known[arch.id] = score
        self.seconds += seconds

    def _told(self, archs: Sequence[Arch]) -> None:
        self._asked.update(arch.id for arch in archs)
        self._progress("searching", len(self._asked), self._run.config.search.evaluations)


def evaluations_path(run: Run) -> Path:
    """Every evaluation, one row each."""
    return run.folder / "search" / "evaluations.jsonl"


def _score_elsewhere(folder: Path, weights: str, threads: int, arch: str) -> tuple[Score, float]:
    """What a worker process is asked for."""
    torch.set_num_threads(threads)
    run, bench = _opened(folder, weights)
    return bench.score(run.space.parse(arch))


@lru_cache(maxsize=1)
def _opened(folder: Path, weights: str) -> tuple[Run, _Bench]:
    """A worker keeps supernet and images, as long as the weights are these."""
    run = open_run(folder)
    dataset = run_dataset(run)
    return run, _Bench(run_subnets(run, dataset), scoring_split(run, dataset))
