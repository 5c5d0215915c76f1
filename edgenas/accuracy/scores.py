"""What every source of accuracies gives: scores of architectures, and the setting that they depend on."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edgenas.records.comparison import Bools, CandidateComparison
from edgenas.records.folder import AccuracySummary
from edgenas.space.arch import Arch

if TYPE_CHECKING:
    from edgenas.supernet.subnet import Subnet

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """The score of an architecture on validation images.

    Attributes:
        arch: the architecture.
        error: 1 - top-1.
        worst_class_error: 1 - the lowest top-1 of any class; NaN where only top-1 is given.
        balanced_error: 1 - the mean top-1 of the classes; NaN likewise.
        seconds: wall-clock time that it took.
    """

    arch: Arch
    error: float
    worst_class_error: float = math.nan
    balanced_error: float = math.nan
    seconds: float = 0.0


class ScoreSetting(NamedTuple):
    """What scores depend on: those of another setting do not compare.

    Attributes:
        weights: digest of the supernet's weights, or of the file of the source.
        calibration_images: number of training images that recalibrate batch norm; None where there is no supernet.
        validation_images: number of images that errors are counted over; None where there is no supernet.
    """

    weights: str
    calibration_images: int | None = None
    validation_images: int | None = None


class AccuracySource(Protocol):
    """The accuracies of the architectures of a space: of a supernet, published, or predicted."""

    @property
    def dataset(self) -> str:
        """Return the name of the data set of the accuracies."""
        ...

    @property
    def setting(self) -> ScoreSetting:
        """Return the setting that the scores depend on."""
        ...

    @property
    def costly(self) -> bool:
        """Return whether a score takes so long that each one is kept."""
        ...

    def scores(self, archs: Sequence[Arch]) -> Iterator[Sequence[Score]]:
        """Yield the scores of architectures in their order, in parts that are kept as soon as they are there."""
        ...

    def interval(self, archs: Sequence[Arch]) -> Floats | None:
        """Return intervals of probability `gaussian_process.COVERAGE`, shape (n, 2), of width 0 if measured.

        None where the source gives no interval.
        """
        ...

    def right(self, subnet: Subnet) -> Bools | None:
        """Return whether a subnet classifies each scored image correctly, (n,); None without images."""
        ...

    def comparison(self, right: Sequence[Bools]) -> CandidateComparison | None:
        """Return how far the scored images distinguish networks by their `right`; None without images or networks."""
        ...


class StatedAccuracy(ABC):
    """The base of sources from elsewhere: top-1 that others measured or that their predictor gives, in no time.

    Attributes:
        dataset: name of the data set of the accuracies.
        num_classes: number of its classes.
        digest: SHA-256 of the file of the source.
    """

    dataset: str
    num_classes: int
    digest: str
    costly = False

    @property
    def setting(self) -> ScoreSetting:
        """Return the setting that the scores depend on."""
        return ScoreSetting(self.digest)

    @abstractmethod
    def top1(self, archs: Sequence[Arch]) -> Floats:
        """Return expected top-1, a fraction, shape (n,)."""

    @abstractmethod
    def interval(self, archs: Sequence[Arch]) -> Floats | None:
        """Return intervals of probability `gaussian_process.COVERAGE`, shape (n, 2), of width 0 if measured."""

    @abstractmethod
    def summary(self) -> AccuracySummary:
        """Return the identity and the quality of the source."""

    def scores(self, archs: Sequence[Arch]) -> Iterator[Sequence[Score]]:
        """Yield the scores of all architectures in one part."""
        if archs:
            started = time.monotonic()
            errors = (1 - self.top1(archs)).tolist()
            seconds = (time.monotonic() - started) / len(archs)
            yield [Score(arch, error, seconds=seconds) for arch, error in zip(archs, errors, strict=True)]

    def right(self, subnet: Subnet) -> None:
        """Return None: the accuracies are of other images than the run's."""
        return

    def comparison(self, right: Sequence[Bools]) -> None:
        """Return None: there are no images."""
        return
