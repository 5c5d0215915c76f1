"""Agreement of two rankings of networks: Kendall's tau, with bootstrap intervals over networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgenas.blas import one_blas_thread
from edgenas.records.ranking import Estimate

Floats = npt.NDArray[np.float64]
RESAMPLES = 4000
COVERAGE = 0.95
LEAST = 3
"""Minimum number of networks of a ranking."""
ROUGH_BELOW = 7
"""Number of networks below which an interval of a tau is called rough because it covers less than 95 %.

For scores with correlations 0, 0.7 and 0.9, intervals covered the true tau in 93 to 95 % of 150 draws of seven
networks, in 83 to 98 % of five, and in 41 to 71 % of three.
"""


@one_blas_thread()
def kendall_tau(x: Sequence[float] | Floats, y: Sequence[float] | Floats) -> Estimate:
    """Return Kendall's tau-b of two scores of the same networks, with a correction for ties (Kendall 1945).

    The interval is that of the percentile bootstrap over networks (Efron 1979). A network drawn twice is not paired
    with itself. The interval does not include the effect of another training or of other images.

    Args:
        x: first score of each network.
        y: second score of each network.
    """
    pairs = _Pairs.of(x, y)
    return _estimate(pairs.tau(np.ones((1, pairs.count))), pairs.tau(_weights(pairs.count)), pairs.count)


@one_blas_thread()
def tau_lead(x: Sequence[float], other: Sequence[float], y: Sequence[float]) -> Estimate:
    """Return the tau of `x` with `y` minus that of `other` with `y`, both on the same bootstrap samples."""
    x_pairs, other_pairs = _Pairs.of(x, y), _Pairs.of(other, y)
    count = x_pairs.count
    whole, drawn = (
        x_pairs.tau(weights) - other_pairs.tau(weights) for weights in (np.ones((1, count)), _weights(count))
    )
    return _estimate(whole, drawn, count)


@one_blas_thread()
def mean(values: Sequence[float]) -> Estimate:
    """Return the mean with its percentile bootstrap interval."""
    sample = np.asarray(values, dtype=np.float64)
    weights = _weights(len(sample))
    return _estimate(sample.mean(keepdims=True), weights @ sample / len(sample), len(sample))


@dataclass(frozen=True)
class _Pairs:
    """Agreement of two scores on each pair of networks, and whether each score ranks the pair; matrices (n, n)."""

    agree: Floats
    first: Floats
    second: Floats

    @property
    def count(self) -> int:
        return len(self.agree)

    @classmethod
    def of(cls, x: Sequence[float] | Floats, y: Sequence[float] | Floats) -> _Pairs:
        first, second = (np.sign(np.subtract.outer(values, values)) for values in map(np.asarray, (x, y)))
        return cls(first * second, np.abs(first), np.abs(second))

    def tau(self, weights: Floats) -> Floats:
        """Return tau-b for each row of weights of the networks, (n, networks) → (n,); NaN if all are tied."""
        agree, first, second = (
            np.einsum("bi,bi->b", weights @ pairs, weights) for pairs in (self.agree, self.first, self.second)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            tau: Floats = agree / np.sqrt(first * second)
        return tau


def _weights(count: int) -> Floats:
    """Return the number of times that each resample draws each network, shape (RESAMPLES, count), for a fixed seed."""
    if count == 0:
        return np.empty((RESAMPLES, 0))
    return np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(np.float64)


def _estimate(whole: Floats, drawn: Floats, count: int) -> Estimate:
    drawn = drawn[np.isfinite(drawn)]
    if count < LEAST or not np.isfinite(whole[0]) or not len(drawn):
        return Estimate(value=None, low=None, high=None, count=count)
    low, high = np.quantile(drawn, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Estimate(value=float(whole[0]), low=float(low), high=float(high), count=count)
