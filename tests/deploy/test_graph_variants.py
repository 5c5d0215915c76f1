"""Variants of the exported graph: the same logits, and the layout that each is for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from spaces import EVERY_SPACE, SPACES_OF_ALL_BLOCKS, random_archs

from edgenas.deploy.int8.quantiser_recipe import QuantiserRecipe
from edgenas.deploy.int8.quantize import quantise
from edgenas.deploy.onnx.exporter import export_for_timing, export_onnx, export_variants, model_metadata
from edgenas.errors import UserError
from edgenas.space.blocks import parse_block
from edgenas.space.graph_variant import GRAPH_VARIANTS, VARIANT_OPERATORS
from edgenas.space.loading import load_space
from edgenas.supernet.supernet import SuperNet
from edgenas.training.materialise import materialise

GATED = parse_block("ir_i16_r8_o16_m48_k3_s1_se16_hardswish")


def run(path: Path, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: pixels})[0]


def optimised_operators(path: Path, out: Path) -> list[str]:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(out)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return [f"{node.domain}:{node.op_type}" for node in onnx.load(out).graph.node]


@pytest.mark.parametrize("preset", ["mobile-32", *SPACES_OF_ALL_BLOCKS])
def test_every_variant_of_random_networks_computes_the_same(preset: str, tmp_path: Path) -> None:
    space, rng = EVERY_SPACE[preset], np.random.default_rng(1)
    networks = {arch.id: space.with_classes(10).unroll(arch) for arch in random_archs(space, 1)}
    files = export_variants(networks, tmp_path)
    for name, specs in networks.items():
        pixels = rng.standard_normal((1, 3, specs[0].in_size, specs[0].in_size), dtype=np.float32)
        plain = run(files["direct", name], pixels)
        assert np.ptp(plain) > 0
        for variant in GRAPH_VARIANTS[1:]:
            assert files[variant, name].read_bytes() != files["direct", name].read_bytes()
            np.testing.assert_allclose(run(files[variant, name], pixels), plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", GRAPH_VARIANTS)
def test_every_variant_computes_the_same_in_the_reference_implementation(variant: str, tmp_path: Path) -> None:
    space = load_space("digits-24")
    images = torch.randint(0, 256, (16, 1, 8, 8), dtype=torch.uint8)
    subnet = materialise(SuperNet(space.with_classes(10)), space.smallest, images)
    path = export_onnx(subnet, tmp_path / "model.onnx", variant=variant)
    pixels = torch.randn(1, 3, subnet.resolution, subnet.resolution)
    with torch.no_grad():
        expected = subnet(pixels).numpy()
    found = ReferenceEvaluator(str(path)).run(None, {"pixels": pixels.numpy()})[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert model_metadata(path)["graph_variant"] == variant


@pytest.mark.parametrize("size", [1, 2, 7, 20])
def test_a_gate_is_spread_over_the_size_of_its_image(size: int, tmp_path: Path) -> None:
    spec = parse_block(GATED.key.replace("_r8_", f"_r{size}_"))
    files = export_variants({"block": [spec]}, tmp_path)
    pixels = np.random.default_rng(0).standard_normal((1, 16, size, size), dtype=np.float32)
    np.testing.assert_allclose(
        run(files["blocked", "block"], pixels), run(files["direct", "block"], pixels), rtol=1e-4, atol=1e-5
    )
    spread = [node for node in onnx.load(files["blocked", "block"]).graph.node if node.op_type == "Resize"]
    assert len(spread) == (size > 1)


def test_in_the_blocked_variant_squeeze_excite_stays_in_the_layout_of_its_convolutions(tmp_path: Path) -> None:
    files = export_variants({"block": [GATED]}, tmp_path)
    found = {
        variant: optimised_operators(files[variant, "block"], tmp_path / f"{variant}.onnx")
        for variant in GRAPH_VARIANTS
    }
    if "com.microsoft.nchwc:Conv" not in found["direct"]:
        pytest.skip("this machine's runtime keeps channels in their order")
    reorders = {variant: sum("Reorder" in operator for operator in operators) for variant, operators in found.items()}
    # One at the block's input and one at its output, where a file of a single block begins and ends.
    assert reorders["blocked"] == 2 < reorders["pooled"] < reorders["direct"]
    assert "com.microsoft.nchwc:Upsample" in found["blocked"]


def test_int8_is_the_same_from_every_variant(tmp_path: Path) -> None:
    space = load_space("digits-24")
    images = torch.randint(0, 256, (16, 1, 8, 8), dtype=torch.uint8)
    subnet = materialise(SuperNet(space.with_classes(10)), space.largest, images)
    inputs = np.random.default_rng(0).standard_normal((4, 3, subnet.resolution, subnet.resolution)).astype(np.float32)
    graphs = []
    for variant in GRAPH_VARIANTS:
        source = export_onnx(subnet, tmp_path / f"{variant}.onnx", variant=variant)
        quantised = onnx.load(quantise(source, tmp_path / f"{variant}-int8.onnx", inputs, QuantiserRecipe(), images=4))
        graphs.append([(node.op_type, len(node.input)) for node in quantised.graph.node])
        logits = run(tmp_path / f"{variant}-int8.onnx", inputs[:1])
        np.testing.assert_allclose(logits, run(tmp_path / "direct-int8.onnx", inputs[:1]), atol=1e-2)
    assert graphs[0] == graphs[1] == graphs[2]


def test_the_plain_variant_is_the_default(tmp_path: Path) -> None:
    files = export_variants({"block": [GATED]}, tmp_path)
    assert (
        export_for_timing({"block": [GATED]}, tmp_path)["block"].read_bytes() == files["direct", "block"].read_bytes()
    )


def test_an_unknown_variant_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="graph variant: 'bloked' is unknown; did you mean 'blocked'"):
        export_for_timing({"block": [GATED]}, tmp_path, variant="bloked")  # type: ignore[arg-type]


def test_files_hold_the_operators_listed_for_their_variant(tmp_path: Path) -> None:
    files = export_variants({"block": [GATED]}, tmp_path)
    for variant in GRAPH_VARIANTS:
        found = {node.op_type for node in onnx.load(files[variant, "block"]).graph.node}
        others = {operator for operators in VARIANT_OPERATORS.values() for operator in operators}
        assert found & others == set(VARIANT_OPERATORS[variant])
