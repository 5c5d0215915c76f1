"""Right and wrong answers of networks on the same images, and how far these distinguish the networks."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edgenas.records.record import Count, Fraction, Record

Bools = npt.NDArray[np.bool_]
Answers = Annotated[str, Field(pattern="^[01]+$")]
"""A digit for every image of a split: 1 where the network classifies it correctly."""


def answers_text(right: Bools) -> str:
    """Return the text form of whether each image is classified correctly, shape (images,)."""
    return "".join("1" if each else "0" for each in right)


def read_answers(text: str) -> Bools:
    """Return whether each image is classified correctly, shape (images,)."""
    return np.array([digit == "1" for digit in text])


class CandidateComparison(Record):
    """A comparison of the chosen candidate with the others, on the same validation images.

    Attributes:
        images: number of validation images.
        candidates: number of networks.
        worse: how many of the others classify significantly fewer images correctly than the chosen one.
        best_share: share of the repeated stratified resamples of the images in which the chosen one is the most
            accurate; of equal candidates each counts its part.
    """

    images: Annotated[int, Field(gt=0)]
    candidates: Annotated[int, Field(gt=0)]
    worse: Count
    best_share: Fraction
