"""The graph variant in the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from finished_run import markdown_of, write_run

from edgenas.errors import RunFolderError


def text(folder: Path, variant: str, ratios: dict[str, list[float]]) -> str:
    write_run(folder)
    value = {"schema_version": 1, "graph_variant": variant, "latency_ratio": {"here": ratios}}
    (folder / "latency" / "graph_variant.json").write_text(json.dumps(value))
    return markdown_of(folder)


def test_the_gain_of_the_variant_is_stated_with_its_spread(tmp_path: Path) -> None:
    page = text(tmp_path, "blocked", {"direct": [1.0] * 3, "blocked": [0.93, 0.88, 0.91]})
    assert "The exported graph variant is `blocked`, which takes 0.91 of the plain variant's latency on here" in page
    assert "(median of 3 networks; 0.88 to 0.93)" in page


def test_without_a_gain_the_other_variants_are_stated(tmp_path: Path) -> None:
    page = text(tmp_path, "direct", {"direct": [1.0, 1.0], "pooled": [0.99, 1.01], "blocked": [1.2, 1.1]})
    others = "`pooled` 1.00, `blocked` 1.15 of the plain variant's latency on here"
    assert f"no other graph variant gained a percent ({others}" in page


def test_without_a_comparison_nothing_is_stated(tmp_path: Path) -> None:
    write_run(tmp_path)
    assert "plain variant" not in markdown_of(tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"graph_variant\.json: latency_ratio"):
        text(tmp_path, "blocked", {"blocked": ["fast"]})  # type: ignore[list-item]


def test_the_report_states_that_latencies_exclude_preprocessing(tmp_path: Path) -> None:
    write_run(tmp_path)
    assert "decoding, resizing and normalising images are not included" in markdown_of(tmp_path)
