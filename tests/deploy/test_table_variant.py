"""A file that is exported for a latency table is of the graph variant that was timed for it."""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path

import pytest
import torch

from edgenas.deploy.onnx.exporter import EXPORTER_VERSION, export_for_timing, export_onnx, model_metadata
from edgenas.errors import UserError
from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.table import LatencyTable
from edgenas.records.latency import NETWORK, Identity, LatencyRow
from edgenas.space.covering_samples import covering
from edgenas.space.graph_variant import GRAPH_VARIANTS, GraphVariant
from edgenas.space.loading import load_space
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.materialise import materialise

SPACE = load_space("digits-24")
IDENTITY = Identity("pi", "onnxruntime", "1.31.1", "cpu", "fp32", 1, "all", False, EXPORTER_VERSION)


@pytest.fixture(scope="module")
def subnet() -> Subnet:
    return materialise(
        SuperNet(SPACE.with_classes(10)), SPACE.smallest, torch.randint(0, 256, (16, 1, 8, 8), dtype=torch.uint8)
    )


def table(**identity: object) -> LatencyTable:
    """Networks alone, whose latency is the number of their blocks."""
    rows = [
        LatencyRow(
            NETWORK,
            SPACE.structure_id,
            10,
            arch.id,
            *6 * (float(len(SPACE.with_classes(10).unroll(arch))),),
            80,
            8,
            0.0,
        )
        for arch in covering(SPACE, 4, 0)
    ]
    return LatencyTable(dataclasses.replace(IDENTITY, **identity), {}, tuple(rows))


@pytest.mark.parametrize("variant", GRAPH_VARIANTS)
def test_a_file_like_a_table_is_what_was_timed_for_it(subnet: Subnet, tmp_path: Path, variant: GraphVariant) -> None:
    measured = table(graph_variant=variant)
    timed = export_for_timing({"network": subnet.specs}, tmp_path / "timed", variant=variant)["network"]
    for name, like in (("table", measured), ("predictor", LatencyPredictor(SPACE).fit(measured))):
        written = export_onnx(subnet, tmp_path / f"{name}.onnx", like=like)
        assert operators(written) == operators(timed)
        assert model_metadata(written)["graph_variant"] == variant


def operators(path: Path) -> list[str]:
    import onnx

    return [node.op_type for node in onnx.load(path).graph.node]


def test_the_variants_differ_in_their_operators(subnet: Subnet, tmp_path: Path) -> None:
    written = {
        variant: operators(export_onnx(subnet, tmp_path / f"{variant}.onnx", variant=variant))
        for variant in GRAPH_VARIANTS
    }
    assert len({tuple(names) for names in written.values()}) > 1


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        ({"precision": "int8"}, "for int8 files, and export_onnx writes fp32: use `edgenas export RUN`"),
        (
            {"graph_variant": "unknown", "precision": "unknown"},
            "does not state the graph variant of its files: choose one",
        ),
        ({"exporter_version": EXPORTER_VERSION + 1}, f"exporter version {EXPORTER_VERSION + 1}, this is"),
        ({"graph_variant": "blokced"}, "did you mean 'blocked'"),
    ],
)
def test_a_table_that_no_file_can_be_like_is_refused(subnet: Subnet, tmp_path: Path, identity, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        export_onnx(subnet, tmp_path / "model.onnx", like=table(**identity))
    assert not (tmp_path / "model.onnx").exists()


def test_two_answers_are_refused(subnet: Subnet, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave one out"):
        export_onnx(subnet, tmp_path / "model.onnx", variant="direct", like=table())


def test_without_an_answer_a_warning_says_which_variant_is_written(subnet: Subnet, tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        export_onnx(subnet, tmp_path / "model.onnx", variant="direct")
        assert caplog.messages == []
        export_onnx(subnet, tmp_path / "model.onnx")
    assert "graph variant 'direct'" in caplog.text
    assert "like=TABLE" in caplog.text
