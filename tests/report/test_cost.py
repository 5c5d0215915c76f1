"""What a report says that a run took, stage by stage."""

from __future__ import annotations

from pathlib import Path

import pytest
from finished_run import write_run

from edgenas.errors import RunFolderError
from edgenas.files import append_rows
from edgenas.report.cost_findings import rows as stage_rows
from edgenas.report.cost_findings import total
from edgenas.report.html import render_html
from edgenas.report.load import load_run
from edgenas.report.markdown import render_markdown
from edgenas.report.report_sections import report_of


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "run")
    return tmp_path / "run"


def spend(run_folder: Path, *rows: tuple[str, float, float | None]) -> None:
    keys = ("stage", "seconds", "energy_joules")
    costs = [{**dict(zip(keys, row, strict=True)), "finished": True} for row in rows]
    append_rows(run_folder / "costs.jsonl", costs)


def test_each_stage_has_its_time_and_energy_with_what_was_done_again(run_folder: Path) -> None:
    spend(run_folder, ("profile", 30.0, 600.0), ("train", 60.0, 3000.0), ("train", 30.0, 600.0))
    spend(run_folder, ("search", 48.0, 500.0), ("verify", 5.0, 100.0), ("export", 7.0, 200.0))
    run = load_run(run_folder)
    rows = {row[0]: row[1:] for row in stage_rows(run.summary, run.costs)}
    assert rows["measuring the devices"][:2] == ["30.0 s", "600 J"]
    assert rows["training the supernet"][:2] == ["1 min 30 s", "1 Wh"]
    sentence = total(run.summary, run.costs)
    assert "all stages together took 3 min 00 s" in sentence
    assert "The whole processor, other programs included, used 1.39 Wh" in sentence
    for page in (render_markdown(report_of(run)), render_html(report_of(run))):
        assert sentence in page
        assert "1 min 30 s" in page


@pytest.mark.parametrize(
    ("second", "sentence"),
    [(None, "Energy was not readable on this machine"), (5.0, "Energy was not readable throughout")],
)
def test_energy_that_is_not_readable_is_stated_to_be_so(run_folder: Path, second: float | None, sentence: str) -> None:
    spend(run_folder, ("profile", 30.0, None), ("train", 60.0, second))
    run = load_run(run_folder)
    assert total(run.summary, run.costs).endswith(sentence)
    assert {row[0]: row[2] for row in stage_rows(run.summary, run.costs)}["measuring the devices"] == "not readable"


def test_without_recorded_costs_two_stages_have_their_time(run_folder: Path) -> None:
    run = load_run(run_folder)
    assert total(run.summary, run.costs).endswith("Energy was not recorded")
    assert [row[1] for row in stage_rows(run.summary, run.costs)] == ["–", "1 min 15 s", "48.2 s", "–", "–"]


def test_a_broken_row_is_named(run_folder: Path) -> None:
    (run_folder / "costs.jsonl").write_text('{"stage": "train", "seconds": "long"}\n')
    with pytest.raises(RunFolderError, match=r"costs\.jsonl, row 1"):
        load_run(run_folder)
