from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tables import CIRCUMSTANCES, IDENTITY, TABLES, row, table

from edgenas.errors import TableError
from edgenas.latency.table import LatencyTable
from edgenas.latency.table_merge import merge_tables, out_of_order, sessions
from edgenas.records.latency import UNKNOWN, Identity

OTHER = {"threads": 2, "spinning": True, "exporter_version": 2}


def merged(*tables: LatencyTable) -> LatencyTable:
    return merge_tables(tables, [f"table {number}" for number, _ in enumerate(tables)])


@given(TABLES, TABLES, TABLES)
def test_merging_is_associative(a: LatencyTable, b: LatencyTable, c: LatencyTable) -> None:
    at_once = merged(a, b, c)
    for stepwise in (merged(merged(a, b), c), merged(a, merged(b, c))):
        assert set(stepwise.rows) == set(at_once.rows)
        assert stepwise.circumstances == at_once.circumstances


@given(st.lists(st.floats(1, 100), min_size=2, max_size=9), st.data())
def test_of_disjoint_tables_every_row_is_kept_whatever_their_order(values: list[float], data: st.DataObject) -> None:
    rows = [row(f"ir_i8_r{n + 4}_o8_m8_k3_s1_se0_relu", value) for n, value in enumerate(values)]
    cut = data.draw(st.integers(1, len(rows) - 1))
    a, b = table(rows[:cut]), table(rows[cut:])
    assert set(merged(a, b).rows) == set(merged(b, a).rows) == set(rows)


@given(TABLES, TABLES)
def test_of_a_common_row_the_last_named_stands(a: LatencyTable, b: LatencyTable) -> None:
    found = {one.name: one for one in merged(a, b).rows}
    assert all(found[one.name] == one for one in b.rows)
    assert set(found) == {one.name for one in (*a.rows, *b.rows)}


@given(TABLES)
def test_a_table_merged_with_itself_gets_no_better(a: LatencyTable) -> None:
    assert merged(a, a).rows == a.rows


@pytest.mark.parametrize("field", [field.name for field in fields(Identity)])
@pytest.mark.parametrize("unknown", [False, True])
def test_identities_that_differ_in_any_field_are_refused(field: str, unknown: bool) -> None:
    a, other = table([row("a")]), UNKNOWN if unknown else OTHER.get(field, "another")
    b = replace(a, identity=replace(IDENTITY, **{field: other}))
    with pytest.raises(TableError) as refused:
        merged(a, b)
    assert f"{field} is {getattr(IDENTITY, field)} in the first and {other} in the other" in str(refused.value)


@pytest.mark.parametrize("field", [field.name for field in fields(Identity)])
def test_unknown_fields_are_never_equal(field: str) -> None:
    a = replace(table([row("a")]), identity=replace(IDENTITY, **{field: UNKNOWN}))
    with pytest.raises(
        TableError, match=f"{field} is unknown in the first and unknown in the other; unknown never equals"
    ):
        merged(a, a)


def test_one_table_is_nothing_to_merge() -> None:
    with pytest.raises(TableError, match="two or more tables to merge, got 1"):
        merged(table([row("a")]))


def test_circumstances_are_combined_and_kept() -> None:
    first = {"cpu": "x", "measured_at": "2026-02-01", "first_measured_at": "2026-01-01", "warnings": ["loud"]}
    second = {"cpu": "x", "measured_at": "2026-03-01", "first_measured_at": "2026-03-01", "warnings": ["hot", "loud"]}
    first |= {"sentinel_drift": 0.02, "call_overhead_us": 2.0, "foreign_load": None}
    second |= {"sentinel_drift": 0.01, "call_overhead_us": 3.0, "foreign_load": 0.3}
    found = dict(merged(table([row("a")], first), table([row("b")], second)).circumstances)
    assert found.pop("sessions") == [first, second]
    assert found == {
        "cpu": "x",
        "measured_at": "2026-03-01",
        "first_measured_at": "2026-01-01",
        "warnings": ["hot", "loud"],
        "sentinel_drift": 0.02,
        "foreign_load": 0.3,
    }


@given(CIRCUMSTANCES, CIRCUMSTANCES)
def test_a_merged_table_survives_its_files(tmp_path_factory: pytest.TempPathFactory, a: dict, b: dict) -> None:
    whole = merged(table([row("a")], a), table([row("b")], b))
    folder = tmp_path_factory.mktemp("merged") / "new"
    whole.create(folder)
    assert LatencyTable.load(folder) == whole
    assert sessions(LatencyTable.load(folder).circumstances) == [a, b]


def test_a_new_folder_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgenas.latency.table.write_json", full)
    with pytest.raises(OSError, match="No space left"):
        table([row("a")]).create(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="exists: choose another --out"):
        table([row("a")]).create(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_dates_tell_a_wrong_order() -> None:
    old, new = (table([row("a")], {"measured_at": day}) for day in ("2026-01-31", "2026-02-01"))
    assert not out_of_order([old, new, table([row("a")])])
    assert out_of_order([new, old])


def test_differences_name_both_values() -> None:
    other = replace(IDENTITY, threads=4, graph_variant=UNKNOWN)
    assert IDENTITY.differences(other) == {"threads": (1, 4), "graph_variant": ("direct", UNKNOWN)}
    assert IDENTITY.differences(Identity(**asdict(IDENTITY))) == {}
