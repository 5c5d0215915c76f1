"""What a report says of the search: budgets within reach, models, failures, what genes buy and cost."""

import json
from pathlib import Path
from typing import Any

import pytest
from finished_run import write_run

from edgenas.files import append_jsonl, write_json
from edgenas.report import judgement, searched
from edgenas.report.load import load_run
from edgenas.report.markdown import render, write_report


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", devices=("here", "pi4"))
    return tmp_path / "run"


def page_of(run_folder: Path) -> str:
    """The page without its plots, which take long to draw."""
    return render(load_run(run_folder), ())


def add(run_folder: Path, **values: Any) -> None:
    path = run_folder / "search" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_runs_of_earlier_versions_say_less(run_folder: Path) -> None:
    text = page_of(run_folder)
    assert "of the space" not in text
    assert "What genes buy" not in text
    assert "The model of" not in text


def test_each_budget_has_the_share_of_the_space_within_it(run_folder: Path) -> None:
    budgets = [
        {"smallest": 100.0, "median": 300.0, "largest": 900.0, "share": 0.25},
        {"smallest": 200.0, "median": 600.0, "largest": 1800.0, "share": 0.0},
        {"smallest": 1e6, "median": 5e6, "largest": 2e7, "share": 0.5},
    ]
    add(run_folder, feasibility={"share": 0.2, "budgets": budgets})
    lines = [line for line in page_of(run_folder).splitlines() if "of the space; it" in line]
    assert lines == [
        "- p50 on here: at most 0.400 ms (25.0 % of the space; it reaches from 0.100 ms to 0.900 ms, median 0.300 ms)",
        "- p50 on pi4: at most 0.800 ms (less than 0.1 % of the space; it reaches from 0.200 ms to 1.800 ms, "
        "median 0.600 ms)",
        "- MACs: at most 12.5 M (50.0 % of the space; it reaches from 1 M to 20 M, median 5 M)",
    ]


def test_an_exhausted_space_and_what_was_not_scored_are_told(run_folder: Path) -> None:
    add(run_folder, exhausted=True, failures=[{"arch": "r8_w8-k3e1", "cause": "RuntimeError: fell off"}])
    text = page_of(run_folder)
    assert "all there are within the budgets" in text
    assert "1 subnets could not be scored, the first `r8_w8-k3e1`: RuntimeError: fell off." in text


def fit(evaluations: int, left_out: float, batch: float | None) -> dict[str, Any]:
    def foreseen(rows: int, rmse: float) -> dict[str, Any]:
        return {"rows": rows, "rmse": rmse, "kendall_tau": 0.8, "coverage_90": 0.9}

    model = {"kind": "ordinal", "left_out": foreseen(evaluations, left_out)}
    model["next_batch"] = None if batch is None else foreseen(5, batch)
    return {"evaluations": evaluations, "hypervolume": 1.0, "models": {"error": model}}


def test_what_the_models_foresaw_is_told_over_all_batches(run_folder: Path) -> None:
    for row in (fit(10, 0.05, 0.03), fit(15, 0.04, 0.04), fit(20, 0.02, None)):
        append_jsonl(run_folder / "search" / "rounds.jsonl", row)
    (said,) = searched.models(load_run(run_folder))
    assert "fitted 3 times: leaving one of its last 20 subnets out it misses by 2.00 points" in said
    # The root of the mean of 0.03² and 0.04².
    assert "the 10 that it picked itself it missed by 3.54 points" in said
    assert said in page_of(run_folder)


def understanding(tau: float = 0.9) -> dict[str, Any]:
    def gene(name: str, points: float, here: float) -> dict[str, Any]:
        latency = {"here": {"change": here, "share": 0.5}, "pi4": {"change": 2 * here, "share": 0.5}}
        return {"name": name, "val_top1": {"change": points, "share": 0.4}, "latency_us": latency}

    def move(before: float, after: float, top1: float, deviation: float | None, *, within: bool) -> dict[str, Any]:
        told = {"val_top1": top1, "deviation": deviation, "source": "scored" if deviation is None else "model"}
        latency = {"here": 10.0 * (after - before), "pi4": 20.0 * (after - before)}
        own = {"gene": "stage1.block0.kernel", "before": before, "after": after, "arch": "r8_w8-k3e1"}
        return {**own, "latency_us": latency, "within_budgets": within, **told}

    return {
        "evaluations": 80,
        "model": {"kind": "ordinal", "rows": 80, "rmse": 0.01, "kendall_tau": tau, "coverage_90": 0.9},
        "genes": [gene("resolution", 0.02, 50.0), gene("stage1.expand", 0.01, 90.0), gene("stage1.kernel", 0.0, 5.0)],
        "moves": [
            move(3, 5, 0.004, 0.01, within=True),
            move(3, 1, -0.01, None, within=True),
            move(5, 7, 0.02, None, within=False),
        ],
    }


def test_which_genes_buy_and_cost_most_is_told_and_drawn(run_folder: Path) -> None:
    write_json(run_folder / "verify" / "understanding.json", understanding())
    page = write_report(run_folder)
    text = page.read_text()
    assert "The resolution buys most accuracy: +2.00 points" in text
    assert "The expand of stage 1 costs most time: +1.00 points" in text
    assert "for +0.090 ms on here" in text
    assert "Doubt: accuracies are of" not in text
    assert (page.parent / "genes.png").stat().st_size > 5000
    # The best step is over a budget; the best within was not scored.
    assert "3 networks are one step of one gene away from the chosen one, 2 of them were scored" in text
    assert (
        "1 within the budgets may be more accurate, most of all stage1.block0.kernel 3 → 5: +0.40 points ± 1.00, model"
        in text
    )
    assert "| stage1.block0.kernel 3 → 1 | -1.00 points, scored | -0.020 | -0.040 | yes |" in text


def test_a_model_that_ranks_badly_is_doubted(run_folder: Path) -> None:
    write_json(run_folder / "verify" / "understanding.json", understanding(tau=0.3))
    assert "Doubt: accuracies are of a model" in " ".join(searched.genes(load_run(run_folder)))


def test_how_the_network_was_chosen_is_told(run_folder: Path) -> None:
    path = run_folder / "summary.json"
    choice = {"by": "knee", "words": "the knee of the front in error, latency@here"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"choice": choice}))
    assert "- chosen as the knee of the front in error, latency@here, as measured" in page_of(run_folder)
    assert judgement.front(load_run(run_folder))
