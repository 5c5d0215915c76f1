"""Accuracies by a supernet: its calibrated subnets on validation images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from edgenas.accuracy.scores import Score, ScoreSetting
from edgenas.accuracy.subnets import Subnets
from edgenas.records.comparison import Bools, CandidateComparison
from edgenas.space.arch import Arch
from edgenas.statistics.candidate_comparison import compare_candidates
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.split import Split
from edgenas.training.materialise import accuracy


@dataclass(frozen=True)
class SupernetAccuracy:
    """Accuracy source: a trained supernet.

    With several workers, architectures are scored in as many processes, which share the cores.

    Attributes:
        dataset: name of the data set.
        subnets: its calibrated subnets.
        validation: the images that they are scored on.
        workers: number of processes that score.
        reopen: opens the same source in another process; pickled, and equal where the source is equal.
    """

    dataset: str
    subnets: Subnets
    validation: Split
    workers: int
    reopen: Callable[[], SupernetAccuracy]
    costly = True

    @property
    def setting(self) -> ScoreSetting:
        """Return the setting that the scores depend on."""
        return ScoreSetting(self.subnets.weights, self.subnets.images, len(self.validation))

    def scores(self, archs: Sequence[Arch]) -> Iterator[Sequence[Score]]:
        """Yield the scores of architectures one by one."""
        if self.workers == 1 or not archs:
            yield from ([self.score(arch)] for arch in archs)
            return
        from joblib import Parallel, cpu_count, delayed

        threads = max(1, cpu_count() // self.workers)
        jobs = (delayed(_score_elsewhere)(self.reopen, threads, arch) for arch in archs)
        for score in Parallel(n_jobs=self.workers, return_as="generator", pre_dispatch="all")(jobs):
            yield [score]

    def score(self, arch: Arch) -> Score:
        """Return the score of an architecture; its seconds are the share of one of several workers."""
        started = time.monotonic()
        counted = accuracy(self.subnets(arch), self.validation)
        # What several processes do at once takes the clock only once.
        seconds = (time.monotonic() - started) / self.workers
        return Score(arch, 1 - counted.top1, 1 - counted.worst_class, 1 - counted.macro, seconds)

    def interval(self, archs: Sequence[Arch]) -> None:
        """Return None: the accuracy is counted, on the images that chose."""
        return

    def right(self, subnet: Subnet) -> Bools:
        """Return whether a subnet classifies each validation image correctly, (n,)."""
        right: Bools = accuracy(subnet, self.validation).right.numpy()
        return right

    def comparison(self, right: Sequence[Bools]) -> CandidateComparison | None:
        """Return how far validation distinguishes networks by their `right`; None without networks."""
        return compare_candidates(np.stack(right), self.validation.labels.numpy()) if right else None


def _score_elsewhere(reopen: Callable[[], SupernetAccuracy], threads: int, arch: Arch) -> Score:
    """Score an architecture in a worker process."""
    torch.set_num_threads(threads)
    return _reopened(reopen).score(arch)


@lru_cache(maxsize=1)
def _reopened(reopen: Callable[[], SupernetAccuracy]) -> SupernetAccuracy:
    """Open a source in a worker process, which keeps supernet and images from one score to the next.

    Opening the demo's run takes 41 ms and a score 25 ms; other images take seconds.
    """
    return reopen()
