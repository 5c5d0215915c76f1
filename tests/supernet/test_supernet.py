import copy

import pytest
import torch
from hypothesis import given, settings
from spaces import CHOICES, EVERY_SPACE, SMALL, random_archs, spaces_and_archs
from torch import Tensor, nn

from edgenas.errors import SpaceError
from edgenas.space.arch import Arch
from edgenas.space.loading import load_space
from edgenas.space.space import SearchSpace
from edgenas.supernet.blocks.inverted_residual import InvertedResidual
from edgenas.supernet.layers import num_parameters
from edgenas.supernet.supernet import SuperNet


def supernet(space: SearchSpace, seed: int = 0) -> SuperNet:
    """A supernet in eval mode whose norms are as uneven as after training."""
    torch.manual_seed(seed)
    net = SuperNet(space.with_classes(5)).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if ".norm." in name or name.endswith("bias"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return net


def images(arch: Arch, count: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, arch.resolution, arch.resolution, generator=generator)


def check_extract_equals_forward(space: SearchSpace, archs: list[Arch]) -> None:
    net = supernet(space)
    for arch in archs:
        x = images(arch)
        with torch.no_grad():
            for mode in (False, True):
                subnet = net.train(mode).extract(arch)
                assert subnet.training == mode
                torch.testing.assert_close(net(x, arch), subnet(x))
                after = net.extract(arch).state_dict()
                for name, tensor in subnet.state_dict().items():
                    if not name.endswith("num_batches_tracked"):
                        torch.testing.assert_close(tensor, after[name])


@pytest.mark.parametrize("name", EVERY_SPACE)
def test_forward_equals_the_extracted_subnet_in_presets(name: str) -> None:
    # Weights do not depend on resolution, so the smallest images do.
    space = EVERY_SPACE[name]
    space = SearchSpace.model_validate({**space.model_dump(), "resolution": space.resolution[:1]})
    check_extract_equals_forward(space, random_archs(space, 1))


@given(spaces_and_archs(count=2))
def test_forward_equals_the_extracted_subnet_in_any_space(drawn: tuple[SearchSpace, list[Arch]]) -> None:
    check_extract_equals_forward(*drawn)


def test_forward_works_where_only_some_widths_have_an_expand_convolution() -> None:
    # 24 · 1.1 rounds to 24, so the largest arch has no expand convolution there; 16 · 1.1 rounds to 24, so others do.
    stage = {"width": [16, 24], "depth": [1, 2], "kernel": [3], "expand": [1.1], "stride": 1}
    part = {"width": 16, "activation": "relu"}
    space = SearchSpace.model_validate(
        {
            "name": "rounding",
            "resolution": [8],
            "stem": {**part, "kernel": 3, "stride": 1},
            "stages": [{**stage, "activation": "relu", "squeeze_excite": False}],
            "head": {**part, "features": 0},
        }
    )
    check_extract_equals_forward(space, [space.parse("r8_w16-k3e1.1-k3e1.1"), space.parse("r8_w24-k3e1.1-k3e1.1")])


def test_switching_squeeze_excite_on_changes_next_to_nothing_at_the_start() -> None:
    torch.manual_seed(0)
    net = SuperNet(CHOICES.with_classes(5)).eval()
    off, on = (
        CHOICES.parse(f"r24_w16-k3e2s{ratio}relu_w24-k3e3s{ratio}silu_w24-ua3k3e2relu-ua3k3e2relu")
        for ratio in (0, 0.25)
    )
    with torch.no_grad():
        expected, found = (net(images(off), arch) for arch in (off, on))
    torch.testing.assert_close(found, expected, rtol=0, atol=float(0.05 * expected.std()))
    assert not torch.equal(found, expected)
    net(images(on), on).square().sum().backward()
    assert net.blocks["stage0_block0"].se.excite.weight.grad.abs().max() > 0


def test_the_largest_subnet_uses_every_weight_of_a_space_without_expand_1() -> None:
    space = load_space("ofa-mbv3-w1.0")
    assert num_parameters(SuperNet(space.with_classes(10))) == num_parameters(
        SuperNet(space.with_classes(10)).extract(space.largest)
    )


def test_slices_are_the_leading_channels_and_the_centre_of_the_kernel() -> None:
    space = SMALL
    net = supernet(space)
    subnet = net.extract(space.parse("r16_w16-k3e1_w16-k3e2_w40-k3e3_w64-k3e2"))
    block = subnet.blocks["stage2_block0"]
    assert isinstance(block, InvertedResidual)
    assert block.expand is not None
    shared = net.blocks["stage2_block0"]
    torch.testing.assert_close(block.depthwise.conv.weight, shared.depthwise.conv.weight[:48, :, 2:5, 2:5])
    torch.testing.assert_close(block.expand.conv.weight, shared.expand.conv.weight[:48, :16])
    torch.testing.assert_close(
        subnet.blocks["stage1_block0"].project.norm.running_var,
        net.blocks["stage1_block0"].project.norm.running_var[:16],
    )


def marked(net: SuperNet, arch: Arch) -> dict[str, Tensor]:
    """Which elements of the supernet `cut` takes, found by writing into the slices."""
    double = copy.deepcopy(net)
    for tensor in double.state_dict().values():
        tensor.copy_(torch.arange(tensor.numel()).view(tensor.shape))
    found = {}
    for name, cut in cut_of(double, arch).items():
        found[name] = torch.isin(double.state_dict()[name], cut.detach().flatten())
    return found


def cut_of(net: SuperNet, arch: Arch) -> dict[str, Tensor]:
    """What is cut out for an arch, by the names of its Subnet."""
    blocks = net.cut(arch).items()
    return {f"blocks.{place}.{name}": tensor for place, block in blocks for name, tensor in block.items()}


@settings(max_examples=15)
@given(spaces_and_archs(count=1))
def test_gradients_reach_exactly_the_weights_that_were_cut(drawn: tuple[SearchSpace, list[Arch]]) -> None:
    space, (arch,) = drawn
    net = supernet(space).train()
    net(images(arch), arch).square().sum().backward()
    used = marked(net, arch)
    for name, parameter in net.named_parameters():
        if name not in used:
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, name
        assert not parameter.grad[~used[name]].any(), name
    assert net.blocks["stem"].conv.conv.weight.grad.any()


def test_gradients_equal_those_of_the_extracted_subnet() -> None:
    space = SMALL
    for arch in random_archs(space, 3):
        # In double precision; in single, the order of sums shows.
        net = supernet(space).double()
        subnet = net.extract(arch).double()
        subnet.load_state_dict({k: v.detach() for k, v in cut_of(net, arch).items()}, strict=False)
        x = images(arch).double()
        net(x, arch).square().sum().backward()
        subnet(x).square().sum().backward()
        for parameter in net.parameters():
            parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        cut = cut_of(net, arch)
        for name, parameter in subnet.named_parameters():
            torch.testing.assert_close(cut[name], parameter.grad, msg=name)


def test_extract_is_a_copy() -> None:
    space = SMALL
    net = supernet(space)
    before = copy.deepcopy(net.state_dict())
    subnet = net.train().extract(space.largest)
    for tensor in subnet.state_dict().values():
        tensor.zero_()
    subnet(images(space.largest))
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_no_state_is_carried_from_one_forward_to_the_next() -> None:
    space = SMALL
    net, archs = supernet(space), random_archs(space, 6)
    first = [net(images(arch), arch) for arch in archs]
    again = [net(images(arch), arch) for arch in reversed(archs)]
    for one, other in zip(first, reversed(again), strict=True):
        assert torch.equal(one, other)


def test_two_supernets_of_a_space_do_not_mix() -> None:
    space = SMALL
    one, other, x = supernet(space, seed=1), supernet(space, seed=2), images(space.largest)
    expected = one(x, space.largest)
    other.train()(x, space.largest)
    assert torch.equal(one(x, space.largest), expected)
    assert not torch.allclose(other.eval()(x, space.largest), expected)


@settings(max_examples=15)
@given(spaces_and_archs(count=1))
def test_training_mode_updates_the_sliced_running_statistics_alone(drawn: tuple[SearchSpace, list[Arch]]) -> None:
    space, (arch,) = drawn
    net = supernet(space).train()
    before = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        net(images(arch), arch)
    used = marked(net, arch)
    for name, tensor in net.state_dict().items():
        changed = tensor != before[name]
        if "running" not in name or name not in used:
            assert not changed.any(), name
        else:
            assert torch.equal(changed, used[name]), name


def test_eval_mode_changes_nothing() -> None:
    space = SMALL
    net = supernet(space)
    before = copy.deepcopy(net.state_dict())
    net(images(space.largest), space.largest)
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("mode", [False, True])
def test_images_of_another_resolution_are_refused(mode: bool) -> None:
    space = SMALL
    with pytest.raises(SpaceError, match=r"expected images of 24×24 .*\(2, 3, 16, 16\)"):
        supernet(space).train(mode)(torch.zeros(2, 3, 16, 16), space.largest)


def test_archs_outside_the_space_are_refused() -> None:
    net, foreign = supernet(SMALL), load_space("ofa-mbv3-w1.0").smallest
    for use in (net.extract, net.cut, lambda arch: net(torch.zeros(1, 3, 128, 128), arch)):
        with pytest.raises(SpaceError, match=r"resolution|stages"):
            use(foreign)


def test_hardswish_is_torchs_own() -> None:
    space = SMALL
    modules = list(supernet(space).extract(space.largest).modules())
    assert any(isinstance(module, nn.Hardswish) for module in modules)
