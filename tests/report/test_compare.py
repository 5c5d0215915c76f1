from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from finished_run import write_run
from typer.testing import CliRunner

from edgenas.cli.commands import app
from edgenas.errors import RunFolderError, UserError
from edgenas.report.compare import Fact, compare_runs


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    for place, name in enumerate(("one/run", "two/run")):
        write_run(tmp_path / name, devices=("here", "pi4")[: place + 1], seed=place)
    return [tmp_path / "one" / "run", tmp_path / "two" / "run"]


def test_runs_stand_side_by_side_with_their_numbers(runs: list[Path]) -> None:
    found = compare_runs(runs)
    assert found.names == ("one/run", "two/run")
    summaries = [json.loads((run / "summary.json").read_text()) for run in runs]
    tops = [fact.value for fact in found.facts["test top-1"]]
    assert tops == [summary["chosen"]["test_top1"] for summary in summaries]
    assert found.facts["pi4: p50 ms"][0] == Fact(None, "–")
    assert found.rows["pi4: p50 ms"][0] == "–"
    assert found.to_json()["runs"][1]["run"] == "two/run"


def test_what_may_not_be_compared_is_stated(runs: list[Path]) -> None:
    assert any("is less than two standard errors" in warning for warning in compare_runs(runs).warnings)
    path = runs[1] / "data.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": "letters"}))
    for run, threads in zip(runs, (1, 2), strict=True):
        path = run / "latency" / "here" / "meta.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"identity": {"device": "here", "threads": threads}}))
    warnings = " ".join(compare_runs(runs).warnings)
    assert "data sets or their splits differ" in warnings
    assert "here was measured with different threads" in warnings


def test_the_command_fits_80_columns_and_has_json(runs: list[Path], tmp_path: Path) -> None:
    third = shutil.copytree(runs[0], tmp_path / "three" / "a-run-with-a-longer-name")
    words = ["compare", *map(str, [*runs, third, third])]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.output.splitlines())) <= 80
    assert len(json.loads(CliRunner().invoke(app, [*words, "--json"]).output)["runs"]) == 4


def test_one_run_or_none_is_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least two"):
        compare_runs(runs[:1])
    with pytest.raises(RunFolderError, match="does not exist"):
        compare_runs([runs[0], tmp_path / "nowhere"])
