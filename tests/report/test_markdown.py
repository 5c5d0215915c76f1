import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from finished_run import arch, markdown_of, write_run
from matplotlib import image

from edgenas.errors import RunFolderError
from edgenas.report import findings, predictor_findings
from edgenas.report.load import load_run
from edgenas.report.writing import write_report

IMAGES = {"front.png", "predictor.png", "accuracy.png", "training.png", "search.png"}


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "run")
    return tmp_path / "run"


def change(path: Path, edit: dict[str, Any]) -> None:
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | edit))


def test_pages_and_images_are_written_and_linked(run_folder: Path) -> None:
    page = write_report(run_folder)
    assert page == run_folder / "report" / "report.md"
    assert {path.name for path in page.parent.iterdir()} == {"report.md", "report.html", *IMAGES}
    linked = re.findall(r"!\[.+?\]\((.+?)\)", page.read_text())
    assert set(linked) == IMAGES
    for name in IMAGES:
        pixels = image.imread(page.parent / name)
        assert pixels.shape[0] > 300
        assert pixels.shape[1] > 800
        assert pixels[..., :3].std() > 0.05


def test_table_has_a_row_for_each_network_with_its_numbers(run_folder: Path) -> None:
    summary = json.loads((run_folder / "summary.json").read_text())
    text = markdown_of(run_folder)
    for network in summary["front"]:
        row = next(line for line in text.splitlines() if line.endswith(f"`{network['arch']}` |"))
        latency = network["latency"]["here"]
        assert f"{100 * network['val_top1']:.1f} %" in row
        assert f"{latency['predicted_us'] / 1e3:.3f} (" in row
        assert f"{latency['p50_us'] / 1e3:.3f} / {latency['p95_us'] / 1e3:.3f}" in row
        assert ("no, dropped" in row) == network["dropped"]
        assert ("chosen" in row) == (network["arch"] == summary["chosen"]["arch"])


def test_chosen_network_has_its_test_score_and_links_that_lead_to_it(run_folder: Path) -> None:
    model = run_folder / "export" / "bundle" / "model.onnx"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"")
    text = markdown_of(run_folder)
    assert "97.22% test top-1" in text
    link = re.search(r"^model: \[.+?\]\((.+?)\)", text, re.MULTILINE)
    assert link is not None
    assert (run_folder / "report" / link[1]).resolve() == model.resolve()


def test_test_score_of_no_other_network_is_shown(run_folder: Path) -> None:
    assert markdown_of(run_folder).count("test top-1") == 3


def test_every_device_has_a_panel_a_table_and_its_budget(tmp_path: Path) -> None:
    write_run(tmp_path / "one")
    write_run(tmp_path / "two", devices=("here", "pi4"))
    one, two = write_report(tmp_path / "one"), write_report(tmp_path / "two")
    text = two.read_text()
    assert "### pi4" in text.partition("## Latency predictor")[2]
    assert "p50 on pi4 ≤ 0.800 ms" in text
    assert "MACs ≤ 12.5 M" in text
    for name in ("front.png", "predictor.png"):
        heights = [image.imread(page.parent / name).shape[0] for page in (one, two)]
        assert heights[1] > 1.7 * heights[0]


def test_equal_files_give_an_equal_report(run_folder: Path) -> None:
    page = write_report(run_folder)
    before = {path.name: path.read_bytes() for path in page.parent.iterdir()}
    assert {path.name: path.read_bytes() for path in write_report(run_folder).parent.iterdir()} == before


def test_plotting_keeps_the_settings_of_matplotlib(run_folder: Path) -> None:
    before = dict(matplotlib.rcParams)
    write_report(run_folder)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("config.yaml", "train"),
        ("data.json", "train"),
        ("supernet/training.jsonl", "train"),
        ("latency/here/score.json", "profile"),
        ("search/evaluations.jsonl", "search"),
        ("search/result.json", "search"),
        ("summary.json", "export"),
    ],
)
def test_a_missing_file_names_its_stage_and_command(run_folder: Path, name: str, stage: str) -> None:
    (run_folder / name).unlink()
    with pytest.raises(RunFolderError, match=rf"{re.escape(name)}.*`edgenas {stage} "):
        write_report(run_folder)
    assert not (run_folder / "report").exists()


def test_a_missing_folder_is_stated(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="does not exist"):
        write_report(tmp_path / "nowhere")


def test_a_broken_value_is_named_with_its_file(run_folder: Path) -> None:
    change(run_folder / "search" / "result.json", {"seconds": "long"})
    with pytest.raises(RunFolderError, match=r"result\.json: seconds: .*'long'.*`edgenas search "):
        write_report(run_folder)


def test_without_circumstances_the_page_says_so(run_folder: Path) -> None:
    assert "4-core example" in markdown_of(run_folder)
    (run_folder / "latency" / "here" / "meta.json").unlink()
    assert "Not recorded." in markdown_of(run_folder)


def test_a_run_in_which_nothing_met_the_budget_still_reports(run_folder: Path) -> None:
    summary = json.loads((run_folder / "summary.json").read_text())
    for network in summary["front"]:
        network |= {"dropped": True, "dropped_because": "over budget: p50 on here"}
        network["latency"]["here"]["verdict"] = "over"
    change(run_folder / "summary.json", {"front": summary["front"]})
    text = markdown_of(run_folder)
    assert "0 of 7 networks were measured within every budget" in text


