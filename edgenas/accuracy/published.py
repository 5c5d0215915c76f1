"""Accuracy from published measurements: a surrogate predicts the top-1 of architectures that were not measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edgenas.accuracy.accuracy_table import AccuracyTable
from edgenas.accuracy.scores import StatedAccuracy
from edgenas.blas import one_blas_thread
from edgenas.errors import DataError, shortened
from edgenas.records.folder import AccuracySummary
from edgenas.search.gaussian_process import HALF_WIDTH, Quality, Surrogate
from edgenas.space.arch import Arch
from edgenas.space.blocks.genes import written
from edgenas.space.space import Genes, SearchSpace

Floats = npt.NDArray[np.float64]
KERNEL_ROWS = 300
"""Rows that the kernel is chosen on. The time grows with their cube, and more rows change the choice little."""


class TableSurrogate:
    """Top-1 of all architectures of a space, fitted to a table; measured architectures have their measured top-1.

    Attributes:
        surrogate_: surrogate of top-1 in percent.
        quality_: its quality, by leaving one out.
    """

    surrogate_: Surrogate
    quality_: Quality

    def __init__(self, space: SearchSpace) -> None:
        """Store the space."""
        self.space = space

    @one_blas_thread()
    def fit(self, table: AccuracyTable) -> TableSurrogate:
        """Fit the surrogate to a table.

        Raises:
            DataError: genes of the space have choices that no row of the table has.
            UserError: fewer than three rows.
        """
        check_choices(self.space, table)
        self._measured = {row.tobytes(): value for row, value in zip(table.genes, table.top1_percent, strict=True)}
        spread = np.unique(np.linspace(0, len(table.genes) - 1, KERNEL_ROWS).round().astype(np.int64))
        # Sorted by accuracy, so that the selected rows cover its range.
        selected = np.argsort(table.top1_percent, kind="stable")[spread]
        n_choices, canonical = self.space.n_choices, self.space.canonical
        kernel = Surrogate(n_choices, canonical).fit(table.genes[selected], table.top1_percent[selected])
        self.surrogate_ = Surrogate(n_choices, canonical).fit(table.genes, table.top1_percent, kernel)
        self.quality_ = self.surrogate_.quality_
        return self

    @one_blas_thread()
    def predict(self, archs: Sequence[Arch] | Genes) -> tuple[Floats, Floats]:
        """Return expected top-1 in percent and its standard deviation, 0 if measured; both of shape (n,)."""
        genes = archs if isinstance(archs, np.ndarray) else self.space.encode(archs)
        expected, deviation = self.surrogate_.predict(genes)
        measured = self._measured_top1(genes)
        is_measured = ~np.isnan(measured)
        return np.where(is_measured, measured, expected), np.where(is_measured, 0.0, deviation)

    @one_blas_thread()
    def error(self, archs: Sequence[Arch] | Genes) -> Floats:
        """Return 1 - top-1 as a fraction, shape (n,), which a search minimises."""
        genes = archs if isinstance(archs, np.ndarray) else self.space.encode(archs)
        measured = self._measured_top1(genes)
        top1_percent = np.where(np.isnan(measured), self.surrogate_.expect(genes), measured)
        return np.asarray(1 - np.clip(top1_percent, 0, 100) / 100)

    def _measured_top1(self, genes: Genes) -> Floats:
        """Return measured top-1, NaN where there is none; canonical genes (n, genes) to (n,)."""
        return np.array([self._measured.get(row.tobytes(), np.nan) for row in genes], dtype=np.float64)


def check_choices(space: SearchSpace, table: AccuracyTable) -> None:
    """Refuse a table that lacks some choices of the space.

    Raises:
        DataError: genes of the space have choices that no row of the table has.
    """
    missing = [
        f"{name} {written(choice)}"
        for gene, (name, choices) in enumerate(space.choices.items())
        for index, choice in enumerate(choices)
        if not (table.genes[:, gene] == index).any()
    ]
    if missing:
        raise DataError(
            f"no measured architecture has {shortened(missing)}: narrow the space to the measured choices, "
            "e.g. `space: {preset: NAME, resolution: [224]}`"
        )


@dataclass(frozen=True, eq=False)
class PublishedAccuracy(StatedAccuracy):
    """Accuracy source: a table of measured architectures, and a surrogate for all others."""

    space: SearchSpace
    table: AccuracyTable
    name: str
    dataset: str
    num_classes: int
    digest: str

    @cached_property
    def _surrogate(self) -> TableSurrogate:
        return TableSurrogate(self.space).fit(self.table)

    def top1(self, archs: Sequence[Arch]) -> Floats:
        """Return expected top-1, a fraction, shape (n,); measured architectures have their measured top-1."""
        return 1 - self._surrogate.error(archs)

    def interval(self, archs: Sequence[Arch]) -> Floats:
        """Return intervals by the standard deviation of the surrogate, shape (n, 2)."""
        percent, deviation = self._surrogate.predict(archs)
        half = HALF_WIDTH * deviation
        return np.clip(np.column_stack([percent - half, percent + half]) / 100, 0, 1)

    def summary(self) -> AccuracySummary:
        """Return the file and the quality of the surrogate, by leaving one out; errors are points of top-1."""
        quality = {key: value for key, value in asdict(self._surrogate.quality_).items() if key != "rmse"}
        rmse_points = self._surrogate.quality_.rmse
        return AccuracySummary(
            file=self.name, sha256=self.digest, dataset=self.dataset, rmse_points=rmse_points, **quality
        )
