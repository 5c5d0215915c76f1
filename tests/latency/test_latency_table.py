import json
from dataclasses import replace

import pytest

from edgenas.errors import TableError
from edgenas.latency.table import LatencyTable, find_table, table_names
from edgenas.records.latency import COLUMNS, Identity, LatencyRow

IDENTITY = Identity("pi", "onnxruntime", "1.31.1", "cpu", "fp32", 1, "all", False, 1)


def row(kind: str = "block", key: str = "stem_a", p50: float = 10.0, space: str = "", classes: int = 0) -> LatencyRow:
    return LatencyRow(kind, space, classes, key, p50, p50 + 1, p50, 0.5, p50 - 0.5, p50 + 0.5, 400, 20, 0.01)


ROWS = (
    row(),
    row(key="head_b"),
    row("network", "r8_w8-k3e1", 50.0, "s@1", 10),
    row("network", "r8_w8-k3e1", 51.0, "s@1", 12),
)


@pytest.fixture
def folder(tmp_path):
    LatencyTable(IDENTITY, {"call_overhead_us": 2.0, "warnings": ["loud"]}, ROWS).save(tmp_path)
    return tmp_path


def edit(folder, line: int, column: str, text: str) -> None:
    lines = (folder / "table.csv").read_text(encoding="utf-8").splitlines()
    values = lines[line - 1].split(",")
    values[COLUMNS.index(column)] = text
    lines[line - 1] = ",".join(values)
    (folder / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_table_survives_its_files(folder) -> None:
    table = LatencyTable.load(folder)
    assert table == LatencyTable.load(folder / "table.csv") == find_table(folder)
    assert table.identity == IDENTITY
    assert table.circumstances == {"call_overhead_us": 2.0, "warnings": ["loud"]}
    assert table.rows == ROWS


def test_rows_are_found_by_kind_space_and_classes(folder) -> None:
    table = LatencyTable.load(folder)
    assert set(table.blocks()) == {"stem_a", "head_b"}
    assert [found.p50_us for found in table.networks("s@1", 12)] == [51.0]
    assert table.networks("other@1", 10) == ()


def test_newer_rows_replace_older_ones(folder) -> None:
    table = LatencyTable.load(folder).extended([row(p50=11.0), row(key="new")])
    assert len(table.rows) == len(ROWS) + 1
    assert table.blocks()["stem_a"].p50_us == 11.0


@pytest.mark.parametrize(
    ("version", "changes", "setting"),
    [
        ("1.31.1", {}, "ort1.31-cpu-fp32-t1"),
        ("1.31.1", {"threads": 2, "spinning": True}, "ort1.31-cpu-fp32-t2-spin"),
        ("1.9", {"optimisation_level": "basic", "runtime": "ort-web"}, "ort-web1.9-cpu-fp32-t1-basic"),
    ],
)
def test_setting_names_what_differs(version: str, changes: dict, setting: str) -> None:
    assert replace(IDENTITY, runtime_version=version, **changes).setting == setting


@pytest.mark.parametrize("text", ["nan", "inf", "-3.5", "0", "", "ten"])
def test_impossible_latencies_are_refused_with_line_and_column(folder, text: str) -> None:
    edit(folder, 3, "p50_us", text)
    with pytest.raises(TableError, match=r"table\.csv, line 3: p50_us"):
        LatencyTable.load(folder)


def test_counts_are_whole_numbers(folder) -> None:
    edit(folder, 2, "count", "2.5")
    with pytest.raises(TableError, match="line 2: count: expected a whole number"):
        LatencyTable.load(folder)


def test_a_file_cut_short_is_refused(folder) -> None:
    path = folder / "table.csv"
    path.write_text(path.read_text(encoding="utf-8")[:-30], encoding="utf-8")
    with pytest.raises(TableError, match=r"line 5: expected 13 values, got \d+; was the file cut short"):
        LatencyTable.load(folder)


def test_a_missing_column_is_named(folder) -> None:
    path = folder / "table.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("p95_us", "p95"), encoding="utf-8")
    with pytest.raises(TableError, match="line 1: missing columns p95_us"):
        LatencyTable.load(folder)


def test_a_row_may_stand_once(folder) -> None:
    path = folder / "table.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines, lines[1]]) + "\n", encoding="utf-8")
    with pytest.raises(TableError, match="line 6: stem_a is also in line 2"):
        LatencyTable.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda meta: meta | {"schema_version": 2}, "upgrade edgenas"),
        (lambda meta: {k: v for k, v in meta.items() if k != "schema_version"}, "schema_version"),
        (lambda meta: meta | {"identity": {"device": "pi"}}, "identity: expected"),
        (lambda meta: meta | {"identity": meta["identity"] | {"spinning": 1}}, r"identity\.spinning: expected bool"),
        (lambda meta: meta | {"identity": meta["identity"] | {"threads": True}}, r"identity\.threads: expected int"),
    ],
)
def test_a_wrong_meta_is_refused(folder, change, message: str) -> None:
    path = folder / "meta.json"
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")
    with pytest.raises(TableError, match=message):
        LatencyTable.load(folder)


def test_a_missing_table_is_reported(tmp_path) -> None:
    with pytest.raises(TableError, match="neither shipped nor a folder"):
        find_table("pi/nowhere")
    with pytest.raises(TableError, match=r"meta\.json does not exist"):
        LatencyTable.load(tmp_path)


@pytest.mark.parametrize("name", table_names())
def test_every_shipped_table_loads_from_the_folder_of_its_identity(name: str) -> None:
    table = find_table(name)
    assert name == f"{table.identity.device}/{table.identity.setting}"
