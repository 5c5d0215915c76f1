"""A space is profiled without images, and its table serves a search."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_run import SMALL_SPACE, edgenas

from edgenas.config.reading import build_config
from edgenas.errors import ConfigError
from edgenas.latency.table import LatencyTable

SHORT = ("--set", "profile.networks=10", "--set", "profile.rounds=8", "--set", "export.graph_variant=direct")


def test_a_space_and_a_number_of_classes_are_enough(tmp_path: Path) -> None:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    done = edgenas("profile", "tiny-16.yaml", "--classes", "7", *SHORT, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (reported,) = [line for line in done.stderr.splitlines() if line.startswith("here: ")]
    assert "10 networks, 8 repetitions of each, about" in reported
    assert "networks held out are predicted to" in done.stdout.splitlines()[-1]
    table = LatencyTable.load(tmp_path / "runs" / "tiny-16" / "latency" / "here")
    assert {row.num_classes for row in table.rows if row.kind == "network"} == {7}
    assert edgenas("tables", "show", "runs/tiny-16/latency/here", cwd=tmp_path).returncode == 0
    refused = edgenas("search", "runs/tiny-16", cwd=tmp_path)
    assert refused.returncode == 2
    assert "search needs more than num_classes: data and train, or accuracy" in refused.stderr


def test_too_few_blocks_are_refused_before_the_run_begins(tmp_path: Path) -> None:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    options = ("profile", "tiny-16.yaml", "--classes", "7", *SHORT)
    refused = edgenas(*options, "--set", "profile.blocks=2", cwd=tmp_path)
    assert refused.returncode == 2
    assert "profile.blocks: expected at least" in refused.stderr
    assert not list((tmp_path / "runs").rglob("config.yaml"))


def test_classes_and_images_contradict_each_other() -> None:
    value = {"name": "x", "space": "mobile-32", "num_classes": 7, "data": {"name": "digits"}, "train": {"epochs": 1}}
    with pytest.raises(ConfigError, match="num_classes is for runs that only profile"):
        build_config(value, "here")
    with pytest.raises(ConfigError, match="data"):
        build_config({"name": "x", "space": "mobile-32"}, "here")
