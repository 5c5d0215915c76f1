"""CSV files of others: separators, encodings and numbers as spreadsheets write them."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgenas.errors import UserError, first_line

SEPARATORS = ",;\t"
_FOREIGN = (
    (b"version https://git-lfs", "it is a Git LFS pointer: run `git lfs pull`"),
    (b"PK\x03\x04", "it is an Excel workbook or a ZIP archive: save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "it is an old Excel workbook: save the sheet as CSV"),
    (b"<", "it is a web page or XML: download the file itself"),
    (b"{", "it is JSON: save it as CSV"),
)
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_PLAIN = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+(?:[eE][+-]?[0-9]{1,4})?")
_COMMA_OR_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:[,.'’\s][0-9]{3})+(?:[.,][0-9]+)?")


@dataclass(frozen=True)
class Sheet:
    """A CSV file with a line of column names.

    Attributes:
        path: the file.
        header_line: number of the line of column names, from 1.
        columns: their names, each once.
        rows: line number and cells by column, without empty lines.
    """

    path: Path
    header_line: int
    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]

    @property
    def header(self) -> str:
        """Return the file and line of the column names, for messages."""
        return f"{self.path}, line {self.header_line}"


def read_sheet(path: Path, expected: Sequence[str] = ()) -> Sheet:
    """Read a CSV file whose first line names its columns.

    The separator is a comma, a semicolon or a tab: the most frequent one in the line of names. Encodings are UTF-8
    and, with a byte order mark, UTF-16.

    Args:
        path: the file.
        expected: column names that the caller needs; `Latency ms` is read as `latency_ms`.

    Raises:
        UserError: the file is missing or not a CSV, a column occurs twice, or a line has too many or too few values.
    """
    lines = _lines(path)
    if not lines:
        raise UserError(f"{path}: expected a line of column names, got an empty file")
    header_line, names = lines[0]
    columns = [_expected_name(name, expected) for name in names]
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise UserError(f"{path}, line {header_line}: the column {twice[0]!r} occurs twice: delete or rename one")
    for number, values in lines[1:]:
        if len(values) != len(columns):
            raise UserError(f"{path}, line {number}: {_wrong_count(len(columns), values)}")
    rows = tuple((number, dict(zip(columns, values, strict=True))) for number, values in lines[1:])
    return Sheet(path, header_line, tuple(columns), rows)


def _expected_name(name: str, expected: Sequence[str]) -> str:
    spelling = re.sub(r"\s+", "_", name.strip()).casefold()
    return next((column for column in expected if column.casefold() == spelling), name.strip())


def _wrong_count(count: int, values: Sequence[str]) -> str:
    lead = f"expected {count} values, got {len(values)}"
    if len(values) > count:
        return f"{lead}; are there decimal commas? Write 1.5, or separate columns by semicolons"
    return f"{lead}; was the file cut short?"


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return number and values of each line that is not empty."""
    text = re.sub(r"\r\n?", "\n", _text(path))
    first = 1
    separator = None
    if stated := re.match(r"sep=([,;\t])\n", text):
        # Excel writes such a line first, and reads it.
        text, first, separator = text[stated.end() :], 2, stated[1]
    reader = csv.reader(io.StringIO(text), delimiter=separator or _separator(text), strict=True)
    lines: list[tuple[int, list[str]]] = []
    begins = first
    try:
        for values in reader:
            if any(map(str.strip, values)):
                lines.append((begins, values))
            begins = first + reader.line_num
    except csv.Error as error:
        raise UserError(f"{path}, line {begins}: cannot be read as CSV: {error}") from None
    return lines


def _separator(text: str) -> str:
    """Return the most frequent separator of the first line that is not empty, without quoted ones."""
    header = next(filter(str.strip, text.split("\n")), "")
    bare = re.sub(r'"[^"]*"', "", header)
    return max(SEPARATORS, key=bare.count)


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a file: expected a CSV")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: check the path") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read as CSV: {error.strerror or first_line(error)}") from None
    start = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    for mark, cause in _FOREIGN:
        if start.startswith(mark):
            raise UserError(f"{path} cannot be read as CSV: {cause}")
    try:
        text = data.decode("utf-16" if data.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(
            f"{path} cannot be read as CSV: it is not UTF-8 text; save it as `CSV UTF-8` in the spreadsheet"
        ) from None
    if (at := text.find("\0")) >= 0:
        line = text.count("\n", 0, at) + 1
        raise UserError(
            f"{path}, line {line}: cannot be read as CSV: it contains a NUL character; save it as `CSV UTF-8`"
        )
    return text


def decimal_mark(texts: Iterable[str]) -> str:
    """Return the decimal mark of a column of numbers, `.` or `,`.

    Raises:
        ValueError: points and commas are mixed, or `1,500` may be 1.5 or 1500 and no other cell decides.
    """
    stripped = [text.strip() for text in texts]
    commas = [text for text in stripped if _COMMA.fullmatch(text)]
    if not commas:
        return "."
    if point := next((text for text in stripped if "." in text and _PLAIN.fullmatch(text)), None):
        raise ValueError(f"{point!r} has a decimal point and {commas[0]!r} a comma: write all of them with a point")
    if all(map(_COMMA_OR_THOUSANDS.fullmatch, commas)):
        whole, _, rest = commas[0].partition(",")
        raise ValueError(f"{commas[0]!r} may be {whole}.{rest} or {whole}{rest}: write it with a decimal point")
    return ","


def parse_number(text: str, mark: str = ".") -> float:
    """Return a finite decimal number. Python's `1_500` and thousands separators are refused.

    Args:
        text: the cell.
        mark: the decimal mark of its column.

    Raises:
        ValueError: the cell is not such a number; the message states the cause.
    """
    stripped = text.strip()
    if mark == "," and _COMMA.fullmatch(stripped):
        stripped = stripped.replace(",", ".")
    value = float(stripped) if _PLAIN.fullmatch(stripped) else math.nan
    if not math.isfinite(value):
        raise ValueError(_not_a_number(stripped))
    return value


def _not_a_number(text: str) -> str:
    if not text:
        return "the cell is empty"
    if _PLAIN.fullmatch(text):
        return "it is too large"
    if text.lstrip("+-").casefold() in ("nan", "inf", "infinity", "n/a", "na", "none", "null", "-"):
        return "delete the line if it has no value"
    if _THOUSANDS.fullmatch(text):
        return "write it without thousands separators"
    if re.match(r"[+-]?[0-9.,]+\s*[^\W\d_]*%?$", text):
        return "write only the number, with a decimal point and without its unit"
    return "write it in digits, with a decimal point"
