"""int8 compared with fp32 in the report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from finished_run import markdown_of, with_int8, write_run

from edgenas.errors import RunFolderError
from edgenas.report import int8_findings
from edgenas.report.load import load_run


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "run")
    with_int8(tmp_path / "run")
    return tmp_path / "run"


def change(folder: Path, **edit: Any) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    summary["int8"] |= edit
    (folder / "summary.json").write_text(json.dumps(summary))


def change_latency(folder: Path, **edit: Any) -> None:
    latency = json.loads((folder / "summary.json").read_text())["int8"]["latency"]["here"]
    change(folder, latency={"here": latency | edit})


def compared(folder: Path) -> str:
    int8 = load_run(folder).summary.int8
    assert int8 is not None
    return int8_findings.comparison(int8)


def section(folder: Path) -> str:
    text = markdown_of(folder)
    assert text.count("## int8 compared with fp32") == 1
    return text.partition("## int8 compared with fp32")[2].partition("\n## ")[0]


def test_without_int8_there_is_no_such_section(tmp_path: Path) -> None:
    write_run(tmp_path)
    assert "int8" not in markdown_of(tmp_path)


def test_every_figure_of_int8_stands_beside_that_of_fp32(run_folder: Path) -> None:
    chosen = json.loads((run_folder / "summary.json").read_text())["chosen"]
    text = section(run_folder)
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines() if line.startswith("| ")}
    val = f"{100 * chosen['val_top1']:.1f} %", f"{100 * (chosen['val_top1'] - 0.007):.1f} %"
    assert rows["validation top-1"] == f"| validation top-1 | {val[0]} | {val[1]} | -0.7 points |"
    assert rows["test top-1"] == "| test top-1 | 97.2 % | 95.6 % | -1.7 points |"
    times = "0.350 (0.347 to 0.352; 0.8 %) | 0.200 (0.198 to 0.203; 1.2 %) | 1.75 × as fast"
    assert rows["p50 on here (93 % interval; repeat noise), ms"].endswith(f"| {times} |")
    assert rows["file"] == "| file | 410 kB | 130 kB | 0.32 × |"
    assert f"| qdq-u8s8-pc-entropy-fp32ends-v1, chosen | {val[1]} |" in text
    assert "| qdq-u8s8-pc-minmax-fp32ends-v1 | 94.1 % |" in text
    assert "- int8 is worth it on here." in text


def test_the_int8_file_is_linked(run_folder: Path) -> None:
    model = run_folder / "export" / "bundle" / "model_int8.onnx"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"")
    found = re.search(r"int8 model: \[.+?\]\((.+?)\)", section(run_folder))
    assert found is not None
    assert (run_folder / "report" / found[1]).resolve() == model.resolve()


def test_it_is_judged_device_by_device(tmp_path: Path) -> None:
    write_run(tmp_path, devices=("here", "pi4"))
    with_int8(tmp_path, devices=("here", "pi4"))
    sentence = compared(tmp_path)
    assert sentence.startswith("int8 loses 0.7 points of validation top-1 and loses 1.7 points of test top-1, and is ")
    assert sentence.endswith("1.75 times as fast on here; it is not worth it on pi4")


def test_int8_that_is_no_faster_is_stated_not_to_be_worth_it(run_folder: Path) -> None:
    change_latency(run_folder, p50_us=352.0, speedup=350 / 352, worth_it=False)
    assert compared(run_folder).endswith("is not worth it: it is no faster on here")


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        ({"test_top1": 0.9722 - 4 / 360}, "Warning: the difference is 4 of 360 test images, which is not significant"),
        (
            {"recipes_tried": {"a": 0.970, "b": 0.973}},
            "Warning: the best two recipes differ in 1 of 288 validation images",
        ),
    ],
)
def test_differences_within_chance_are_flagged(run_folder: Path, edit: dict[str, Any], sentence: str) -> None:
    assert "Warning" not in section(run_folder)
    change(run_folder, **edit)
    assert sentence in section(run_folder)


def test_what_int8_gains_is_no_loss(run_folder: Path) -> None:
    change(run_folder, test_top1=0.9822)
    assert "loses 0.7 points of validation top-1 and gains 1.0 points of test top-1" in section(run_folder)


def test_equal_scores_are_no_warning(run_folder: Path) -> None:
    change(run_folder, test_top1=0.9722)
    assert "int8 is right on as many of 360 test images as fp32." in section(run_folder)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        ({"warnings": ["too noisy"]}, "here: the measurement has warnings: too noisy."),
        ({"repeat_noise": 0.08}, "here is noisy: repeated measurements of a file differ by 8.0 %"),
        ({"fp32_repeat_noise": 0.09}, "here is noisy: repeated measurements of a file differ by 9.0 %"),
    ],
)
def test_warnings_about_its_timing_are_stated(run_folder: Path, edit: dict[str, Any], sentence: str) -> None:
    change_latency(run_folder, **edit)
    assert f"Warning: {sentence}" in section(run_folder)


def test_a_broken_value_is_named_with_its_file(run_folder: Path) -> None:
    change_latency(run_folder, speedup="twice")
    with pytest.raises(RunFolderError, match=r"summary\.json: int8\.latency\.here\.speedup: .*'twice'"):
        load_run(run_folder)


def test_where_a_device_runs_int8_the_loss_is_against_fp32_and_not_against_itself(run_folder: Path) -> None:
    before = section(run_folder)
    summary = json.loads((run_folder / "summary.json").read_text())
    chosen, int8 = summary["chosen"], summary["int8"]
    int8 |= {"fp32_val_top1": chosen["val_top1"], "fp32_test_top1": chosen["test_top1"]}
    # What is deployed, and therefore the chosen network's, is int8's.
    chosen |= {"val_top1": int8["val_top1"], "test_top1": int8["test_top1"]}
    (run_folder / "summary.json").write_text(json.dumps(summary))
    assert section(run_folder) == before