def test_coverage_is_counted_over_predictions_made_before_measuring(run_folder: Path) -> None:
    summary = json.loads((run_folder / "summary.json").read_text())
    prediction = {"predicted_us": 100.0, "interval_us": [90.0, 110.0], "coverage": 0.9}
    predictions = [
        {"arch": f"r{number}_w8-k3e1", "p50_us": p50_us, **prediction} for number, p50_us in enumerate((95, 111, 130))
    ]
    # What refitted predictors say of the front holds for all of it, and is not counted.
    change(run_folder / "summary.json", {"first_predictions": {"here": predictions}})
    held = findings.front_on(load_run(run_folder).summary, "here")
    assert held == "here: the 90 % interval held for 1 of 3 networks, each predicted before it was measured"
    assert f"{held}." in markdown_of(run_folder)
    change(run_folder / "summary.json", {"first_predictions": {"here": []}})
    held = findings.front_on(load_run(run_folder).summary, "here")
    assert held == "here: no network was predicted with an interval before it was measured"
    assert summary["first_predictions"].keys() == {"here"}


def test_a_front_that_was_not_measured_shows_gaps_not_numbers(run_folder: Path) -> None:
    summary = json.loads((run_folder / "summary.json").read_text())
    unknown = {"interval_us": None, "coverage": None, "p50_us": None, "p95_us": None, "verdict": None}
    for network in summary["front"]:
        network["latency"]["here"] |= unknown
        network["dropped"] = False
    change(run_folder / "summary.json", {"front": summary["front"], "budgets": []})
    text = markdown_of(run_folder)
    assert "– / –" in text
    assert "here: no network of the front was measured" in text


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        ({"repeat_noise": 0.08}, "Warning: the device is noisy"),
        ({"repeat_noise": None}, "repeat noise is unknown"),
        ({"mape_macs_linear": 0.02}, "a line through MACs is as accurate"),
        ({"kendall_tau": 0.6}, "often ranked wrongly"),
        ({"coverage_90": 0.5}, "they are too narrow"),
        ({"bias": -0.03}, "networks are predicted 3.0 % faster than measured"),
        ({"n_test": 8}, "8 unseen networks are few"),
    ],
)
def test_warnings_about_the_predictor_are_stated_only_where_they_apply(
    run_folder: Path, edit: dict[str, Any], sentence: str
) -> None:
    path = run_folder / "latency" / "here" / "score.json"
    change(path, {"n_test": 40})
    assert "Warning" not in " ".join(predictor_findings.reliability(load_run(run_folder).scores["here"]))
    change(path, edit)
    warnings = " ".join(predictor_findings.reliability(load_run(run_folder).scores["here"]))
    assert "Warning" in warnings
    assert sentence in warnings


@pytest.mark.parametrize(
    ("history", "verdict"),
    [([1.0, 2.0, 2.5, 3.0], "more would likely find better"), ([1.0, 2.0, 2.0, 2.01], "the search had converged")],
)
def test_search_is_judged_by_what_its_last_quarter_added(run_folder: Path, history: list[float], verdict: str) -> None:
    counts = [30, 60, 90, 120]
    edit = {"hypervolume_by_batch": history, "evaluations_by_batch": counts}
    change(run_folder / "search" / "result.json", edit)
    sentence = findings.search(load_run(run_folder).search)
    assert verdict in sentence
    assert "the last 30 added" in sentence


def test_front_order_is_fastest_first(run_folder: Path) -> None:
    times = [network.latency["here"].p50_us for network in findings.ordered_front(load_run(run_folder).summary)]
    assert times == sorted(times)
    assert load_run(run_folder).summary.chosen.arch.id == arch(5)


def test_a_report_needs_no_torch_and_no_pyplot(run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder, tmp_path / "copy")
    code = (
        "import sys; from pathlib import Path; from edgenas.report.writing import write_report; "
        "write_report(Path(sys.argv[1])); "
        "assert not {'torch', 'onnxruntime', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "copy")], check=True)


def test_warnings_about_the_fronts_measurements_are_stated(run_folder: Path) -> None:
    assert "have warnings" not in markdown_of(run_folder)
    summary = json.loads((run_folder / "summary.json").read_text())
    summary["front"][0]["latency"]["here"]["warnings"] = ["3 of 8 processes: too noisy"]
    (run_folder / "summary.json").write_text(json.dumps(summary))
    warning = f"here: 1 of {len(summary['front'])} measurements have warnings: 3 of 8 processes: too noisy"
    assert warning in markdown_of(run_folder)


def test_of_a_step_logged_twice_after_a_kill_the_last_row_counts(run_folder: Path) -> None:
    undisturbed = load_run(run_folder)
    path = run_folder / "supernet" / "training.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    first = [row | ({"loss": 99.0} if row["kind"] == "step" else {"top1": {"smallest": 0.0}}) for row in rows[200:250]]
    resumed = {"kind": "resume", "step": 380, "bit_identical": True}
    logged = [*rows[:200], *first, resumed, *rows[200:]]
    path.write_text("".join(json.dumps(row) + "\n" for row in logged))
    assert load_run(run_folder).steps == undisturbed.steps
    assert load_run(run_folder).validations == undisturbed.validations
