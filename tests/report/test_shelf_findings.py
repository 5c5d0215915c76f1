"""The shelf in the report: tuned networks in the figure of the front, and a table of all of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from finished_run import arch, write_run

from edgenas.files import write_json
from edgenas.records.shelf import ShelfRecord
from edgenas.report.latency_charts import front
from edgenas.report.load import load_run
from edgenas.report.markdown import render_markdown
from edgenas.report.report_sections import report_of
from edgenas.report.shelf_findings import ShelfFacts
from edgenas.report.values import FinishedRun
from edgenas.space.arch import parse_arch

LITE0 = "efficientnet-lite0"


@pytest.fixture
def run(tmp_path: Path) -> FinishedRun:
    """A run with a network on its shelf at two resolutions, the larger one over the budget."""
    shipped = write_run(tmp_path)["chosen"]["latency"]["here"]
    networks: list[dict[str, Any]] = [
        {
            "arch": f"{LITE0}:{arch(number)}",
            "latency": {"here": shipped | {"p50_us": p50_us, "ci_low_us": 0.99 * p50_us, "verdict": verdict}},
            "verdict": verdict,
            "over": [],
        }
        for number, (p50_us, verdict) in enumerate([(390.0, "within"), (800.0, "over")])
    ]
    write_json(tmp_path / "verify" / "shelf.json", {"budgets": ["here=400us"], "networks": networks, "notes": []})
    return load_run(tmp_path)


def test_tuned_networks_of_the_shelf_are_drawn_at_what_was_measured(run: FinishedRun) -> None:
    assert run.shelf is not None
    tuned = parse_arch(f"{LITE0}:{arch(0)}")
    figure = front(run.summary, run.evaluations, "here", ShelfFacts(run.shelf.record, {tuned: 0.991}))
    (drawn,) = [series for series in figure.series if "shelf" in series.name]
    assert (drawn.x, drawn.y, drawn.x_interval[0][0]) == ([0.39], [99.1], pytest.approx(0.3861))
    assert drawn.notes[0][2] == LITE0
    assert figure.x.ends is not None
    assert figure.y.ends is not None
    assert figure.x.ends[0] < 0.39 < figure.x.ends[1]
    assert figure.y.ends[1] > 99.1
    assert not any("shelf" in series.name for series in front(run.summary, run.evaluations, "here", run.shelf).series)


def test_the_report_lists_the_shelf_and_says_how_much_of_it_fits(run: FinishedRun) -> None:
    assert run.shelf is not None
    facts = ShelfFacts(run.shelf.record, {parse_arch(f"{LITE0}:{arch(0)}"): 0.991})
    text = render_markdown(report_of(dataclasses.replace(run, shelf=facts)))
    assert f"The shelf holds {LITE0}. A row is a network at one resolution. 1 of 2 rows are within every" in text
    assert "1 were fine-tuned" in text
    assert "| 99.1 % | 0.390 / " in text
    assert "| – | 0.800 / " in text


def test_the_note_on_an_empty_shelf_is_shown_instead(run: FinishedRun) -> None:
    assert run.shelf is not None
    empty = ShelfRecord(budgets=run.shelf.record.budgets, networks=(), notes=("the shelf is empty: too slow",))
    text = render_markdown(report_of(dataclasses.replace(run, shelf=ShelfFacts(empty, {}))))
    assert "shelf is empty: too slow" in text
    assert "The shelf holds" not in text


def test_runs_without_a_shelf_show_none(tmp_path: Path) -> None:
    write_run(tmp_path)
    run = load_run(tmp_path)
    assert run.shelf is None
    assert "the shelf" not in render_markdown(report_of(run)).lower()
    assert "shelf" not in json.dumps([series.name for series in front(run.summary, run.evaluations, "here").series])
