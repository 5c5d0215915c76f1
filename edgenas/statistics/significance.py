"""Sampling errors, and significance tests of several differences."""

from __future__ import annotations

from collections.abc import Sequence

ERROR = 0.05
"""Family-wise error rate, the probability of reporting any difference if there is none."""


def standard_error(rate: float, images: int) -> float:
    """Return the standard error of a rate over a number of images; 0 without images."""
    return float(rate * (1 - rate) / images) ** 0.5 if images else 0.0


def mcnemar_p_value(more: int, fewer: int) -> float:
    """Return the p-value of McNemar's exact one-sided test (McNemar 1947).

    Args:
        more: number of images that only the first network classifies correctly.
        fewer: number of images that only the second network classifies correctly.
    """
    total = more + fewer
    ways, term = 0, 1
    # Exact integers, since a class may have thousands of images.
    for count in range(fewer + 1):
        ways += term
        term = term * (total - count) // (count + 1)
    return ways / (1 << total)


def holm_significant(p_values: Sequence[float]) -> list[bool]:
    """Return which of several tests are significant, corrected for their number (Holm 1979).

    The smallest p-value is compared with `ERROR` / number of tests, and the next with `ERROR` / number of remaining
    tests, up to the first p-value that is greater. Tests may depend on each other.
    """
    significant = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > ERROR / (len(p_values) - rank):
            break
        significant[index] = True
    return significant
