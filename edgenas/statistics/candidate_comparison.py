"""Comparison of candidates on the same validation images: which differences are more than sampling error."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgenas.records.comparison import Bools, CandidateComparison
from edgenas.statistics.significance import ERROR, holm_significant, mcnemar_p_value

RESAMPLES = 1000
"""Stratified resamples of the validation images."""


def compare_candidates(right: Bools, labels: npt.NDArray[np.int64], seed: int = 0) -> CandidateComparison:
    """Return how far the images distinguish the chosen candidate, which is the first one, from the others.

    The difference to each other candidate is tested by McNemar's exact test, corrected for their number. Where the
    images also chose the candidate, its lead is too large rather than too small: candidates that are not distinguished
    here may be equal.

    Args:
        right: whether each candidate classifies each image correctly, shape (candidates, images).
        labels: labels of the images, shape (images,).
        seed: seed of the resamples.
    """
    p_values = [mcnemar_p_value(*_only(right[0], other)) for other in right[1:]]
    return CandidateComparison(
        images=right.shape[1],
        candidates=len(right),
        worse=sum(holm_significant(p_values)),
        best_share=float(best_shares(right, labels, seed)[0]),
    )


def best_shares(right: Bools, labels: npt.NDArray[np.int64], seed: int = 0) -> npt.NDArray[np.float64]:
    """Return the share of stratified resamples in which each candidate is best, shape (candidates,).

    A resample draws as many images of each class as there are, with replacement (stratified bootstrap: Efron and
    Tibshirani 1993, section 8). Equal candidates share a resample.
    """
    rng, totals = np.random.default_rng(seed), np.zeros((len(right), RESAMPLES))
    for label in np.unique(labels):
        of_class = right[:, labels == label].astype(np.int64)
        images = of_class.shape[1]
        totals += of_class @ rng.multinomial(images, np.full(images, 1 / images), RESAMPLES).T
    first = totals == totals.max(axis=0)
    shares: npt.NDArray[np.float64] = (first / first.sum(axis=0)).mean(axis=1)
    return shares


def is_worse(right: Bools, than: Bools) -> bool:
    """Return whether a network classifies significantly fewer images correctly than another one.

    Args:
        right: whether the network classifies each image correctly, shape (images,).
        than: the same of the other network.
    """
    return mcnemar_p_value(*_only(than, right)) <= ERROR


def _only(first: Bools, second: Bools) -> tuple[int, int]:
    """Return how many images only the first, and only the second network classifies correctly."""
    return int((first & ~second).sum()), int((second & ~first).sum())
