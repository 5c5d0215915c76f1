"""Cells: the same outputs, parameters and FLOPs as NAS-Bench-201's own modules; text, sharing, strategies."""

from __future__ import annotations

import dataclasses
import itertools
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from spaces import CELLS, random_archs
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgenas.errors import SpaceError
from edgenas.search import optimise
from edgenas.space.blocks import parse_block
from edgenas.space.blocks.cell import EDGES, NONE, OPERATIONS, SKIP, CellSpec
from edgenas.space.cost import cost
from edgenas.space.loading import load_space, parse_space
from edgenas.supernet.blocks import build_block
from edgenas.supernet.layers import num_parameters
from edgenas.supernet.supernet import SuperNet

BENCHMARK_NAMES = ("none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3")


def cell_spec(operations: dict[str, int], **changes: Any) -> CellSpec:
    sizes = {"in_channels": 16, "in_size": 8, "out_channels": 16, "cells": 1, "stride": 1, "activation": "relu"}
    return CellSpec(**{**sizes, **operations, **changes})


def random_operations(count: int) -> list[dict[str, int]]:
    rng = np.random.default_rng(0)
    return [dict(zip(EDGES, rng.integers(0, len(OPERATIONS), len(EDGES)).tolist(), strict=True)) for _ in range(count)]


def name_of(operations: dict[str, int]) -> str:
    return "".join(map(str, operations.values()))


def nodes_with_input(operations: dict[str, int]) -> set[int]:
    reached = {0}
    for edge, (source, target) in EDGES.items():
        if operations[edge] != NONE and source in reached:
            reached.add(target)
    return reached


def benchmark_cell(operations: dict[str, int]) -> nn.Module:
    cells = pytest.importorskip("xautodl.models.cell_infers.cells")
    searched = pytest.importorskip("xautodl.models.cell_searchs")
    nodes: list[list[tuple[str, int]]] = [[], [], []]
    for edge, (source, target) in EDGES.items():
        nodes[target - 1].append((BENCHMARK_NAMES[operations.get(edge, NONE)], source))
    genotype = searched.CellStructure([tuple(node) for node in nodes])
    module: nn.Module = cells.InferCell(genotype, 16, 16, 1)
    return module


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy convolutions and norms in the order of the modules; both of equal number and shapes."""
    layers = [[m for m in net.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)] for net in (source, target)]
    for one, other in zip(*layers, strict=True):
        other.load_state_dict(one.state_dict())


def uneven(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                assert tensor is not None
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module.double().eval()


def flops(module: nn.Module, x: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    return int(counter.get_total_flops())


@pytest.mark.parametrize("operations", random_operations(20), ids=name_of)
def test_a_cell_equals_the_benchmarks_own(operations: dict[str, int]) -> None:
    spec = cell_spec(operations)
    connecting = benchmark_cell(spec.operations)
    block, x = uneven(build_block(spec)), torch.randn(3, 16, 8, 8, dtype=torch.float64)
    copy_weights(block, connecting.double())
    connecting.eval()
    torch.testing.assert_close(block(x), connecting(x), rtol=1e-12, atol=1e-12)
    assert num_parameters(block) == num_parameters(connecting) == cost([spec]).params
    # Torch counts two operations for each multiply-accumulate, and three images are run.
    assert flops(block, x) == flops(connecting, x) == 6 * cost([spec]).macs


def adds_a_constant(operations: dict[str, int]) -> bool:
    """Whether the benchmark's network adds the shifts of norms, or is constant; see the docstring of the kind."""
    reached = nodes_with_input(operations)
    blind = [edge for edge, op in operations.items() if op > SKIP and EDGES[edge][0] not in reached]
    return 3 not in reached or bool(blind)


