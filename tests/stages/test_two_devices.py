"""One run for two devices: each is measured, each has its budget, and the chosen network meets both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from forked import Forked
from killing import differences, kill_when, start
from small_run import SHORT, SMALL_CONFIG, SMALL_SPACE, edgenas

from edgenas.files import read_json


@pytest.mark.slow
def test_the_chosen_network_meets_the_budget_of_every_device(tmp_path: Path) -> None:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG)
    assert edgenas("devices", "probe", "two.yaml", "--threads", "2", cwd=tmp_path).returncode == 0
    arguments = [*SHORT, "--set", "devices=[here, two.yaml]", "--budget", "50ms@p95", "--budget", "two=60ms"]
    done = edgenas("run", "small.yaml", *arguments, "--budget", "macs=1.5M", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = read_json(tmp_path / "runs" / "small" / "summary.json")
    assert summary["budgets"] == ["here=50ms@p95", "two=60ms", "macs=1500000"]
    assert list(summary["predictors"]) == ["here", "two"]
    for entry in summary["front"]:
        assert list(entry["latency"]) == ["here", "two"]
        assert all(latency["verdict"] == "within" for latency in entry["latency"].values())
    manifest = read_json(tmp_path / "runs" / "small" / summary["chosen"]["bundle"] / "manifest.json")
    assert manifest["costs"]["macs"] <= 1_500_000
    assert set(manifest["latency"]) == {"here", "two"}


INT8 = "{device: here, precision: int8}"
LOOSE = ("--set", "export.max_drop=1.0", "--set", "export.calibration_images=64")
BOTH = ("run", "small.yaml", *SHORT, *LOOSE, "--set", f"devices=[here, {INT8}]", "--budget", "50ms", "--budget")


def small(folder: Path) -> Path:
    folder.mkdir()
    (folder / "tiny-16.yaml").write_text(SMALL_SPACE)
    (folder / "small.yaml").write_text(SMALL_CONFIG)
    return folder


@pytest.mark.slow
def test_a_run_for_int8_alone_hands_over_int8(tmp_path: Path) -> None:
    cwd = small(tmp_path / "int8")
    assert edgenas("devices", "probe", "mine.yaml", "--precision", "int8", cwd=cwd).returncode == 0
    # All graph variants are compared: the fp32 file in the bundle is the fastest one.
    command = (
        "run",
        "small.yaml",
        *SHORT,
        "--set",
        "export.graph_variant=auto",
        *LOOSE,
        "--set",
        "devices=[mine.yaml]",
    )
    planned = edgenas(*command, "--plan", "--json", cwd=cwd)
    assert "on 1 device(s), 1 in int8" in json.loads(planned.stdout)["stages"][0]["what"]
    done = edgenas(*command, cwd=cwd)
    assert done.returncode == 0, done.stderr
    run = cwd / "runs" / "small"
    summary, manifest = read_json(run / "summary.json"), read_json(run / "export" / "bundle" / "manifest.json")
    assert manifest["deployed"] == {"mine": "model_int8.onnx"}
    assert summary["chosen"]["onnx"] == "export/bundle/model_int8.onnx"
    assert summary["chosen"]["test_top1"] == summary["int8"]["test_top1"] == manifest["int8"]["accuracy"]["test_top1"]
    assert all(entry["deployed_top1"] == entry["val_top1_int8"] for entry in summary["front"])
    # The bundle holds the fp32 file too, in the fastest graph variant.
    assert read_json(run / "latency" / "graph_variant.json")["graph_variant"] == manifest["graph_variant"]
    assert read_json(run / "latency" / "mine" / "meta.json")["identity"]["precision"] == "int8"
    assert f"model    runs/small/{summary['chosen']['onnx']}" in done.stdout


@pytest.mark.slow
def test_killed_while_it_quantises_a_run_for_both_precisions_ends_as_undisturbed(tmp_path: Path) -> None:
    cwd = small(tmp_path / "undisturbed")
    done = edgenas(*BOTH, "here-int8=40ms", cwd=cwd)
    assert done.returncode == 0, done.stderr
    undisturbed, victim = cwd / "runs" / "small", small(tmp_path / "victim") / "runs" / "small"
    assert read_json(undisturbed / "summary.json")["budgets"][1] == "here-int8=40ms"
    rows, log = victim / "verify" / "int8.jsonl", tmp_path / "log"

    def resume() -> Forked:
        cwd = tmp_path / "victim"
        return start(*BOTH, "here-int8=40ms", cwd=cwd, pace=0.05, log=log)

    assert kill_when(resume(), lambda: rows.exists() and rows.read_bytes().count(b"\n") == 2)
    kept = rows.read_bytes()
    assert resume().wait(timeout=400) == 0, log.read_text()
    assert rows.read_bytes().startswith(kept)
    assert rows.read_bytes().count(b"\n") == (undisturbed / "verify" / "int8.jsonl").read_bytes().count(b"\n")
    # The two files were timed side by side again; all else is equal.
    assert set(differences(victim, undisturbed)) <= {"export"}
    files = [read_json(run / "export" / "bundle" / "manifest.json")["files"] for run in (undisturbed, victim)]
    for name in ("model.onnx", "model_int8.onnx"):
        assert files[0][name] == files[1][name]
