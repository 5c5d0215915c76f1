"""`edgenas tables check | diff | merge | import`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_run import SMALL_SPACE
from typer.testing import CliRunner

from edgenas.cli.commands import app
from edgenas.latency.table import LatencyTable, find_table, table_names
from edgenas.latency.table_merge import sessions

XEON = "xeon-2c-amx/ort1.31-cpu-fp32-t1-blocked"
KNOWN = {
    "xeon-2c-amx/ort1.31-cpu-int8-t2": {"sentinel_drift"},
    "xeon-2c-amx-web/ort-web1.30-wasm-fp32-t1-blocked": {"count"},
}
"""Further warnings about shipped tables, as their README states."""
ARCHS = ("r12_w8-k3e1_w16-k3e2", "r16_w8-k3e1_w24-k5e4-k3e2")


def output(*arguments: object) -> str:
    shown = CliRunner().invoke(app, ["tables", *map(str, arguments)], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    return shown.output


def result(*arguments: object) -> dict[str, Any]:
    value = json.loads(output(*arguments, "--json"))
    assert isinstance(value, dict)
    return value


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Return a folder with a space, networks of it in a CSV, and a table of the timer."""
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "networks.csv").write_text("arch,latency_ms\n" + "".join(f"{arch},1.5\n" for arch in ARCHS))
    find_table(XEON).save(tmp_path / "table")
    return tmp_path


def imported(folder: Path, *more: str) -> dict[str, Any]:
    space = ("--space", folder / "tiny-16.yaml", "--classes", 10, "--device", "phone")
    return result("import", folder / "networks.csv", "--out", folder / "new", *space, *more)


@pytest.mark.parametrize("name", table_names())
def test_every_shipped_table_is_checked_and_has_no_serious_warning_about_its_rows(name: str) -> None:
    found = result("check", name)
    assert found["rows"] == len(find_table(name).rows)
    serious = {warning["about"] for warning in found["warnings"] if warning["serious"]}
    assert serious <= {"interval", "repeat_noise"} | KNOWN.get(name, set())
    assert f"{len(found['warnings'])} warnings" in output("check", name)


def test_check_names_the_blocks_of_a_space_that_are_missing(elsewhere: Path) -> None:
    given = ("check", XEON, "--space", elsewhere / "tiny-16.yaml", "--classes", 10)
    warnings = {warning["about"]: warning for warning in result(*given)["warnings"]}
    assert "stem_i3_r12_o8_k3_s1_hardswish" in warnings["outside"]["rows"]
    assert "head_i16_r6_o12_w64_f0_hardswish" in str(result(*given[:-1], 12)["warnings"])


def test_check_takes_the_classes_of_a_space_from_its_networks_if_heads_differ(elsewhere: Path) -> None:
    assert result("check", XEON, "--space", "mobile-32") == result(
        "check", XEON, "--space", "mobile-32", "--classes", 10
    )
    shown = CliRunner().invoke(app, ["tables", "check", XEON, "--space", str(elsewhere / "tiny-16.yaml")])
    assert "heads of 10, 1000 classes" in str(shown.exception)


def test_diff_of_a_table_with_itself_is_all_ones() -> None:
    found = result("diff", XEON, XEON)
    assert found["identity"] == {}
    assert found["only_first"] == found["only_second"] == []
    for rows in found["common"].values():
        assert (rows["median"], rows["low"], rows["high"], rows["kendall_tau"]) == (1, 1, 1, pytest.approx(1))
    assert "same identity" in output("diff", XEON, XEON)


def test_diff_shows_identity_fields_that_differ() -> None:
    found = result("diff", "i7-8700k/unknown", "samsung-note10/unknown")
    assert found["identity"]["device"] == ["i7-8700k", "samsung-note10"]
    shown = output("diff", "i7-8700k/unknown", "samsung-note10/unknown")
    assert "device: i7-8700k in A, samsung-note10 in B" in shown
    assert "unknown in both: runtime, " in shown


def test_merged_tables_are_written_and_replaced_rows_counted(elsewhere: Path) -> None:
    table = LatencyTable.load(elsewhere / "table")
    found = result("merge", XEON, elsewhere / "table", "--out", elsewhere / "both")
    assert found == {"table": str(elsewhere / "both"), "rows": len(table.rows), "replaced": len(table.rows)}
    assert LatencyTable.load(elsewhere / "both").rows == table.rows
    again = output("merge", XEON, elsewhere / "both", "--out", elsewhere / "more")
    assert f"{len(table.rows)} rows are in several tables" in again
    assert len(LatencyTable.load(elsewhere / "more").circumstances["sessions"]) == 3 * len(
        sessions(table.circumstances)
    )


def test_what_is_not_stated_is_imported_as_unknown(elsewhere: Path) -> None:
    assert imported(elsewhere)["rows"] == 2
    identity = vars(LatencyTable.load(elsewhere / "new").identity)
    assert {name: value for name, value in identity.items() if value != "unknown"} == {"device": "phone"}


def test_what_is_stated_is_imported(elsewhere: Path) -> None:
    runtime = ("--runtime", "tflite", "--runtime-version", "2.16", "--provider", "cpu", "--precision", "int8")
    more = ("--threads", "4", "--no-spinning", "--exporter-version", "7", "--quantiser-recipe", "theirs")
    imported(
        elsewhere, *runtime, *more, "--optimisation-level", "all", "--graph-variant", "direct", "--statistic", "mean"
    )
    table = LatencyTable.load(elsewhere / "new")
    assert list(vars(table.identity).values()) == [
        *("phone", "tflite", "2.16", "cpu", "int8", 4, "all", False, 7, "theirs", "direct")
    ]
    assert table.identity.setting == "tflite2.16-cpu-int8-t4"
    assert [row.mean_us for row in table.rows] == [1500.0, 1500.0]


def test_an_imported_table_is_listed_shown_and_checked(elsewhere: Path) -> None:
    imported(elsewhere)
    shown = result("show", elsewhere / "new")
    assert [row["key"] for row in shown["rows"]] == list(ARCHS)
    assert {row["p95_us"] for row in shown["rows"]} == {None}
    assert "1.500       -" in output("show", elsewhere / "new")
    warnings = {warning["about"] for warning in result("check", elsewhere / "new")["warnings"]}
    assert warnings == {"identity", "unstated"}


@pytest.mark.parametrize("command", ["check", "diff", "merge", "import"])
def test_lines_fit_80_columns(command: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(elsewhere)
    shutil.copytree("table", "other")
    arguments = {
        "check": ("table", "--space", "ofa-mbv3-w1.0", "--classes", "1000"),
        "diff": ("table", "samsung-note10/unknown"),
        "merge": ("table", "other", "--out", "both"),
        "import": ("networks.csv", "--out", "new", "--space", "tiny-16.yaml", "--classes", "10", "--device", "phone"),
    }
    lines = output(command, *arguments[command]).splitlines()
    assert lines
    assert max(map(len, lines)) <= 80
