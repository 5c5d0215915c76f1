"""Graphs that are filled with weights equal those that torch's exporter writes for the same weights."""

import dataclasses
import zlib

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from spaces import EVERY_SPACE, SPACES_OF_ALL_BLOCKS, random_archs

from edgenas.deploy.onnx import block_trace
from edgenas.deploy.onnx.block_graphs import Port, stitch
from edgenas.deploy.onnx.block_trace import block_graphs, folded_copy, random_block, sizeless, structure, trace_directly
from edgenas.deploy.onnx.exporter import export_for_timing, export_onnx
from edgenas.errors import EdgenasError
from edgenas.space.loading import load_space
from edgenas.supernet.subnet import Subnet


@pytest.fixture
def no_traces(monkeypatch):
    """As a fresh process begins."""
    monkeypatch.setattr(block_trace, "_TRACES", {})


@pytest.fixture(scope="module")
def digits_traces():
    """Traces of every block that the module's tests use, made once."""
    space = load_space("digits-24")
    specs = space.with_classes(10).unroll(space.largest)
    block_graphs([folded_copy(random_block(spec)) for spec in specs], specs)


def other_weights(spec):
    """A block, folded_copy, with weights that no trace was made with."""
    block = folded_copy(random_block(spec))
    # Other ones in each block: of equal tensors torch keeps one, under one block's name.
    generator = torch.Generator().manual_seed(zlib.crc32(spec.key.encode()) + 1)
    for tensor in block.state_dict().values():
        tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return block


def as_text(graph, prefix=""):
    """Every node in order: operator, attributes, and where each input comes from; weights by name and value."""
    places = {graph.source: "source"}
    lines = []
    for number, node in enumerate(graph.nodes):
        inputs = []
        for name in node.input:
            if name in places:
                inputs.append(places[name])
            elif name:
                value = onnx.numpy_helper.to_array(graph.constants[name])
                own = name.removeprefix(prefix) if value.dtype == np.float32 and value.ndim else "constant"
                inputs.append((own, value.shape, value.dtype.str, value.tobytes()))
            else:
                inputs.append("")
        places |= {output: ("output", number, place) for place, output in enumerate(node.output)}
        attributes = sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
        lines.append((node.domain, node.op_type, attributes, inputs))
    assert places[graph.target] == ("output", len(lines) - 1, 0)
    return lines


def run_block(graph, spec, pixels):
    ports = [Port(name, shape) for name, shape in (("input", pixels.shape), ("output", (1, spec.out_channels)))]
    if spec.kind != "head":
        ports[1] = Port("output", (1, spec.out_channels, spec.out_size, spec.out_size))
    model = stitch([("block", graph)], *ports)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": pixels})[0]


KERNELS = {"kernel", "start", "middle"}


def kinds_of_blocks():
    """One block of each structure at the ends of all spaces, at channels that no trace is made with.

    Of structures that differ in sizes of kernels, which are but attributes of their nodes, there is one.
    """
    found = {}
    for name, space in EVERY_SPACE.items():
        # Random networks of the small spaces alone: they have every operation of cells.
        drawn = random_archs(space, 2) if name in SPACES_OF_ALL_BLOCKS else []
        for arch in (space.smallest, space.largest, *drawn):
            for spec in space.with_classes(7).unroll(arch):
                # How strided convolutions are padded is filled in when graphs are stitched.
                plain = structure(spec)
                kernels = {name: min(getattr(plain, name), 3) for name in KERNELS & set(vars(plain))}
                alike = dataclasses.replace(plain, **kernels)
                found.setdefault(alike, dataclasses.replace(sizeless(spec), padding="symmetric"))
    return list(found.values())


def test_filled_graphs_are_node_by_node_those_of_a_direct_export():
    specs = kinds_of_blocks()
    assert len(specs) > 20
    blocks = [other_weights(spec) for spec in specs]
    filled, direct = block_graphs(blocks, specs), trace_directly(blocks, specs)
    for number, (spec, own, theirs) in enumerate(zip(specs, filled, direct, strict=True)):
        assert as_text(own) == as_text(theirs, f"blocks.{number}."), spec.key


@pytest.mark.usefixtures("digits_traces")
def test_filled_graphs_compute_what_the_module_computes_at_other_sizes():
    space = load_space("digits-24")
    for spec in dict.fromkeys(map(sizeless, space.with_classes(10).unroll(space.largest))):
        spec = dataclasses.replace(spec, in_size=5)
        block = other_weights(spec)
        pixels = torch.randn(1, spec.in_channels, 5, 5)
        expected = block(pixels).numpy()
        actual = run_block(block_graphs([block], [spec])[0], spec, pixels.numpy())
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.usefixtures("digits_traces")
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_weights_of_equal_values_change_no_graph(value):
    """torch leaves out biases of zeros and keeps one of several equal tensors: the graph timed would be another."""
    space = load_space("digits-24")
    specs = list(dict.fromkeys(map(sizeless, space.with_classes(10).unroll(space.largest))))
    for spec, usual in zip(specs, block_graphs([other_weights(spec) for spec in specs], specs), strict=True):
        block = other_weights(spec)
        for tensor in block.state_dict().values():
            tensor.fill_(value)
        graph = block_graphs([block], [spec])[0]
        assert [node.SerializeToString() for node in graph.nodes] == [n.SerializeToString() for n in usual.nodes]
        assert list(graph.constants) == list(usual.constants)
        pixels = torch.randn(1, spec.in_channels, 16, 16)
        np.testing.assert_allclose(run_block(graph, spec, pixels.numpy()), block(pixels).numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("digits_traces")
def test_a_structure_that_was_traced_needs_torchs_exporter_no_more(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("torch.onnx.export was called again")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    space = load_space("digits-24")
    arch = space.largest
    export_for_timing({arch.id: space.with_classes(10).unroll(arch)}, tmp_path)
    export_onnx(Subnet(space.with_classes(3).unroll(arch), arch), tmp_path / "other.onnx", for_timing=True)


@pytest.mark.usefixtures("no_traces")
def test_a_file_does_not_depend_on_what_was_traced_before(tmp_path):
    space = load_space("digits-24")
    smallest = {"same": space.with_classes(10).unroll(space.smallest)}
    first = export_for_timing(smallest, tmp_path / "first")["same"].read_bytes()
    block_trace._TRACES.clear()
    largest = {"other": space.with_classes(10).unroll(space.largest)}
    paths = export_for_timing(largest | smallest, tmp_path / "second")
    assert paths["same"].read_bytes() == first


@pytest.mark.usefixtures("no_traces")
@pytest.mark.parametrize("change", ["transposed", "missing", "merged"])
def test_a_torch_that_writes_weights_otherwise_is_refused(change, monkeypatch):
    def changed(blocks, specs):
        graph = trace_directly(blocks, specs)[0]
        constants = dict(graph.constants)
        name = "blocks.0.conv.conv.weight"
        values = onnx.numpy_helper.to_array(constants.pop(name))
        if change == "transposed":
            constants[name] = onnx.numpy_helper.from_array(values.swapaxes(0, 1), name)
        if change == "merged":
            constants["val_0"] = onnx.numpy_helper.from_array(values, "val_0")
        return [dataclasses.replace(graph, constants=constants)]

    monkeypatch.setattr(block_trace, "trace_directly", changed)
    spec = load_space("digits-24").with_classes(10).unroll(load_space("digits-24").smallest)[0]
    with pytest.raises(EdgenasError, match="another version of torch"):
        block_graphs([folded_copy(random_block(spec))], [spec])
    assert block_trace._TRACES == {}
