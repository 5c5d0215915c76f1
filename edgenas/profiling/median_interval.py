"""Confidence interval of a median from order statistics; exact whatever the distribution.

Let n processes be independent, and each one's p50 be below the true median with probability one half. Then the number
of p50s below it is binomial(n, 1/2), and the k + 1-th smallest and the k + 1-th largest p50 enclose the median with
probability 1 - 2 P(binomial <= k) (David and Nagaraja, Order Statistics, 3rd ed., section 7.1). Ties only raise it.
Noise that all processes share, such as a slow day of the machine, is not in this interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

ONE_SIDED_ERROR = 0.05
"""Largest probability that the median lies beyond one given end."""
FEWEST_PROCESSES = 5
"""Below that, even the smallest or largest p50 misses the median more often than `ONE_SIDED_ERROR`."""


def trimmed(processes: int) -> int:
    """Return how many of the smallest, and of the largest, p50s lie outside the interval.

    As many as leave each end a one-sided 95 % confidence limit: 0 of five to seven processes, 1 of eight.

    Raises:
        ValueError: there are fewer than `FEWEST_PROCESSES`.
    """
    if processes < FEWEST_PROCESSES:
        raise ValueError(f"an interval of order statistics takes {FEWEST_PROCESSES} processes, got {processes}")
    return max(k for k in range((processes + 1) // 2) if _binomial_cdf(k, processes) <= ONE_SIDED_ERROR)


def one_sided_coverage(processes: int) -> float:
    """Return the probability that the true median lies below the upper end; 247/256 (96.5 %) for eight processes."""
    return 1 - _binomial_cdf(trimmed(processes), processes)


def coverage(processes: int) -> float:
    """Return the probability that the interval holds the true median; 238/256 (93.0 %) for eight processes."""
    return 2 * one_sided_coverage(processes) - 1


def median_interval(p50s_us: Sequence[float]) -> tuple[float, float]:
    """Return the interval of the median of process p50s in microseconds: the 2nd and the 7th of eight.

    Raises:
        ValueError: there are fewer than `FEWEST_PROCESSES`.
    """
    ordered, k = sorted(p50s_us), trimmed(len(p50s_us))
    return ordered[k], ordered[-1 - k]


def _binomial_cdf(successes: int, trials: int) -> float:
    """Return P(binomial(trials, 1/2) <= successes), without the import time of scipy."""
    return float(sum(math.comb(trials, count) for count in range(successes + 1)) / 2**trials)
