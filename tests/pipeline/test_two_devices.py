"""One run for two devices: each is measured, each has its budget, and the chosen network meets both."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_run import SMALL_CONFIG, SMALL_SPACE, edgenas

from edgenas.files import read_json


@pytest.mark.slow
def test_the_chosen_network_meets_the_budget_of_every_device(tmp_path: Path) -> None:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG)
    assert edgenas("devices", "probe", "two.yaml", "--threads", "2", cwd=tmp_path).returncode == 0
    arguments = ["--set", "devices=[here, two.yaml]", "--budget", "50ms@p95", "--budget", "two=60ms"]
    done = edgenas("run", "small.yaml", *arguments, "--budget", "macs=1.5M", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = read_json(tmp_path / "runs" / "small" / "summary.json")
    assert [(b["quantity"], b["device"], b["limit"], b["unit"]) for b in summary["budgets"]] == [
        ("p95", "here", 50_000, "us"),
        ("p50", "two", 60_000, "us"),
        ("macs", None, 1_500_000, "macs"),
    ]
    assert list(summary["predictors"]) == ["here", "two"]
    for entry in summary["front"]:
        assert list(entry["latency"]) == ["here", "two"]
        assert all(latency["meets_budget"] for latency in entry["latency"].values())
    manifest = read_json(tmp_path / "runs" / "small" / summary["chosen"]["bundle"] / "manifest.json")
    assert manifest["costs"]["macs"] <= 1_500_000
    assert set(manifest["latency"]) == {"here", "two"}
