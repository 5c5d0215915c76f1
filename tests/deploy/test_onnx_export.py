import copy
import dataclasses
import hashlib
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from spaces import EVERY_SPACE, SPACES_OF_ALL_BLOCKS

from edgenas.deploy.onnx.block_trace import folded_copy, random_block
from edgenas.deploy.onnx.exporter import EXPORTER_VERSION, export_for_timing, export_onnx, model_metadata
from edgenas.errors import UncalibratedError, UserError
from edgenas.space.loading import load_space
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.materialise import materialise


def random_subnet(specs, arch=None):
    """A subnet with the weights that export_for_timing gives it."""
    subnet = Subnet(specs, arch).eval()
    for name, spec in zip(subnet.blocks, specs, strict=True):
        subnet.blocks[name] = random_block(spec).eval()
    return subnet


def direct_export(subnet):
    """Reference: torch.onnx.export of the whole network in one piece."""
    network = copy.deepcopy(subnet)
    for name, block in network.blocks.items():
        network.blocks[name] = folded_copy(block)
    first = subnet.specs[0]
    pixels = torch.zeros(1, first.in_channels, first.in_size, first.in_size)
    program = torch.onnx.export(network, (pixels,), dynamo=True, opset_version=18, verbose=False)
    return program.model_proto.SerializeToString()


def optimised(model, path):
    """Every node of the graph that ONNX Runtime executes: operator, attributes, weights.

    They are sorted by all that they are computed from, since branches of a graph have no order.
    """
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    # It warns that such a file fits this machine alone.
    options.log_severity_level = 3
    model = model if isinstance(model, bytes) else str(model)
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(path).graph
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = [_node(node, weights) for node in graph.node]
    shapes, contents = (_digests(graph, [node[:parts] for node in nodes]) for parts in (3, 4))
    return [node for *_, node in sorted(zip(shapes, contents, nodes, strict=True), key=lambda entry: entry[:2])]


def _digests(graph, nodes):
    """A digest of each node and of the nodes before it; graphs state a node after those that it reads."""
    by_tensor, digests = {}, []
    for node, content in zip(graph.node, nodes, strict=True):
        before = [by_tensor.get(name, "") for name in node.input]
        digests.append(hashlib.sha256(repr((content, before)).encode()).hexdigest())
        by_tensor |= {name: f"{digests[-1]}.{port}" for port, name in enumerate(node.output)}
    return digests


def _node(node, weights):
    attributes = sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
    constants = [weights[name].tobytes() if name in weights else None for name in node.input]
    return node.domain, node.op_type, attributes, constants


def run(path, pixels):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: pixels})[0]


def assert_stitched_equals_direct(networks, folder):
    paths = export_for_timing(networks, folder)
    for name, specs in networks.items():
        direct = optimised(direct_export(random_subnet(specs)), folder / "direct.onnx")
        stitched = optimised(paths[name], folder / "stitched.onnx")
        assert len(direct) > len(specs)
        if not any(spec.kind == "cell" for spec in specs):
            assert stitched == direct, name
            continue
        # Cells begin with ReLUs. Some that the runtime folds into the block before, in a direct export, stay alone.
        counts = [
            Counter((*node[:2], tuple(node[2]), tuple(node[3])) for node in graph) for graph in (direct, stitched)
        ]
        assert not counts[0] - counts[1], name
        extra = counts[1] - counts[0]
        assert {operator for _, operator, *_ in extra} <= {"Relu"}, name
        assert extra.total() <= len(specs), name


