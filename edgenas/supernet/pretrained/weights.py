"""Copy the weights of a network into a supernet of the space around it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest

import torch
from torch import Tensor, nn

from edgenas.errors import SpaceError, shown
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.space import ClassifierSpace, SearchSpace
from edgenas.supernet.blocks import build_block
from edgenas.supernet.pretrained.bounds import Bounds
from edgenas.supernet.pretrained.networks import read
from edgenas.supernet.pretrained.source_network import SourceNetwork
from edgenas.supernet.pretrained.space_around import space_around
from edgenas.supernet.sorting import sort_middle_channels
from edgenas.supernet.subnet import module_name
from edgenas.supernet.supernet import SuperNet

TOLERANCE = 1e4
"""Greatest difference of logits from the network's, in units of rounding of the largest one."""
NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


@torch.no_grad()
def supernet_from_network(space: SearchSpace, module: nn.Module, *, kernel_transforms: bool = False) -> SuperNet:
    """Return a supernet whose largest subnet has the weights of a network, see `SuperNet.from_network`."""
    if not isinstance(space, SearchSpace):
        raise SpaceError(
            f"space: expected a SearchSpace, got {shown(space) if isinstance(space, str) else type(space).__name__}: "
            "make one with edgenas.space_from(module), or read one with edgenas.load_space(path)"
        )
    if isinstance(module, SuperNet):
        return _copied_supernet(space, module, kernel_transforms)
    network = read(module)
    classifiers = _classifier_space(space, network)
    specs = _fitting_specs(classifiers, network)
    like = next(module.parameters())
    if like.is_meta:
        raise SpaceError("the network has no weights (its tensors are on the device meta): build it on another device")
    net = SuperNet(classifiers, kernel_transforms=kernel_transforms, pixels=network.pixels).to(like.device, like.dtype)
    net.load_state_dict(_copied(net.state_dict(), module.state_dict(), tensor_names(specs, network)))
    sort_middle_channels(net)
    _check_equal(net.eval(), module, network.resolution)
    return net


def _copied_supernet(space: SearchSpace, module: SuperNet, kernel_transforms: bool) -> SuperNet:
    _check_same_supernet(space, module, kernel_transforms)
    net = SuperNet(_classifier_space(space, module.space), kernel_transforms=kernel_transforms, pixels=module.pixels)
    net.load_state_dict(module.state_dict())
    return net.eval()


def check_fits(space: SearchSpace, module: nn.Module, *, kernel_transforms: bool = False) -> None:
    """Refuse a space whose largest architecture is not the network, at any resolution.

    Raises:
        SpaceError: it is another; the first block that differs is named. A supernet needs a space of the same choices,
            and kernel transforms as it has them.
    """
    if isinstance(module, SuperNet):
        _check_same_supernet(space, module, kernel_transforms)
        return
    network = read(module)
    _fitting_specs(space.with_classes(network.num_classes), network)


def _check_same_supernet(space: SearchSpace, module: SuperNet, kernel_transforms: bool) -> None:
    own = module.space
    if (space.structure_id, space.stages) != (own.structure_id, own.stages):
        raise SpaceError(
            f"space {space.name} does not fit a supernet of {own.name}: expected that space, narrowed in its "
            "resolutions at most"
        )
    if kernel_transforms != module.kernel_transforms:
        raise SpaceError(
            f"the supernet of {own.name} {'has' if module.kernel_transforms else 'lacks'} kernel transforms: set "
            f"train.kernel_transforms to {str(module.kernel_transforms).lower()}"
        )


def tensor_names(specs: tuple[BlockSpec, ...], network: SourceNetwork) -> dict[str, str]:
    """Return the source's name of each tensor of a supernet that the network gives.

    Args:
        specs: BlockSpecs of the largest architecture.
        network: description of the network.
    """
    names: dict[str, str] = {}
    for ours, theirs in zip(_our_convs(specs), network.layers(), strict=True):
        names |= {f"{ours}.weight": f"{theirs.name}.weight"}
        if theirs.conv.bias:
            names |= {f"{ours}.bias": f"{theirs.name}.bias"}
        if theirs.norm:
            norm = f"{ours.rpartition('.')[0]}.norm"
            names |= {f"{norm}.{tensor}": f"{theirs.norm}.{tensor}" for tensor in NORM_TENSORS}
    return names


def _our_convs(specs: tuple[BlockSpec, ...]) -> list[str]:
    """Return the names of convolutions and linear layers in a supernet, in the order of `BlockSpec.convs`."""
    with torch.device("meta"):
        blocks = {module_name(spec): build_block(spec) for spec in specs}
    return [
        f"blocks.{place}.{name}"
        for place, block in blocks.items()
        for name, layer in block.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]


def _classifier_space(space: SearchSpace, network: SourceNetwork | ClassifierSpace) -> ClassifierSpace:
    if isinstance(space, ClassifierSpace) and space.num_classes != network.num_classes:
        raise SpaceError(
            f"space {space.name} is of {space.num_classes} classes, the network of {network.num_classes}: give the "
            "space without classes, or a network with as many"
        )
    return space.with_classes(network.num_classes)


def _fitting_specs(space: ClassifierSpace, network: SourceNetwork) -> tuple[BlockSpec, ...]:
    """Return the BlockSpecs of the space's largest architecture, which the network's must equal."""
    own = space_around(network, space.name, Bounds()).with_classes(network.num_classes)
    specs = space.unroll(space.arch(network.resolution, space.largest.stages))
    for ours, theirs in zip_longest(specs, own.unroll(own.largest)):
        if (ours, _position(ours)) != (theirs, _position(theirs)):
            raise SpaceError(
                f"space {space.name} does not fit the network: its largest architecture has {_text(ours)}, the network "
                f"{_text(theirs)}; make a space with `edgenas space from`, and leave each gene its largest choice"
            )
    return specs


def _position(spec: BlockSpec | None) -> tuple[str, float] | None:
    return (spec.name, spec.norm_epsilon) if spec else None


def _text(spec: BlockSpec | None) -> str:
    return f"{spec.name} = {spec.key} with epsilon {spec.norm_epsilon:g}" if spec else "no further block"


def _copied(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the tensors of a supernet, those of the network in their places."""
    tensors = dict(ours)
    for name, source in names.items():
        tensor = theirs[source]
        # A linear layer may be a convolution of 1×1 there.
        if tensor.shape.numel() != ours[name].shape.numel() or not tensor.isfinite().all():
            raise SpaceError(
                f"{source} has shape {tuple(tensor.shape)}: expected finite numbers of shape {tuple(ours[name].shape)}"
            )
        tensors[name] = tensor.reshape(ours[name].shape)
    return tensors


def _check_equal(net: SuperNet, module: nn.Module, resolution: int) -> None:
    """Refuse a network that computes something else than its layers say, by its logits for random images."""
    like, modes = next(module.parameters()), {part: part.training for part in module.modules()}
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, 3, resolution, resolution, generator=generator).to(like.device, like.dtype)
    try:
        expected = module.eval()(images)
    finally:
        for part, training in modes.items():
            part.training = training
    error = (net.extract(net.space.largest)(images) - expected).abs().max().item()
    if error > TOLERANCE * torch.finfo(like.dtype).eps * expected.abs().max().item():
        raise SpaceError(
            f"the network computes something else than its layers say: logits differ by {error:.2g}; is its forward "
            "changed, or are there hooks?"
        )
