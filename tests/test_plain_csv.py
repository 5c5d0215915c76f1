"""CSV files of spreadsheets: each spelling reads as the same sheet, or is refused with its cause."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas.errors import UserError
from edgenas.plain_csv import decimal_mark, parse_number, read_sheet

COLUMNS = ("arch", "latency_ms", "remark")
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sheets") / "a.csv"


@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=4),
    separator=st.sampled_from(",;\t"),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    announced=st.booleans(),
)
def test_spellings_of_a_sheet_read_alike(
    path: Path, rows: list[tuple[str, str, str]], separator: str, ending: str, encoding: str, announced: bool
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows([COLUMNS, *rows])
    whole = (f"sep={separator}\n" if announced else "") + text.getvalue() + "\n" + separator * 2 + "\n"
    path.write_bytes(whole.replace("\n", ending).encode(encoding))
    expected = [dict(zip(COLUMNS, row, strict=True)) for row in rows if "".join(row).strip()]
    assert [row for _, row in read_sheet(path).rows] == expected


def test_places_are_lines_of_the_file(path: Path) -> None:
    path.write_text('a,b\n\n1,"two\nlines"\n , \n2,3\n', encoding="utf-8")
    assert [number for number, _ in read_sheet(path).rows] == [3, 6]


def test_expected_columns_are_found_whatever_their_case(path: Path) -> None:
    path.write_text(" Arch ,LATENCY ms,Remark\nx,1,y\n", encoding="utf-8")
    assert read_sheet(path, ("arch", "latency_ms")).columns == ("arch", "latency_ms", "Remark")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer: run `git lfs pull`"),
        (b"PK\x03\x04rest", "Excel workbook"),
        (b"\xef\xbb\xbf<!DOCTYPE html>", "a web page"),
        ("größe,b\n".encode("cp1252"), "save it as `CSV UTF-8`"),
        ("a,b\n".encode("utf-16-le"), "line 1: cannot be read as CSV: it contains a NUL"),
        (b'a,b\n"x"y,1\n', "line 2: cannot be read as CSV"),
        (b"a,A,b\n", "the column 'a' occurs twice"),
        (b"a,b\n1,5,2\n", "line 2: expected 2 values, got 3; are there decimal commas"),
        (b"a,b\n1\n", "line 2: expected 2 values, got 1; was the file cut short"),
    ],
)
def test_what_is_no_sheet_is_refused_with_its_cause(path: Path, content: bytes, cause: str) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.csv") as refused:
        read_sheet(path, ("a",))
    assert cause in str(refused.value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_in_either_decimal_mark(value: float) -> None:
    text = repr(value)
    assert parse_number(text) == value
    assert parse_number(f" {text.replace('.', ',')} ", ",") == value


@pytest.mark.parametrize(
    ("texts", "mark"),
    [(["1", "2.5"], "."), (["1,5", "1,500"], ","), (["0,123"], ","), (["1,500.5"], "."), ([], "."), (["1,5e-3"], ",")],
)
def test_the_decimal_mark_is_that_of_the_column(texts: list[str], mark: str) -> None:
    assert decimal_mark(texts) == mark


@pytest.mark.parametrize(("texts", "cause"), [(["1,5", "2.5"], "point"), (["1,500", "12,250"], "may be 1.500 or 1500")])
def test_columns_whose_numbers_have_two_readings_are_refused(texts: list[str], cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        decimal_mark(texts)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("1_500", "in digits"),
        ("١٥", "in digits"),
        ("0x10", "in digits"),
        ("", "empty"),
        ("NaN", "delete the line"),
        ("-inf", "delete the line"),
        ("1e9999", "too large"),
        ("1,500", "thousands"),
        ("1.500,5", "thousands"),
        ("1'500", "thousands"),
        ("1\N{NO-BREAK SPACE}500", "thousands"),
        ("1.5 ms", "without its unit"),
        ("76.1 %", "without its unit"),
    ],
)
def test_other_numbers_are_refused_with_their_cause(text: str, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        parse_number(text)
