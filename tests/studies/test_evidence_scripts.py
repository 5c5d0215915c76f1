"""The scripts that make the tables of evidence, on settings small enough for a test."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from killing import kill_when, python_path
from small_run import SMALL_CONFIG, SMALL_SPACE

from edgenas.files import read_jsonl

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TINY = ("--set", "data={name: digits, limit: 300}", "--set", "space=tiny-16.yaml", "--set", "train.epochs=1")
TINY += ("--set", "search.validation_images=100", "--set", "search.calibration_images=64", "--set", "finetune.epochs=1")


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG)
    return tmp_path


def command(script: str, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", str(BENCHMARKS / script), *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": python_path()}


def call(cwd: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(script, *arguments), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    return done


ABLATIONS = ("--config", "small.yaml", "--images", "300", "--minutes", "0.02", "--out", "rows.jsonl")
ABLATIONS += ("--recipes", "uniform", "sandwich-labels", "delayed-shrinking")


def test_ablations_append_a_row_for_each_recipe_and_resume_after_a_kill(cwd: Path) -> None:
    reported = call(cwd, "ablations.py", *ABLATIONS, "--estimate")
    assert reported.stderr.startswith("3 trainings left, about 0.00 hours")
    assert reported.stdout == ""
    process = subprocess.Popen(
        command("ablations.py", *ABLATIONS),
        cwd=cwd,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert kill_when(process, lambda: len(read_jsonl(cwd / "rows.jsonl")) >= 1)
    before = read_jsonl(cwd / "rows.jsonl")
    found = json.loads(call(cwd, "ablations.py", *ABLATIONS, "--figure", "ablations.png").stdout)
    assert found["jobs"] == 1
    assert (cwd / "ablations.png").read_bytes().startswith(b"\x89PNG")
    rows = read_jsonl(cwd / "rows.jsonl")
    assert rows[: len(before)] == before
    assert [row["recipe"] for row in rows] == ["uniform", "sandwich-labels", "delayed-shrinking"]
    for row in rows:
        assert set(row["top1"]) == set(row["top1_uncalibrated"]) == {"smallest", "middle", "largest"}
        assert len(row["top1_covering"]) == 12
        assert row["steps"] > 0
    means = [one["mean_covering_top1"] for one in found["recipes"]]
    assert means == sorted(means, reverse=True)
    assert not list((cwd / "rows").iterdir())


def test_the_trust_table_is_made_and_its_hours_are_reported_first(cwd: Path) -> None:
    script = (
        "trust.py",
        "--sets",
        "fashion-mnist",
        "--work",
        "work",
        "--out",
        "results/trust.json",
        "--subnets",
        "6",
        *TINY,
    )
    reported = call(cwd, *script, "--estimate")
    assert re.search(r"fashion-mnist: about 0\.0\d hours left\nin all about 0\.0\d hours", reported.stderr)
    assert not (cwd / "results").exists()
    call(cwd, *script)
    found = json.loads((cwd / "results/trust.json").read_text())["results"]["fashion-mnist"]
    assert found["all"]["subnets"] == 6
    assert set(found) >= {"command", "machine", "versions", "seed", "epochs"}
    assert (cwd / "results/trust_fashion-mnist.png").stat().st_size > 1000
    # Elsewhere, subnets that are trained from scratch already are not trained again.
    rows = read_jsonl(cwd / "results/trust_fashion-mnist.jsonl")
    elsewhere = [*script[:4], "elsewhere", *script[5:]]
    call(cwd, *elsewhere, "--set", "train.recipe=sandwich")
    assert read_jsonl(cwd / "results/trust_fashion-mnist.jsonl")[: len(rows)] == rows
    again = json.loads((cwd / "results/trust.json").read_text())["results"]["fashion-mnist"]
    assert (found["recipe"], again["recipe"]) == ("all-sizes", "sandwich")
    assert [one["standalone"] for one in again["subnets"]] == [one["standalone"] for one in found["subnets"]]


def test_the_worth_table_is_made_with_real_measurements(cwd: Path) -> None:
    small = ("--set", "profile.networks=12", "--set", "profile.rounds=8", "--set", "verify.rounds=8")
    small += ("--set", "search.evaluations=16", "--set", "search.population=8")
    # Half of the largest network's latency is near the smallest one's in so small a space: a machine that becomes
    # slower before the front is measured would have it searched again and again.
    small += ("--set", "budgets=[10ms]")
    script = (
        "worth.py",
        "--sets",
        "fashion-mnist",
        "--work",
        "work",
        "--out",
        "worth.json",
        "--seeds",
        "1",
        *TINY,
        *small,
    )
    assert "hours left" in call(cwd, *script, "--estimate").stderr
    done = subprocess.run(command(*script), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=900)
    # So short a training may choose the smallest network, without another one or a MobileNetV3-Small of its latency.
    if done.returncode:
        assert "there is nothing to compare it with" in done.stderr
        return
    found = json.loads((cwd / "worth.json").read_text())["results"]["fashion-mnist"]
    assert {*found["baselines"], *found["left_out"]} == {"mobilenet-v3-small", "random-search"}
    assert found["edgenas"]["p50_us"] > 0
    assert (cwd / "worth_fashion-mnist.png").stat().st_size > 1000