@pytest.mark.parametrize(
    "operations", [operations for operations in random_operations(20) if not adds_a_constant(operations)], ids=name_of
)
def test_edges_that_are_left_out_change_no_output(operations: dict[str, int]) -> None:
    used = cell_spec(operations).operations
    whole, used_only = uneven(benchmark_cell(operations)), benchmark_cell(used).double().eval()
    layers = dict(zip(EDGES, whole.layers, strict=True))  # type: ignore[call-overload]
    for edge, layer in zip(EDGES, used_only.layers, strict=True):  # type: ignore[call-overload]
        if edge in used:
            layer.load_state_dict(layers[edge].state_dict())
    x = torch.randn(3, 16, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(whole(x), used_only(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [8, 9])
def test_a_reduction_equals_the_benchmarks_own(size: int) -> None:
    operations = pytest.importorskip("xautodl.models.cell_operations")
    spec = cell_spec(dict.fromkeys(EDGES, SKIP) | dict.fromkeys(("edge01", "edge02"), NONE))
    spec = dataclasses.replace(spec, out_channels=32, stride=2, in_size=size)
    block, theirs = uneven(build_block(spec)), operations.ResNetBasicblock(16, 32, 2).double()
    assert spec.out_size == (size + 1) // 2
    if size % 2:
        # The benchmark halves even sizes only; here the last average is over the pixels that are left.
        assert block(torch.randn(1, 16, size, size, dtype=torch.float64)).shape == (1, 32, 5, 5)
        return
    copy_weights(block, theirs)
    x = torch.randn(2, 16, size, size, dtype=torch.float64)
    torch.testing.assert_close(block(x), theirs.eval()(x), rtol=1e-12, atol=1e-12)
    assert num_parameters(block) == num_parameters(theirs) == cost([spec]).params


def test_cells_that_connect_nothing_pass_their_input_on() -> None:
    cells = [cell_spec(dict(zip(EDGES, ops, strict=True))) for ops in itertools.product(OPERATIONS, repeat=6)]
    constant = [c for c in cells if 3 not in nodes_with_input({edge: getattr(c, edge) for edge in EDGES})]
    assert (len(cells), len(constant)) == (15625, 341)
    assert all(cell.operations == {"edge03": SKIP} for cell in constant)
    x = torch.randn(1, 16, 8, 8)
    assert torch.equal(build_block(constant[0])(x), x)


def test_text_and_key_are_the_documented_ones() -> None:
    space = load_space("cells-32")
    assert space.size == 15625**3
    arch = space.parse("r32_w16-n5a4b1c0d2e4f3_w32-n5a0b0c0d1e0f0_w64-n5a4b4c4d4e4f4")
    key = space.with_classes(10).unroll(arch)[2].key
    assert key == "cell_i16_r32_o32_n5_a0_b0_c0_d1_e0_f0_s2_relu"
    assert parse_block(key).key == key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edge13": [1, 5]}, "stages.0.edge13: .*0 .none.* 4 .convolution 3×3.*got .1, 5."),
        ({"edge13": []}, "stages.0.edge13"),
        ({"activation": "silu"}, "stages.0: .*kind cell have the activation relu or relu6, got"),
        ({"edge31": [1]}, "edge31"),
    ],
)
def test_bad_stages_are_refused(change: dict[str, Any], message: str) -> None:
    value = load_space("cells-32").model_dump()
    value["stages"] = [value["stages"][0] | change]
    with pytest.raises(SpaceError, match=message):
        parse_space(value, "here")


def test_each_cell_edge_and_operation_has_its_own_weights() -> None:
    net = SuperNet(load_space("cells-32").with_classes(4))
    names = {name.split(".conv.")[0] for name, _ in net.blocks["stage2_block0"].cells.named_parameters()}  # type: ignore[union-attr]
    names = {name for name in names if ".norm." not in name}
    assert names == {f"{cell}.layers.{edge}_conv{kernel}" for cell in range(5) for edge in EDGES for kernel in (1, 3)}


def test_fewer_cells_are_the_leading_ones() -> None:
    net = SuperNet(CELLS.with_classes(4))
    for arch in random_archs(CELLS, 5):
        fewer = dataclasses.replace(arch.stages[0].blocks[0], cells=1)
        stage = dataclasses.replace(arch.stages[0], blocks=(fewer,))
        less = net.cut(dataclasses.replace(arch, stages=(stage, *arch.stages[1:])))["stage0_block0"]
        more = net.cut(arch)["stage0_block0"]
        assert all(torch.equal(more[name], tensor) for name, tensor in less.items())


@pytest.mark.parametrize("strategy", ["gradient", "reinforce"])
def test_strategies_learn_which_operations_are_better(strategy: str) -> None:
    space = load_space("cells-32")

    def edges_without_a_3x3(genes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        texts = [arch.id for arch in space.decode(genes)]
        return np.array([[18 - len(re.findall("[a-f]4", text))] for text in texts], dtype=np.float64)

    found = optimise(space.n_choices, edges_without_a_3x3, strategy=strategy, evaluations=600, population=20, seed=0)
    first, last = found.objectives[:100].mean(), found.objectives[-100:].mean()
    assert last < first - 1
