"""Sampling errors, and significance of many differences."""

from __future__ import annotations

from collections.abc import Sequence

ERROR = 0.05
"""Family-wise error: probability of reporting any difference if there is none."""


def standard_error(rate: float, images: int) -> float:
    """Return the standard error of a rate over so many images; 0 without images."""
    return float(rate * (1 - rate) / images) ** 0.5 if images else 0.0


def mcnemar_p_value(more: int, fewer: int) -> float:
    """Return the p-value that one of two networks has at least `more` of the images that only one classifies correctly.

    This is McNemar's exact test, one-sided (McNemar 1947): a fair coin for each of the `more` + `fewer` images.
    """
    total = more + fewer
    ways, term = 0, 1
    # Exact integers, since a class may have thousands of images.
    for fewer_now in range(fewer + 1):
        ways += term
        term = term * (total - fewer_now) // (fewer_now + 1)
    return ways / (1 << total)


def holm_significant(p_values: Sequence[float]) -> list[bool]:
    """Return which of many tests are significant, corrected for their number (Holm 1979).

    The smallest p-value is compared with `ERROR` over the number of tests, the next with `ERROR` over the number of the
    others, up to the first that is greater. Tests may depend on each other.
    """
    significant = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > ERROR / (len(p_values) - rank):
            break
        significant[index] = True
    return significant
