"""The graph variant in the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from finished_run import write_run

from edgenas.errors import RunFolderError
from edgenas.report.markdown import write_report


def text(folder: Path, variant: str, ratios: dict[str, list[float]]) -> str:
    write_run(folder)
    value = {"schema_version": 1, "graph_variant": variant, "latency_ratio": {"here": ratios}}
    (folder / "latency" / "graph_variant.json").write_text(json.dumps(value))
    return write_report(folder).read_text()


def test_what_the_graph_variant_gained_is_stated_with_its_spread(tmp_path: Path) -> None:
    found = text(tmp_path, "blocked", {"direct": [1.0] * 3, "blocked": [0.93, 0.88, 0.91]})
    assert "The exported graph variant is `blocked`, which takes 0.91 of the plain variant's latency on here" in found
    assert "(median of 3 networks; 0.88 to 0.93)" in found


def test_where_no_variant_gained_the_others_are_listed(tmp_path: Path) -> None:
    found = text(tmp_path, "direct", {"direct": [1.0, 1.0], "pooled": [0.99, 1.01], "blocked": [1.2, 1.1]})
    assert (
        "no other graph variant gained a percent (`pooled` 1.00, `blocked` 1.15 of the plain variant's latency on here"
        in found
    )


def test_where_none_was_compared_nothing_is_told(tmp_path: Path) -> None:
    write_run(tmp_path)
    assert "plain variant" not in write_report(tmp_path).read_text()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"graph_variant\.json: latency_ratio"):
        text(tmp_path, "blocked", {"blocked": ["fast"]})  # type: ignore[list-item]


def test_it_is_told_whether_latencies_include_preprocessing(tmp_path: Path) -> None:
    write_run(tmp_path)
    assert "decoding, resizing and normalising images are not included" in write_report(tmp_path).read_text()
