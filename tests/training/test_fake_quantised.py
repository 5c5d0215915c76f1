"""Fake quantisation against ONNX Runtime on the int8 file, and against numpy."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from little_subnet import ARCH, CALIBRATION_IMAGES, PREPROCESS, digits, int8_file, spoiled, trained
from torch import Tensor, nn

from edgenas.deploy.onnx.exporter import export_onnx
from edgenas.deploy.onnx.scoring import onnx_logits
from edgenas.space.loading import load_space
from edgenas.space.space import SearchSpace
from edgenas.supernet.fake_quantisation import AVERAGING, Gate, Rounded, rounded_weight
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data.dataset import Dataset
from edgenas.training.fake_quantised import fake_quantised, fold_norms
from edgenas.training.materialise import materialise, predict


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return digits()


@pytest.fixture(scope="module")
def subnet(dataset: Dataset) -> Subnet:
    return trained(dataset)


@torch.no_grad()
def with_ranges(subnet: Subnet, images: Tensor, weight_bits: int = 8) -> nn.Module:
    network = fake_quantised(fold_norms(subnet), weight_bits).train()
    network(PREPROCESS(images))
    return network.eval()


def file_ranges(path: Path) -> list[tuple[float, int]]:
    """Return scale and zero point of every quantised activation of a file in order, without gates."""
    model = onnx.load(path)
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantised = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    # Flattening quantises activations a second time.
    activations = [node for node in quantised if not {"Reshape", "shifted", "HardSigmoid"} & set(_words(node.name))]
    gates = {node.input[0] for node in model.graph.node if "HardSigmoid" in node.output[0]}
    ranges = [(node.input[1], node.input[2]) for node in activations if node.output[0] not in gates]
    return [(float(values[scale]), int(values[zero])) for scale, zero in ranges]


def _words(name: str) -> list[str]:
    return name.replace("_", "/").split("/")


def test_folding_changes_neither_the_function_nor_the_exported_bytes(subnet: Subnet, tmp_path: Path) -> None:
    before = copy.deepcopy(subnet.state_dict())
    folded = fold_norms(subnet)
    files = [export_onnx(net, tmp_path / "net.onnx").read_bytes() for net in (subnet, folded, fold_norms(folded))]
    assert files[0] == files[1] == files[2]
    assert (folded.arch, folded.calibration_images) == (subnet.arch, CALIBRATION_IMAGES)
    images = torch.randint(0, 256, (8, 1, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(predict(folded, images), predict(subnet, images), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(subnet.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("greatest", [127, 64])
def test_weights_are_rounded_by_output_channel_as_numpy_does(greatest: int) -> None:
    weight = np.random.default_rng(0).standard_normal((6, 3, 3, 3)).astype(np.float32)
    weight *= np.float32(10.0) ** np.arange(-3, 3, dtype=np.float32).reshape(-1, 1, 1, 1)
    weight[2] = 0
    scale = np.abs(weight).max(axis=(1, 2, 3), keepdims=True).astype(np.float64) / greatest
    expected = np.round(np.divide(weight, scale, out=np.zeros(weight.shape), where=scale > 0)) * scale
    got = rounded_weight(torch.from_numpy(weight), greatest).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=0)
    assert len(np.unique(got[5])) > 20


@pytest.mark.parametrize("weight_bits", [8, 7])
def test_with_the_ranges_of_the_file_outputs_are_those_of_the_runtime(
    dataset: Dataset, subnet: Subnet, tmp_path: Path, weight_bits: int
) -> None:
    """On a network that int8 changes much, outputs agree only if the same values are rounded."""
    bad = spoiled(subnet, 8)
    calibration, images = dataset.train.tensor()[:CALIBRATION_IMAGES], dataset.validation.tensor()[:100]
    path = int8_file(bad, calibration, tmp_path, seven_bit_weights=weight_bits == 7)
    network = with_ranges(bad, calibration, weight_bits)
    rounded = [module for module in network.modules() if isinstance(module, Rounded)]
    for module, (scale, zero) in zip(_executed(network, rounded), file_ranges(path), strict=True):
        # The file's ranges are those of activations that were not rounded before.
        assert 0.5 < float(module.scale) / scale < 2
        module.low.fill_(-zero * scale)
        module.high.fill_((255 - zero) * scale)
    with torch.no_grad():
        simulated = network(PREPROCESS(images))
    expected = onnx_logits(path, images, PREPROCESS)
    change = (predict(bad, images) - expected).abs().mean()
    # Ties and sums in another order move single values by a step, and layers add these up.
    assert (simulated - expected).abs().mean() < 0.2 * change
    assert (simulated.argmax(1) == expected.argmax(1)).float().mean() >= 0.9


_STAGE = {"width": [16], "depth": [1], "kernel": [3], "expand": [3], "stride": 2, "squeeze_excite": False}
_RELU6, _SILU = {**_STAGE, "activation": "relu6"}, {**_STAGE, "activation": "silu"}
_SQUEEZE = {"base": "input", "divisor": 1, "activation": "silu", "gate": "sigmoid"}
_CONV = {"block": "conv", "width": [16], "depth": [1], "kernel": [3], "stride": 2}
FORMS: dict[str, dict[str, Any]] = {
    "relu6": {"stages": [_RELU6]},
    "silu": {"stages": [_SILU]},
    "hard sigmoid": {"stages": [{**_RELU6, "squeeze_excite": True}]},
    "sigmoid": {"stages": [{**_SILU, "squeeze_excite": True, "squeeze": _SQUEEZE}]},
    "same": {"stages": [_RELU6], "padding": "same", "norm_epsilon": 0.001},
    "convolution": {"stages": [{**_CONV, "activation": "silu"}]},
    "feature layer with norm": {
        "stages": [_RELU6],
        "head": {"width": 0, "features": 24, "feature_layer": "norm", "activation": "relu"},
    },
    "feature layer with bias": {
        "stages": [_RELU6],
        "head": {"width": 24, "features": 24, "feature_layer": "bias", "activation": "hardswish"},
    },
}
"""Spaces of one network each, by what is particular to it."""


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_layer_rounds_what_its_file_rounds(form: str, dataset: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    fields = {"head": {"width": 32, "features": 0, "activation": "relu"}, **FORMS[form], "name": form}
    stem = {"width": 8, "kernel": 3, "stride": 1, "activation": "relu6"}
    space = SearchSpace.model_validate({**fields, "resolution": [16], "stem": stem})
    calibration, images = dataset.train.tensor()[:CALIBRATION_IMAGES], dataset.validation.tensor()[:100]
    subnet = materialise(SuperNet(space.with_classes(dataset.num_classes)), space.largest, calibration)
    path = int8_file(subnet, calibration, tmp_path)
    network = with_ranges(subnet, calibration)
    rounded = [module for module in network.modules() if isinstance(module, Rounded)]
    for module, (scale, zero) in zip(_executed(network, rounded), file_ranges(path), strict=True):
        module.low.fill_(-zero * scale)
        module.high.fill_((255 - zero) * scale)
    with torch.no_grad():
        simulated = network(PREPROCESS(images))
    expected = onnx_logits(path, images, PREPROCESS)
    # The error of not simulating would be 1 of it; sums in another order leave some.
    assert (simulated - expected).abs().mean() < 0.6 * (predict(subnet, images) - expected).abs().mean()


def _executed(network: nn.Module, modules: list[Rounded]) -> list[Rounded]:
    order: list[Rounded] = []
    hooks = [module.register_forward_hook(lambda module, *_: order.append(module)) for module in modules]
    with torch.no_grad():
        network(torch.zeros(1, 3, ARCH.resolution, ARCH.resolution))
    for hook in hooks:
        hook.remove()
    return order


def test_ranges_average_over_batches_and_are_constant_in_eval_mode() -> None:
    module = Rounded().train()
    batches = [torch.tensor([-1.0, 3.0]), torch.tensor([-2.0, 8.0])]
    for batch in batches:
        module(batch)
    low, high = -1 - AVERAGING, 3 + 5 * AVERAGING
    assert float(module.low) == pytest.approx(low)
    assert float(module.high) == pytest.approx(high)
    module.eval()
    values = torch.linspace(-9, 9, 1001)
    got = module(values)
    scale = (high - low) / 255
    zero = round(-low / scale)
    expected = (np.clip(np.round(values.numpy() / scale) + zero, 0, 255) - zero) * scale
    # Ties may go either way in single precision.
    assert np.mean(np.abs(got.numpy() - expected) < 1e-4) > 0.99
    assert float(module.low) == pytest.approx(low)


def test_gates_saturate_at_zero_and_one() -> None:
    values = torch.linspace(-7, 7, 1001)
    got = Gate()(values)
    np.testing.assert_allclose(got, np.clip(values.numpy() / 6 + 0.5, 0, 1), atol=0.5 / 255 + 1e-6)
    assert len(got.unique()) == 256


def test_gradients_reach_every_weight_and_bias_but_no_norm(dataset: Dataset, subnet: Subnet) -> None:
    folded = fold_norms(subnet)
    network = fake_quantised(folded).train()
    network(PREPROCESS(dataset.train.tensor()[:32])).square().sum().backward()
    parameters = dict(folded.named_parameters())
    assert {name for name, parameter in parameters.items() if parameter.grad is None} == {
        name for name in parameters if name.endswith("norm.weight")
    }
    assert all(parameter.grad.abs().max() > 0 for parameter in parameters.values() if parameter.grad is not None)


def test_networks_with_another_kind_of_head_have_an_int8_form(tmp_path: Path) -> None:
    space = load_space("ofa-mbv3-w1.0")
    net = SuperNet(space.with_classes(4))
    arch = space.smallest
    images = torch.randint(0, 256, (2, 3, arch.resolution, arch.resolution), dtype=torch.uint8)
    subnet = materialise(net, arch, images)
    network = fake_quantised(fold_norms(subnet)).train()
    with torch.no_grad():
        logits = network(torch.zeros(1, 3, arch.resolution, arch.resolution))
    assert logits.shape == (1, 4)
    assert network.blocks["head"].mix is not None  # type: ignore[union-attr]
