"""Accuracy from published measurements: archs whose top-1 was measured tell that of all others."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.blas import one_blas_thread
from edgenas.errors import DataError, SpaceError, UserError, one_of, shortened, shown, slip
from edgenas.files import read_json, user_path
from edgenas.plain_csv import Sheet, decimal_mark, parse_number, read_sheet
from edgenas.search.surrogate import Quality, Surrogate
from edgenas.space.arch import Arch, parse_arch
from edgenas.space.space import Genes, SearchSpace

Floats = npt.NDArray[np.float64]
SHIPPED = Path(__file__).parent / "accuracies"
ARCH, OFA = ("arch",), ("ks", "e", "d", "r")
TOP1_PERCENT = "top1_percent"
CHOSEN_ON = 300
"""Rows that the kernel is chosen on: its time grows with their cube, and more change it little."""


@dataclass(frozen=True, eq=False)
class AccuracyTable:
    """Archs of one space and their measured top-1."""

    genes: Genes
    """Canonical, shape (n, genes), no row twice."""
    top1_percent: Floats
    """Shape (n,); of an arch measured several times the mean."""
    elsewhere: int
    """Rows left out because their arch is not in the space."""
    dataset: str | None = None
    """What it was measured on, where that is stated beside the table."""
    num_classes: int | None = None
    """Of that dataset."""


def accuracy_table_names() -> list[str]:
    """Names of the shipped tables."""
    return sorted(path.stem for path in SHIPPED.glob("*.csv"))


def load_accuracy_table(name_or_path: str | Path, space: SearchSpace, column: str = TOP1_PERCENT) -> AccuracyTable:
    """Read measured accuracies of a space's archs.

    Beside NAME.csv a NAME.json may state the `space` (its structure_id), `dataset` and `num_classes`.

    Args:
        name_or_path: of a shipped table, or of a CSV with a header. An arch is named by its text in a column `arch`,
            or by once-for-all's `ks`, `e`, `d` (numbers joined by -) and `r`.
        space: rows whose arch it does not have are left out.
        column: holds top-1 in percent.

    Raises:
        DataError: no such table, no such columns, a value that is no percentage, or no arch of the space.
        UserError: what stands beside it is broken or of a newer schema.
    """
    path = accuracy_table_path(name_or_path)
    stated = _stated(path.with_suffix(".json"), space)
    sheet = _sheet(path, column)
    percents = _percents(sheet, column)
    archs = [_arch(row, space, f"{path}, line {number}") for number, row in sheet.rows]
    inside = [(arch, percent) for arch, percent in zip(archs, percents, strict=True) if arch is not None]
    if not inside:
        raise DataError(
            f"{path}: none of its {len(archs)} archs is in {space.name}: use the space they were measured in"
        )
    genes, places = np.unique(space.encode([arch for arch, _ in inside]), axis=0, return_inverse=True)
    top1 = np.array([percent for _, percent in inside])
    mean = np.bincount(places.ravel(), top1) / np.bincount(places.ravel())
    return AccuracyTable(genes, mean, len(archs) - len(inside), stated.get("dataset"), stated.get("num_classes"))


def accuracy_table_path(name_or_path: str | Path) -> Path:
    """The file of a shipped table, or the one named.

    Raises:
        DataError: there is no such table.
    """
    known = str(name_or_path) in accuracy_table_names()
    path = SHIPPED / f"{name_or_path}.csv" if known else user_path(name_or_path)
    if not os.path.isfile(path):
        hint = one_of(str(name_or_path), accuracy_table_names())
        raise DataError(f"accuracy table {shown(str(name_or_path))} is neither shipped nor a file; {hint}")
    return path


def _stated(path: Path, space: SearchSpace) -> dict[str, Any]:
    if not path.is_file():
        return {}
    value = read_json(path, "write it as edgenas/search/accuracies/README.md says")
    for key, kind in (("space", str), ("dataset", str), ("num_classes", int)):
        if not isinstance(value.get(key), kind | None):
            raise DataError(f"{path}: {key}: wanted {kind.__name__}, got {shown(value[key])}")
    if value.get("space") not in (None, space.structure_id):
        raise DataError(
            f"{path}: its archs were measured in space {shown(value['space'])}, this one is {space.structure_id} "
            f"({space.name}): use the space they were measured in"
        )
    return value


def _sheet(path: Path, column: str) -> Sheet:
    try:
        sheet = read_sheet(path, (*ARCH, *OFA, column))
    except UserError as error:
        raise DataError(str(error)) from None
    names = set(sheet.columns)
    if column not in names or not (names.issuperset(ARCH) or names.issuperset(OFA)):
        hint = "" if column in names else slip(column, sheet.columns)
        raise DataError(
            f"{path}: wanted columns {column} and arch (or ks, e, d, r), got {', '.join(sorted(names))}{hint}"
        )
    return sheet


def _percents(sheet: Sheet, column: str) -> list[float]:
    try:
        mark = decimal_mark(row[column] for _, row in sheet.rows)
    except ValueError as error:
        raise DataError(f"{sheet.path}, column {column}: {error}") from None
    return [_percent(row[column], mark, f"{sheet.path}, line {number}: {column}") for number, row in sheet.rows]


def _percent(text: str, mark: str, place: str) -> float:
    expected = f"{place}: wanted a percentage of 0 to 100, got {shown(text)}"
    try:
        value = parse_number(text, mark)
    except ValueError as error:
        raise DataError(f"{expected}: {error}") from None
    if not 0 <= value <= 100:
        raise DataError(expected)
    return value


def _arch(row: Mapping[str, str], space: SearchSpace, place: str) -> Arch | None:
    """Return the arch of a row; None if it is not in the space.

    Raises:
        DataError: the text names no network at all.
    """
    try:
        if "arch" in row:
            named = parse_arch(row["arch"])
        else:
            settings = {key: _whole_numbers(row[key], f"{place}: {key}") for key in OFA}
    except SpaceError as error:
        raise DataError(f"{place}: {error}") from None
    try:
        return space.parse(named.id) if "arch" in row else space.from_ofa(settings)
    except SpaceError:
        return None


def _whole_numbers(text: str, place: str) -> list[int]:
    if not re.fullmatch(r"[0-9]{1,6}(?:-[0-9]{1,6})*", text.strip()):
        raise DataError(f"{place}: wanted whole numbers joined by -, got {shown(text)}")
    return [int(part) for part in text.split("-")]


class MeasuredAccuracy:
    """Top-1 of every arch of a space, learnt from a table of measured ones; of these it is as measured.

    Attributes:
        surrogate_: of top-1 in percent.
        quality_: leaving one out.
    """

    surrogate_: Surrogate
    quality_: Quality

    def __init__(self, space: SearchSpace) -> None:
        """Store the space."""
        self.space = space

    @one_blas_thread()
    def fit(self, table: AccuracyTable) -> MeasuredAccuracy:
        """Learn from a table.

        Raises:
            DataError: genes of the space have choices that no row of the table has.
            UserError: fewer than three rows.
        """
        self.check_choices(table)
        self._known = {row.tobytes(): value for row, value in zip(table.genes, table.top1_percent, strict=True)}
        spread = np.unique(np.linspace(0, len(table.genes) - 1, CHOSEN_ON).round().astype(np.int64))
        # By accuracy, so that the few rows have the whole range.
        few = np.argsort(table.top1_percent, kind="stable")[spread]
        n_choices, canonical = self.space.n_choices, self.space.canonical
        chosen = Surrogate(n_choices, canonical).fit(table.genes[few], table.top1_percent[few])
        self.surrogate_ = Surrogate(n_choices, canonical).fit(table.genes, table.top1_percent, chosen)
        self.quality_ = self.surrogate_.quality_
        return self

    def check_choices(self, table: AccuracyTable) -> None:
        """Refuse a table that says nothing of some choices of the space.

        Raises:
            DataError: genes of the space have choices that no row of the table has.
        """
        lacking = [
            f"{name} {choice:g}"
            for gene, (name, choices) in enumerate(self.space.choices.items())
            for index, choice in enumerate(choices)
            if not (table.genes[:, gene] == index).any()
        ]
        if lacking:
            raise DataError(
                f"no measured arch has {shortened(lacking)}: narrow the space to what was measured, "
                "e.g. `space: {preset: NAME, resolution: [224]}`"
            )

    @one_blas_thread()
    def predict(self, archs: Sequence[Arch] | Genes) -> tuple[Floats, Floats]:
        """Expected top-1 in percent and its standard deviation, 0 of measured archs; both of shape (n,)."""
        genes = archs if isinstance(archs, np.ndarray) else self.space.encode(archs)
        expected, deviation = self.surrogate_.predict(genes)
        measured = self._measured(genes)
        known = ~np.isnan(measured)
        return np.where(known, measured, expected), np.where(known, 0.0, deviation)

    @one_blas_thread()
    def error(self, archs: Sequence[Arch] | Genes) -> Floats:
        """1 - top-1 as a fraction, shape (n,): what a search minimises."""
        genes = archs if isinstance(archs, np.ndarray) else self.space.encode(archs)
        measured = self._measured(genes)
        top1_percent = np.where(np.isnan(measured), self.surrogate_.expect(genes), measured)
        return np.asarray(1 - np.clip(top1_percent, 0, 100) / 100)

    def _measured(self, genes: Genes) -> Floats:
        """Top-1 of archs that were measured, else NaN; canonical genes (n, genes) to (n,)."""
        return np.array([self._known.get(row.tobytes(), np.nan) for row in genes], dtype=np.float64)
