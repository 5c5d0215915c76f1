"""How well one score ranks networks as another does: Kendall's tau, with intervals from networks drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgenas.blas import one_blas_thread

Floats = npt.NDArray[np.float64]
RESAMPLES = 4000
COVERAGE = 0.95
LEAST = 3
"""Networks below which nothing is said of a ranking."""
ROUGH_BELOW = 7
"""Networks below which an interval of a tau is called rough: it is narrower than 95 %.

Of scores with correlations 0, 0.7 and 0.9, it held the true tau in 93 to 95 % of 150 draws of seven networks, in 83 to
98 % of five, and in 41 to 71 % of three.
"""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % percentile bootstrap interval over networks; None where too few are known.

    Of 25 networks with normal scores, such intervals of a tau held the truth in 95 % of 400 draws.

    Attributes:
        value: of all networks.
        low: end of the interval.
        high: likewise.
        count: networks.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int


@one_blas_thread()
def kendall_tau(x: Sequence[float] | Floats, y: Sequence[float] | Floats) -> Estimate:
    """Kendall's tau-b of two scores of the same networks, which counts ties in neither's favour (Kendall 1945).

    The interval is that of the percentile bootstrap over networks (Efron 1979): of a network drawn twice, nothing is
    ranked against itself. It says nothing of what another training, or other images, would change.

    Args:
        x: a score of each network.
        y: another one.
    """
    pairs = _Pairs.of(x, y)
    return _estimate(pairs.tau(np.ones((1, pairs.count))), pairs.tau(_weights(pairs.count)), pairs.count)


@one_blas_thread()
def tau_lead(x: Sequence[float], other: Sequence[float], y: Sequence[float]) -> Estimate:
    """By how much the tau of `x` with `y` is above that of `other` with `y`; both on the same drawn networks."""
    own, theirs = _Pairs.of(x, y), _Pairs.of(other, y)
    whole, drawn = np.ones((1, own.count)), _weights(own.count)
    return _estimate(own.tau(whole) - theirs.tau(whole), own.tau(drawn) - theirs.tau(drawn), own.count)


@one_blas_thread()
def mean(values: Sequence[float]) -> Estimate:
    """The mean, with the percentile bootstrap's interval."""
    found = np.asarray(values, dtype=np.float64)
    weights = _weights(len(found))
    return _estimate(found.mean(keepdims=True), weights @ found / len(found), len(found))


@dataclass(frozen=True)
class _Pairs:
    """What all pairs of networks say, each (n, n): whether two scores agree, and which pairs each one ranks."""

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
        """Tau-b where networks count as often as `weights` (n, networks) say, (n,); not a number where all are tied."""
        agree, first, second = (
            np.einsum("bi,bi->b", weights @ pairs, weights) for pairs in (self.agree, self.first, self.second)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Floats = agree / np.sqrt(first * second)
        return found


def _weights(count: int) -> Floats:
    """How often each network is drawn in each resample, (RESAMPLES, count); always the same draws."""
    if count == 0:
        return np.empty((RESAMPLES, 0))
    return np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(np.float64)


def _estimate(whole: Floats, drawn: Floats, count: int) -> Estimate:
    drawn = drawn[np.isfinite(drawn)]
    if count < LEAST or not np.isfinite(whole[0]) or not len(drawn):
        return Estimate(None, None, None, count)
    low, high = np.quantile(drawn, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Estimate(float(whole[0]), float(low), float(high), count)