@pytest.mark.parametrize("preset", ["mobile-32", *SPACES_OF_ALL_BLOCKS])
def test_a_stitched_network_optimises_to_the_graph_of_a_direct_export(preset, tmp_path):
    space = EVERY_SPACE[preset]
    assert_stitched_equals_direct({preset: space.with_classes(10).unroll(space.smallest)}, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("preset", EVERY_SPACE)
def test_stitched_random_networks_optimise_to_the_graphs_of_direct_exports(preset, tmp_path):
    space, rng = EVERY_SPACE[preset], np.random.default_rng(0)
    archs = [space.largest, *(space.sample(rng) for _ in range(4))]
    assert_stitched_equals_direct({arch.id: space.with_classes(100).unroll(arch) for arch in archs}, tmp_path)


@pytest.mark.parametrize("name", ["digits-24", "cells"])
def test_a_subnet_of_a_trained_supernet_exports_to_the_graph_that_was_timed(name, tmp_path):
    """Latency tables are measured on `export_for_timing`: what is shipped must not be another graph."""
    space = EVERY_SPACE[name]
    net = SuperNet(space.with_classes(10)).to(memory_format=torch.channels_last)
    for number, arch in enumerate([space.smallest, space.largest]):
        images = torch.randint(0, 256, (16, 1, 8, 8), dtype=torch.uint8)
        shipped = export_onnx(materialise(net, arch, images), tmp_path / "shipped.onnx")
        timed = export_for_timing({arch.id: space.with_classes(10).unroll(arch)}, tmp_path)[arch.id]
        graphs = [optimised(path, tmp_path / f"optimised{number}.onnx") for path in (shipped, timed)]
        assert [node[:3] for node in graphs[0]] == [node[:3] for node in graphs[1]]


def test_single_blocks_optimise_to_the_graph_of_a_direct_export_at_any_image_size(tmp_path):
    space = load_space("digits-24")
    stem, *middle, head = space.with_classes(10).unroll(space.largest)
    kinds = {spec.residual and spec.se_channels > 0: spec for spec in middle}
    chosen = zip([stem, *kinds.values(), head], [33, 1, 10, 2], strict=True)
    specs = [dataclasses.replace(spec, in_size=size) for spec, size in chosen]
    paths = export_for_timing({spec.key: [spec] for spec in specs}, tmp_path)
    for spec in specs:
        direct = optimised(direct_export(random_subnet([spec])), tmp_path / "direct.onnx")
        assert optimised(paths[spec.key], tmp_path / "split.onnx") == direct, spec.key


def test_a_calibrated_subnet_exports_with_its_own_logits_and_says_what_it_is(tmp_path):
    space = load_space("digits-24")
    arch = space.sample(np.random.default_rng(0))
    subnet = random_subnet(space.with_classes(10).unroll(arch), arch).to(memory_format=torch.channels_last)
    subnet.calibration_images = 64
    before = {name: tensor.clone() for name, tensor in subnet.state_dict().items()}
    path = export_onnx(subnet, tmp_path / "new" / "model.onnx")
    pixels = torch.randn(1, 3, arch.resolution, arch.resolution)
    with torch.no_grad():
        expected = subnet(pixels).numpy()
    np.testing.assert_allclose(run(path, pixels.numpy()), expected, atol=1e-4, rtol=1e-4)
    assert model_metadata(path) == {
        "exporter_version": str(EXPORTER_VERSION),
        "graph_variant": "direct",
        "arch": arch.id,
        "calibrated": "true",
        "calibration_images": "64",
    }
    after = subnet.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_file_is_static_self_contained_folded_and_named_by_stage_and_block(tmp_path):
    space = load_space("digits-24")
    arch = space.largest
    subnet = random_subnet(space.with_classes(10).unroll(arch), arch).train()
    subnet.calibration_images = 1
    model = onnx.load(export_onnx(subnet, tmp_path / "model.onnx"), load_external_data=False)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert subnet.training
    ports = [*model.graph.input, *model.graph.output]
    shapes = [[d.dim_value for d in port.type.tensor_type.shape.dim] for port in ports]
    assert [port.name for port in ports] == ["pixels", "logits"]
    assert shapes == [[1, 3, arch.resolution, arch.resolution], [1, 10]]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    places = [spec.name for spec in subnet.specs]
    assert list(dict.fromkeys(node.name.split("/")[0] for node in model.graph.node)) == places
    assert {tensor.name.split("/")[0] for tensor in model.graph.initializer} == set(places)
    assert all(len(node.input) == 3 for node in model.graph.node if node.op_type == "Conv")
    assert b".py" not in model.SerializeToString()


def test_uncalibrated_subnets_are_refused_unless_for_timing(tmp_path):
    space = load_space("digits-24")
    subnet = random_subnet(space.with_classes(10).unroll(space.smallest), space.smallest)
    with pytest.raises(UncalibratedError, match="materialise"):
        export_onnx(subnet, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
    metadata = model_metadata(export_onnx(subnet, tmp_path / "model.onnx", for_timing=True))
    assert (metadata["calibrated"], metadata["for_timing"]) == ("false", "true")


def test_export_for_timing_reports_progress_and_replaces_files(tmp_path):
    space = load_space("digits-24")
    specs = space.with_classes(10).unroll(space.smallest)
    (tmp_path / "0000.onnx").write_text("old")
    calls = []
    networks = {space.smallest.id: specs, **{spec.key: [spec] for spec in specs}}
    paths = export_for_timing(networks, tmp_path, lambda done, total: calls.append((done, total)))
    assert list(paths) == list(networks)
    assert len(set(paths.values())) == len(networks)
    assert calls == [(number, len(networks)) for number in range(1, len(networks) + 1)]
    for name, path in paths.items():
        assert model_metadata(path)["arch"] == name
        first = networks[name][0]
        result = run(path, np.ones((1, first.in_channels, first.in_size, first.in_size), np.float32))
        # A real signal: neither dead nor so small that denormal numbers slow the timing.
        assert 1e-3 < np.abs(result).max() < 1e6


def test_timing_weights_do_not_depend_on_or_disturb_the_global_generator(tmp_path):
    spec = load_space("digits-24").with_classes(10).unroll(load_space("digits-24").smallest)[0]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = export_for_timing({"a": [spec]}, tmp_path / "a")["a"].read_bytes()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert export_for_timing({"a": [spec]}, tmp_path / "b")["a"].read_bytes() == first


def test_metadata_of_what_is_no_model_is_a_user_error(tmp_path):
    (tmp_path / "text.onnx").write_text("no model at all")
    with pytest.raises(UserError, match="not an ONNX model"):
        model_metadata(tmp_path / "text.onnx")
    with pytest.raises(UserError, match="does not exist"):
        model_metadata(tmp_path / "absent.onnx")
