"""SuperNet: the weights of every arch of a space, shared.

`forward(x, arch)` cuts the arch's weights out and runs them through the very modules that `extract` would
return. There is no active subnet: nothing is set, so nothing can be left over.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from torch import Tensor, nn

from edgenas.errors import SpaceError
from edgenas.space.arch import Arch
from edgenas.space.blocks import BlockSpec, HeadSpec, InvertedResidualSpec, StemSpec
from edgenas.space.space import SearchSpace
from edgenas.supernet.layers import (
    Cut,
    ElasticConvNorm,
    ElasticLinear,
    ElasticSqueezeExcite,
    Weights,
    prefixed,
)
from edgenas.supernet.lending import run_block
from edgenas.supernet.pixels import Pixels
from edgenas.supernet.subnet import Subnet, module_name


class ElasticStem(nn.Module):
    """Weights of the stem. Its shape is fixed; only the images' size varies."""

    def __init__(self, specs: list[StemSpec], kernel_transforms: bool):
        super().__init__()
        self.conv = ElasticConvNorm(specs[0].in_channels, specs[0].out_channels, specs[0].kernel)

    def cut(self, spec: StemSpec) -> Weights:
        """Weights of a Stem."""
        return prefixed("conv", self.conv.cut(spec.in_channels, spec.out_channels, spec.kernel))


class ElasticInvertedResidual(nn.Module):
    """Weights of every inverted residual that can stand at one place."""

    def __init__(self, specs: list[InvertedResidualSpec], kernel_transforms: bool):
        super().__init__()
        kernels = sorted({spec.kernel for spec in specs})
        mid = max(spec.mid_channels for spec in specs)
        max_in, out = max(spec.in_channels for spec in specs), max(spec.out_channels for spec in specs)
        squeezed = max(spec.se_channels for spec in specs)
        self.expand = ElasticConvNorm(max_in, mid) if any(spec.expands for spec in specs) else None
        self.depthwise = ElasticConvNorm(1, mid, kernels[-1], kernels if kernel_transforms else ())
        self.se = ElasticSqueezeExcite(mid, squeezed) if squeezed else None
        self.project = ElasticConvNorm(mid, out)

    def cut(self, spec: InvertedResidualSpec) -> Weights:
        """Weights of an InvertedResidual."""
        mid = spec.mid_channels
        weights = prefixed("depthwise", self.depthwise.cut(1, mid, spec.kernel))
        if self.expand is not None and spec.expands:
            weights |= prefixed("expand", self.expand.cut(spec.in_channels, mid))
        if self.se is not None:
            weights |= prefixed("se", self.se.cut(mid, spec.se_channels))
        return weights | prefixed("project", self.project.cut(mid, spec.out_channels))


class ElasticHead(nn.Module):
    """Weights of the head. Only its input channels are elastic."""

    def __init__(self, specs: list[HeadSpec], kernel_transforms: bool):
        super().__init__()
        spec = specs[0]
        self.conv = ElasticConvNorm(max(spec.in_channels for spec in specs), spec.width)
        self.mix = ElasticLinear(spec.width, spec.features, bias=False) if spec.features else None
        self.classifier = ElasticLinear(spec.features or spec.width, spec.out_channels)

    def cut(self, spec: HeadSpec) -> Weights:
        """Weights of a Head."""
        weights = prefixed("conv", self.conv.cut(spec.in_channels, spec.width))
        if self.mix is not None:
            weights |= prefixed("mix", self.mix.cut(spec.width))
        return weights | prefixed("classifier", self.classifier.cut(spec.features or spec.width))


ELASTIC: dict[type[BlockSpec], Any] = {
    StemSpec: ElasticStem,
    InvertedResidualSpec: ElasticInvertedResidual,
    HeadSpec: ElasticHead,
}


class SuperNet(nn.Module):
    """Shared weights of every arch of `space`, for `num_classes` classes.

    Args:
        space: what can be cut out.
        num_classes: logits of every subnet.
        kernel_transforms: whether smaller kernels are learned matrices times the centres of larger ones, as
            once-for-all has it, or the centres themselves.
        pixels: what input values mean.
    """

    def __init__(
        self, space: SearchSpace, num_classes: int, *, kernel_transforms: bool = False, pixels: Pixels | None = None
    ):
        super().__init__()
        self.space = space
        self.num_classes = num_classes
        self.kernel_transforms = kernel_transforms
        self.pixels = pixels or Pixels()
        by_place: dict[str, list[BlockSpec]] = {}
        for spec in _extreme_specs(space, num_classes):
            by_place.setdefault(module_name(spec), []).append(spec)
        self.blocks = nn.ModuleDict(
            {place: ELASTIC[type(specs[0])](specs, kernel_transforms) for place, specs in by_place.items()}
        )

    def cut(self, arch: Arch) -> Cut:
        """Views of the weights of one arch: by the names of its Subnet's blocks, then by their names in the block.

        Raises:
            SpaceError: the arch is not in the space; the gene and its legal values are named.
        """
        specs = _specs(self.space, arch, self.num_classes)
        return {module_name(spec): self.blocks[module_name(spec)].cut(spec) for spec in specs}  # type: ignore[operator]

    def forward(self, x: Tensor, arch: Arch, weights: Cut | None = None) -> Tensor:
        """Images (n, 3, r, r), preprocessed, r the arch's resolution, to logits (n, classes).

        Args:
            x: the images.
            arch: of the space.
            weights: what `cut` gave for it, where that is at hand; perhaps with other running statistics.

        Raises:
            SpaceError: the arch is not in the space, or the images are of another size.
        """
        if x.shape[-2:] != (arch.resolution, arch.resolution):
            raise SpaceError(f"wanted images of {arch.resolution}×{arch.resolution} for {arch}, got {tuple(x.shape)}")
        own = self.cut(arch) if weights is None else weights
        for spec in _specs(self.space, arch, self.num_classes):
            x = run_block(spec, own[module_name(spec)], x, training=self.training)
        return x

    def extract(self, arch: Arch) -> Subnet:
        """A free-standing copy of one arch, not yet calibrated: its batch-norm statistics are shared ones."""
        like = next(self.parameters())
        subnet = Subnet(_specs(self.space, arch, self.num_classes), arch, self.pixels).to(like.device, like.dtype)
        for place, weights in self.cut(arch).items():
            subnet.blocks[place].load_state_dict({k: tensor.detach() for k, tensor in weights.items()}, strict=False)
        return subnet.train(self.training)


def _extreme_specs(space: SearchSpace, num_classes: int) -> Iterable[BlockSpec]:
    """BlockSpecs among which every size that can be needed at a place is: archs of all widths, ratios and kernels.

    The largest arch alone does not do: rounded to multiples of 8, a small ratio may expand a narrow input and
    leave a wide one as it is.
    """
    names, last = list(space.choices), space.n_choices - 1
    genes = ("width", "expand", "kernel")
    for values in product(*(range(max(len(getattr(stage, gene)) for stage in space.stages)) for gene in genes)):
        wanted = dict(zip(genes, values, strict=True))
        row = [min(wanted.get(name.rpartition(".")[2], end), end) for name, end in zip(names, last, strict=True)]
        yield from space.unroll(space.decode(np.array([row]))[0], num_classes)


@lru_cache(maxsize=4096)
def _specs(space: SearchSpace, arch: Arch, num_classes: int) -> tuple[BlockSpec, ...]:
    space.encode([arch])
    return space.unroll(arch, num_classes)
