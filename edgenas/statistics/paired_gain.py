"""The gain of one network over another on the same images, with an interval."""

from __future__ import annotations

from dataclasses import dataclass

NORMAL_QUANTILE = 1.959964
"""Quantile of the normal distribution for two-sided intervals of 95 %."""


@dataclass(frozen=True)
class PairedGain:
    """A difference of top-1 with its interval of 95 %, as fractions."""

    value: float
    low: float
    high: float


def paired_gain(more: int, fewer: int, images: int) -> PairedGain:
    """Return the gain in top-1 of one network over another.

    The interval is the adjusted Wald interval for paired proportions (Journal of Educational and Behavioral Statistics
    37, 479, 2012). It covers 95 % of the true differences also on few images, on which it is not empty where both
    networks are right on the same ones.

    Args:
        more: number of images that only the first network classifies correctly.
        fewer: number of images that only the second network classifies correctly.
        images: number of all images, at least 1.
    """
    first, second = (more + 1) / (images + 2), (fewer + 1) / (images + 2)
    middle = first - second
    half = NORMAL_QUANTILE * ((first + second - middle**2) / (images + 2)) ** 0.5
    return PairedGain((more - fewer) / images, max(-1.0, middle - half), min(1.0, middle + half))


def gain_of_answers(right: str, other: str) -> PairedGain:
    """Return the gain of a network over another from their answers.

    Args:
        right: for each image whether the network gives it its label, digits 1 and 0.
        other: the same of the other network.
    """
    pairs = list(zip(right, other, strict=True))
    return paired_gain(pairs.count(("1", "0")), pairs.count(("0", "1")), len(pairs))
