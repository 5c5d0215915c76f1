"""What a report says of the search: budgets within reach, models, failures, what genes buy and cost."""

import json
from pathlib import Path
from typing import Any

import pytest
from finished_run import markdown_of, understanding, write_run

from edgenas.files import append_jsonl, write_json
from edgenas.report import findings, search_findings
from edgenas.report.load import load_run
from edgenas.report.writing import write_report


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", devices=("here", "pi4"))
    return tmp_path / "run"


def add(run_folder: Path, **values: Any) -> None:
    path = run_folder / "search" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_without_surrogates_and_effects_of_genes_there_are_no_such_parts(run_folder: Path) -> None:
    text = markdown_of(run_folder)
    assert "Effect of genes" not in text
    assert "The model of" not in text


def test_each_budget_has_the_share_of_the_space_within_it(run_folder: Path) -> None:
    budgets = [
        {"smallest": 100.0, "median": 300.0, "largest": 900.0, "share": 0.25},
        {"smallest": 200.0, "median": 600.0, "largest": 1800.0, "share": 0.0},
        {"smallest": 1e6, "median": 5e6, "largest": 2e7, "share": 0.5},
    ]
    add(run_folder, feasibility={"share": 0.2, "budgets": budgets})
    lines = [line for line in markdown_of(run_folder).splitlines() if "of the space; its networks" in line]
    assert lines == [
        "- Budget: p50 on here ≤ 0.400 ms (25.0 % of the space; its networks range from 0.100 ms to 0.900 ms, "
        "median 0.300 ms).",
        "- Budget: p50 on pi4 ≤ 0.800 ms (less than 0.1 % of the space; its networks range from 0.200 ms to "
        "1.800 ms, median 0.600 ms).",
        "- Budget: MACs ≤ 12.5 M (50.0 % of the space; its networks range from 1 M to 20 M, median 5 M).",
    ]


def test_an_exhausted_space_and_what_was_not_scored_are_stated(run_folder: Path) -> None:
    add(run_folder, exhausted=True, failures=[{"arch": "r8_w8-k3e1", "cause": "RuntimeError: fell off"}])
    text = markdown_of(run_folder)
    assert "every network within the budgets was evaluated" in text
    assert "1 subnets could not be scored, the first `r8_w8-k3e1`: RuntimeError: fell off." in text


def fit(evaluations: int, left_out: float, batch: float | None) -> dict[str, Any]:
    def foreseen(rows: int, rmse: float) -> dict[str, Any]:
        return {"rows": rows, "rmse": rmse, "kendall_tau": 0.8, "coverage_90": 0.9}

    model = {"kind": "ordinal", "left_out": foreseen(evaluations, left_out)}
    model["next_batch"] = None if batch is None else foreseen(5, batch)
    return {"evaluations": evaluations, "hypervolume": 1.0, "models": {"error": model}}


def test_what_the_models_foresaw_is_stated_over_all_batches(run_folder: Path) -> None:
    for row in (fit(10, 0.05, 0.03), fit(15, 0.04, 0.04), fit(20, 0.02, None)):
        append_jsonl(run_folder / "search" / "rounds.jsonl", row)
    (sentence,) = search_findings.models(load_run(run_folder).fits)
    assert "was fitted 3 times: leaving out one of its last 20 subnets, it is off by 2.00 points" in sentence
    # The root of the mean of 0.03² and 0.04².
    assert "on the 10 subnets that it selected it was off by 3.54 points" in sentence
    assert sentence in markdown_of(run_folder)


def test_which_genes_buy_and_cost_most_is_stated_and_drawn(run_folder: Path) -> None:
    write_json(run_folder / "verify" / "understanding.json", understanding())
    page = write_report(run_folder)
    text = page.read_text()
    assert "The resolution adds most accuracy: +2.00 points" in text
    assert "The expand of stage 1 adds most latency: +1.00 points" in text
    assert "for +0.090 ms on here" in text
    assert "Warning: accuracies are from" not in text
    assert (page.parent / "genes.png").stat().st_size > 5000
    # The best step is over a budget; the best within was not scored.
    assert "3 networks differ from the chosen one in one step of one gene, and 2 of them were scored" in text
    assert (
        "1 within the budgets may be more accurate, most of all stage1.block0.kernel 3 → 5: "
        "+0.40 points ± 1.00, predicted" in text
    )
    assert "| stage1.block0.kernel 3 → 1 | -1.00 points, scored | -0.020 | -0.040 | -200 k | yes |" in text
    assert "| gene of the chosen network | validation top-1 | ms on here | ms on pi4 | MACs | within budgets |" in text


def test_a_move_states_the_costs_that_the_run_trades_or_has_a_budget_of(run_folder: Path) -> None:
    write_json(run_folder / "verify" / "understanding.json", understanding())
    objectives = [{"name": name, "unit": "bytes"} for name in ("error", "weight_bytes")]
    add(run_folder, objectives=objectives)
    run = load_run(run_folder)
    assert run.understanding is not None
    moves = run.understanding.moves
    traded = search_findings.traded_quantities(moves, run.search.objectives, run.summary.budgets)
    header, *rows = search_findings.move_rows(moves, run.devices, traded)
    assert header[4:] == ["MACs", "weights", "within budgets"]
    assert [row[4:6] for row in rows] == [
        ["+200 k", "+8 kB"],
        ["-200 k", "-8 kB"],
        ["+200 k", "+8 kB"],
    ]


def test_a_model_that_ranks_badly_is_flagged(run_folder: Path) -> None:
    write_json(run_folder / "verify" / "understanding.json", understanding(tau=0.3))
    assert "Warning: accuracies are from a model" in markdown_of(run_folder)


def test_how_the_network_was_chosen_is_stated(run_folder: Path) -> None:
    path = run_folder / "summary.json"
    choice = {"by": "knee", "words": "the knee of the front in error, latency@here"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"choice": choice}))
    assert "- Chosen as the knee of the front in error, latency@here, as measured." in markdown_of(run_folder)
    assert findings.front(load_run(run_folder).summary)


def test_the_share_of_offspring_that_the_archive_made_is_stated(run_folder: Path) -> None:
    assert "offspring" not in markdown_of(run_folder)
    add(run_folder, origins={"archive": 81, "population": 9, "first": 30})
    text = markdown_of(run_folder)
    assert "Strategy nsga2 (NSGA-II with an archive);" in text
    assert "90 % of 90 evaluated offspring came from the archive" in text
