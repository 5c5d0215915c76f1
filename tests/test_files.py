import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas.errors import RunFolderError, UserError
from edgenas.files import (
    SCHEMA_VERSION,
    append_jsonl,
    read_json,
    read_jsonl,
    read_yaml,
    shipped,
    write_bytes,
    write_csv,
    write_json,
    write_text,
    write_yaml,
)

Row = dict[str, object]
ROWS = st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=8), st.none()), max_size=3)


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    path = tmp_path / "a.txt"
    write_text(path, "old")
    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_writing_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.bin"
    for data in (b"long old content", b"new"):
        write_bytes(path, data)
        assert path.read_bytes() == data


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600), (0o002, 0o664)])
def test_files_are_made_as_the_umask_says_however_they_are_written(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "whole" / "a", "x")
        write_text(tmp_path / "whole" / "a", "replaced")
        append_jsonl(tmp_path / "whole" / "b", {})
        write_csv(tmp_path / "whole" / "c", ["a"], [])
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "whole").iterdir()} == {mode}
    assert (tmp_path / "whole").stat().st_mode & 0o777 == 0o777 & ~umask


def test_json_round_trips_with_its_schema_version(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"name": "Grüße", "values": [1, 2.5, None]})
    assert read_json(path) == {"schema_version": SCHEMA_VERSION, "name": "Grüße", "values": [1, 2.5, None]}
    assert "Grüße" in path.read_text(encoding="utf-8")


def test_json_has_no_numbers_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema_version": 2}', "schema_version 2, this edgenas reads up to 1: upgrade"),
        ('{"schema_version": "1"}', "expected a schema_version of 1 to 1, got '1'"),
        ('{"schema_version": true}', "got True"),
        ('{"schema_version": 0}', "got 0"),
        ("{}", "got nothing"),
        ("[1]", "expected a JSON object, got list"),
        ("{", "not valid JSON"),
        ("", "not valid JSON"),
    ],
)
def test_json_that_is_not_ours_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        read_json(path)
    assert str(path) in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for read in (read_json, read_yaml):
        with pytest.raises(UserError, match=r"nothing\.x does not exist"):
            read(tmp_path / "nothing.x")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty file"),
        (b"# only a comment", "an empty file"),
        (b"- 1\n- 2", "got list"),
        (b"text", "got str"),
        (b"a: [1", "cannot be read as YAML"),
        (b"a: \xff", "cannot be read as YAML"),
    ],
)
def test_yaml_that_is_no_mapping_is_refused_by_name(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as raised:
        read_yaml(path)
    assert str(path) in str(raised.value)


def test_yaml_round_trips_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    write_yaml(path, {"z": 1, "a": ["ö", None]})
    assert list(read_yaml(path).items()) == [("z", 1), ("a", ["ö", None])]


@given(st.lists(ROWS, max_size=5))
def test_rows_come_back_in_order(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    path = tmp_path_factory.mktemp("rows") / "new" / "a.jsonl"
    for row in rows:
        append_jsonl(path, row)
    assert read_jsonl(path) == rows


@given(st.lists(ROWS, min_size=1, max_size=3), ROWS, st.data())
def test_a_torn_line_is_passed_over_and_hurts_no_other(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Row],
    after: dict[str, object],
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    for row in rows:
        append_jsonl(path, row)
    whole = path.read_bytes()
    last = len(json.dumps(rows[-1], ensure_ascii=False).encode()) + 1
    # A kill leaves any part of the last row; without its line end alone, the row is whole.
    path.write_bytes(whole[: len(whole) - data.draw(st.integers(2, last))])
    assert read_jsonl(path) == rows[:-1]
    append_jsonl(path, after)
    assert read_jsonl(path) == [*rows[:-1], after]


def test_a_row_that_lacks_only_its_line_end_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}')
    append_jsonl(path, {"a": 2})
    assert read_jsonl(path) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("folder", ["devices", "latency_tables", "export"])
def test_shipped_folders_are_there(folder: str) -> None:
    assert shipped(folder).is_dir()
    assert shipped(folder).name == folder


def test_a_folder_that_is_not_shipped_is_named() -> None:
    with pytest.raises(RunFolderError, match="'checkpoints' is missing"):
        shipped("checkpoints")


@given(rows=st.lists(st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\r\0"))] * 2), max_size=4))
def test_a_table_is_read_back_by_the_csv_module(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("table") / "table.csv"
    write_csv(path, ["a", "b"], [{"left out": 1, "b": b, "a": a} for a, b in rows])
    with path.open(encoding="utf-8", newline="") as file:
        assert [(row["a"], row["b"]) for row in csv.DictReader(file)] == rows


def test_a_table_with_a_hole_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="b"):
        write_csv(tmp_path / "table.csv", ["a", "b"], [{"a": 1, "b": 2}, {"a": 1}])
    assert not list(tmp_path.iterdir())
