"""Tables of measured top-1, shipped or in a CSV file of the user."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.errors import DataError, SpaceError, UserError, one_of, shown, slip
from edgenas.files import read_json, user_path
from edgenas.plain_csv import Sheet, decimal_mark, parse_number, read_sheet
from edgenas.space.arch import Arch, parse_arch
from edgenas.space.ofa_settings import arch_from_ofa
from edgenas.space.space import Genes, SearchSpace

Floats = npt.NDArray[np.float64]
SHIPPED = Path(__file__).parent / "accuracies"
ARCH, OFA = ("arch",), ("ks", "e", "d", "r")
TOP1_PERCENT = "top1_percent"


@dataclass(frozen=True, eq=False)
class AccuracyTable:
    """Architectures of one space and their measured top-1.

    Attributes:
        genes: canonical genes, shape (n, genes), without equal rows.
        top1_percent: top-1 in percent, shape (n,); the mean for an architecture with several measurements.
        outside: number of rows that were left out because their architecture is not in the space.
        dataset: name of the data set, if it is stated beside the table.
        num_classes: number of its classes, if it is stated beside the table.
    """

    genes: Genes
    top1_percent: Floats
    outside: int
    dataset: str | None = None
    num_classes: int | None = None


def accuracy_table_names() -> list[str]:
    """Return the names of the shipped tables."""
    return sorted(path.stem for path in SHIPPED.glob("*.csv"))


def load_accuracy_table(name_or_path: str | Path, space: SearchSpace, column: str = TOP1_PERCENT) -> AccuracyTable:
    """Read a table of measured top-1.

    Beside NAME.csv, NAME.json may state the `space` (its structure_id), `dataset` and `num_classes`.

    Args:
        name_or_path: name of a shipped table, or path of a CSV file with a header. The column `arch` has the texts of
            architectures; or the columns `ks`, `e`, `d` (numbers joined by -) and `r` have once-for-all's settings.
        space: the search space; rows of other architectures are left out.
        column: name of the column with top-1 in percent.

    Raises:
        DataError: the table or a column is missing, a value is no percentage, or no architecture is in the space.
        UserError: the JSON file is broken or of a newer schema.
    """
    path = accuracy_table_path(name_or_path)
    metadata = _read_metadata(path.with_suffix(".json"), space)
    sheet = _sheet(path, column)
    percents = _percents(sheet, column)
    archs = [_arch(row, space, f"{path}, line {number}") for number, row in sheet.rows]
    inside = [(arch, percent) for arch, percent in zip(archs, percents, strict=True) if arch is not None]
    if not inside:
        raise DataError(
            f"{path}: none of its {len(archs)} architectures is in {space.name}: use the space they were measured in"
        )
    genes, rows = np.unique(space.encode([arch for arch, _ in inside]), axis=0, return_inverse=True)
    top1 = np.array([percent for _, percent in inside])
    mean = np.bincount(rows.ravel(), top1) / np.bincount(rows.ravel())
    return AccuracyTable(genes, mean, len(archs) - len(inside), metadata.get("dataset"), metadata.get("num_classes"))


def accuracy_table_path(name_or_path: str | Path) -> Path:
    """Return the path of a shipped table or of a file.

    Raises:
        DataError: there is no such table.
    """
    is_shipped = str(name_or_path) in accuracy_table_names()
    path = SHIPPED / f"{name_or_path}.csv" if is_shipped else user_path(name_or_path)
    if not os.path.isfile(path):
        hint = one_of(str(name_or_path), accuracy_table_names())
        raise DataError(f"accuracy table {shown(str(name_or_path))} is neither shipped nor a file; {hint}")
    return path


def _read_metadata(path: Path, space: SearchSpace) -> dict[str, Any]:
    if not path.is_file():
        return {}
    value = read_json(path, "write it as edgenas/accuracy/accuracies/README.md describes")
    for key, kind in (("space", str), ("dataset", str), ("num_classes", int)):
        if not isinstance(value.get(key), kind | None):
            raise DataError(f"{path}: {key}: expected {kind.__name__}, got {shown(value[key])}")
    if value.get("space") not in (None, space.structure_id):
        raise DataError(
            f"{path}: expected accuracies in space {space.structure_id} ({space.name}), got {shown(value['space'])}: "
            "use the space they were measured in"
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
            f"{path}: expected columns {column} and arch (or ks, e, d, r), got {', '.join(sorted(names))}{hint}"
        )
    return sheet


def _percents(sheet: Sheet, column: str) -> list[float]:
    try:
        mark = decimal_mark(row[column] for _, row in sheet.rows)
    except ValueError as error:
        raise DataError(f"{sheet.path}, column {column}: {error}") from None
    return [_percent(row[column], mark, f"{sheet.path}, line {number}: {column}") for number, row in sheet.rows]


def _percent(text: str, mark: str, location: str) -> float:
    message = f"{location}: expected a percentage of 0 to 100, got {shown(text)}"
    try:
        value = parse_number(text, mark)
    except ValueError as error:
        raise DataError(f"{message}: {error}") from None
    if not 0 <= value <= 100:
        raise DataError(message)
    return value


def _arch(row: Mapping[str, str], space: SearchSpace, location: str) -> Arch | None:
    """Return the architecture of a row; None if it is not in the space.

    Raises:
        DataError: the text is not that of an architecture.
    """
    try:
        if "arch" in row:
            named = parse_arch(row["arch"])
        else:
            settings = {key: _whole_numbers(row[key], f"{location}: {key}") for key in OFA}
    except SpaceError as error:
        raise DataError(f"{location}: {error}") from None
    try:
        return space.parse(named.id) if "arch" in row else arch_from_ofa(space, settings)
    except SpaceError:
        return None


def _whole_numbers(text: str, location: str) -> list[int]:
    if not re.fullmatch(r"[0-9]{1,6}(?:-[0-9]{1,6})*", text.strip()):
        raise DataError(f"{location}: expected whole numbers joined by -, got {shown(text)}")
    return [int(part) for part in text.split("-")]
