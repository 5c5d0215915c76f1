"""Weight bytes of int8 files: predicted from BlockSpecs, against the initialisers of files that are quantised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from spaces import EVERY_SPACE, SMALL, random_archs

from edgenas.budget import Budget, parse_budget
from edgenas.deploy.inspection.graph_cost import peak_activation_bytes, read_graph
from edgenas.deploy.int8.quantiser_recipe import QuantiserRecipe
from edgenas.deploy.int8.quantize import quantise_for_timing
from edgenas.deploy.onnx.exporter import export_for_timing
from edgenas.errors import ConfigError
from edgenas.latency.device import Device, DeviceRun
from edgenas.quantities import MACS, PEAK_ACTIVATION_BYTES, WEIGHT_BYTES
from edgenas.space.cost import cost, int8_weight_bytes
from edgenas.stages.budgets.computed_budgets import check_computed_budgets, used_precisions, weight_bytes_notes
from edgenas.stages.budgets.computed_costs import CostTable
from edgenas.stages.devices.int8_export import run_recipes

FP32 = Device(name="a", cpu="c", os="o")
INT8 = Device(name="b", cpu="c", os="o", run=DeviceRun(precision="int8"))


def stored_bytes(path: Path) -> int:
    """Bytes of all weights, biases, and their scales and zero points, counted by hand: all that has dimensions."""
    tensors = (onnx.numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer)
    return sum(tensor.nbytes for tensor in tensors if tensor.ndim and tensor.dtype != np.int64)


@pytest.mark.parametrize("seven", [False, True])
@pytest.mark.parametrize("preset", ["mobile-32", "ofa-mbv3-w1.0", "tensorflow", "mobilenet-v4", "choices"])
def test_int8_weight_bytes_are_those_of_the_quantised_file(preset: str, seven: bool, tmp_path: Path) -> None:
    """The second one's head has a feature layer, without biases."""
    space = EVERY_SPACE[preset]
    specs = space.with_classes(10).unroll(space.smallest)
    (path,) = export_for_timing({"n": specs}, tmp_path).values()
    quantise_for_timing(path, path, QuantiserRecipe("minmax", "ends", seven))
    graph, predicted = read_graph(path), int8_weight_bytes(specs)
    assert predicted == graph.weight_bytes == stored_bytes(path)
    assert predicted < 0.6 * cost(specs).weight_bytes
    # Which is why one count of activations, fp32's, is enough to be kept to.
    peak = peak_activation_bytes(graph)
    assert peak is not None
    assert peak <= cost(specs).peak_activation_bytes


def test_runs_quantise_in_the_form_that_is_counted() -> None:
    assert {recipe.float_layers for recipe in run_recipes([INT8])} == {"ends"}


def test_costs_by_genes_are_those_of_the_networks() -> None:
    archs = [SMALL.smallest, SMALL.largest, *random_archs(SMALL, 10, 0)]
    expected = [int8_weight_bytes(SMALL.with_classes(10).unroll(arch)) for arch in archs]
    table = CostTable(SMALL.with_classes(10), precisions=["int8"])
    np.testing.assert_array_equal(table(WEIGHT_BYTES, SMALL.encode(archs)), expected)
    for quantity in (MACS, PEAK_ACTIVATION_BYTES):
        np.testing.assert_array_equal(
            table(quantity, SMALL.encode(archs)), CostTable(SMALL.with_classes(10))(quantity, SMALL.encode(archs))
        )


def test_a_budget_is_of_the_file_that_devices_run() -> None:
    """Between the sizes of the smallest network's two files only int8 devices leave anything."""
    smallest = SMALL.with_classes(10).unroll(SMALL.smallest)
    limit = (int8_weight_bytes(smallest) + cost(smallest).weight_bytes) / 2
    budget = Budget(WEIGHT_BYTES, limit=limit)
    assert check_computed_budgets([budget], SMALL.with_classes(10), [INT8])
    for devices in ([], [FP32], [FP32, INT8]):
        with pytest.raises(ConfigError, match="weight_bytes"):
            check_computed_budgets([budget], SMALL.with_classes(10), devices)


def test_the_file_that_a_byte_budget_limits_is_named_where_devices_run_int8() -> None:
    budgets = [parse_budget(text) for text in ("weight_bytes=400kB", "macs=1G", "1ms")]
    table = Device(name="t", cpu="c", os="o", run=DeviceRun(transport="table", precision="int8"))
    assert used_precisions([table]) == ["fp32"]
    assert weight_bytes_notes(budgets, used_precisions([FP32])) == []
    (note,) = weight_bytes_notes(budgets, used_precisions([INT8]))
    assert note.startswith("budget weight_bytes=400000B limits int8 files")
    (note,) = weight_bytes_notes(budgets, used_precisions([INT8, FP32]))
    assert "limits fp32 and int8 files" in note
