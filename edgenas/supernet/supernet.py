"""Supernets: shared weights of all architectures of a space.

`forward(x, arch)` slices the weights of an architecture and runs them through modules of the same classes as those of
`extract`. There is no active subnet, so a call does not depend on earlier calls.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import product

import numpy as np
from torch import Tensor, nn

from edgenas.errors import SpaceError
from edgenas.space.arch import Arch
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.space import ClassifierSpace, SearchSpace
from edgenas.supernet.blocks import MODULES
from edgenas.supernet.elastic_layers import Cut
from edgenas.supernet.functional import run_block
from edgenas.supernet.pixels import Pixels
from edgenas.supernet.subnet import Subnet, module_name


class SuperNet(nn.Module):
    """Shared weights of all architectures of `space`.

    Args:
        space: search space of the subnets, with their number of classes.
        kernel_transforms: whether a smaller kernel is a trained matrix times the centre of a larger kernel, as in
            once-for-all, instead of the centre itself.
        pixels: normalisation of the inputs.
    """

    def __init__(self, space: ClassifierSpace, *, kernel_transforms: bool = False, pixels: Pixels | None = None):
        super().__init__()
        self.space = space
        self.kernel_transforms = kernel_transforms
        self.pixels = pixels or Pixels()
        by_position: dict[str, list[BlockSpec]] = {}
        for spec in _extreme_specs(space):
            by_position.setdefault(module_name(spec), []).append(spec)
        self.blocks = nn.ModuleDict(
            {name: MODULES[type(specs[0])].elastic(specs, kernel_transforms) for name, specs in by_position.items()}
        )

    @classmethod
    def from_network(cls, space: SearchSpace, module: nn.Module, *, kernel_transforms: bool = False) -> SuperNet:
        """Return a supernet, in eval mode, whose largest subnet computes what a network does.

        Expanded channels are sorted by importance, so that narrower subnets keep the best ones.

        Args:
            space: the space around the network, see `edgenas.space_from`. It may be narrowed or changed, as long as
                its largest architecture is the network, at any resolution.
            module: a classifier of torchvision or timm, with its weights. Device and number format are taken over.
            kernel_transforms: see `SuperNet`.

        Raises:
            SpaceError: the network is none that spaces hold, or another than the largest architecture.
        """
        # It builds supernets.
        from edgenas.supernet.pretrained.weights import supernet_from_network

        return supernet_from_network(space, module, kernel_transforms=kernel_transforms)

    def cut(self, arch: Arch) -> Cut:
        """Return views of the weights of one architecture, by block and by name in the block of a Subnet.

        Raises:
            SpaceError: the architecture is not in the space; the gene and its legal values are named.
        """
        specs = _specs(self.space, arch)
        return {module_name(spec): self.blocks[module_name(spec)].cut(spec) for spec in specs}  # type: ignore[operator]

    def forward(self, x: Tensor, arch: Arch, weights: Cut | None = None) -> Tensor:
        """Map preprocessed images (n, 3, r, r) of the architecture's resolution r to logits (n, classes).

        Args:
            x: preprocessed images.
            arch: architecture in the space.
            weights: output of `cut` for the architecture, possibly with other running statistics; None to cut now.

        Raises:
            SpaceError: the architecture is not in the space, or the images have another size.
        """
        if x.shape[-2:] != (arch.resolution, arch.resolution):
            raise SpaceError(f"expected images of {arch.resolution}×{arch.resolution} for {arch}, got {tuple(x.shape)}")
        weights = self.cut(arch) if weights is None else weights
        for spec in _specs(self.space, arch):
            x = run_block(spec, weights[module_name(spec)], x, training=self.training)
        return x

    def extract(self, arch: Arch) -> Subnet:
        """Return a standalone copy of one architecture, with the shared batch-norm statistics, not recalibrated."""
        parameter = next(self.parameters())
        subnet = Subnet(_specs(self.space, arch), arch, self.pixels).to(parameter.device, parameter.dtype)
        for name, weights in self.cut(arch).items():
            subnet.blocks[name].load_state_dict({k: tensor.detach() for k, tensor in weights.items()}, strict=False)
        return subnet.train(self.training)


def _extreme_specs(space: ClassifierSpace) -> Iterable[BlockSpec]:
    """Yield BlockSpecs of all widths and genes of blocks, which include the largest sizes at each position.

    The largest architecture is not enough. Channels are rounded to multiples of 8, so a small ratio may expand a narrow
    input but not a wide input. Genes that stages call joint take their choices together, not in all combinations.
    """
    sizes = dict(zip(space.choices, space.n_choices.tolist(), strict=True))
    joint = {gene for stage in space.stages for gene in stage.joint}
    genes = {name: name.rpartition(".")[2] for name in sizes}
    genes |= {name: "joint" for name, gene in genes.items() if gene in joint}
    varied = sorted(set(genes.values()) - {"resolution", "depth"})
    counts = [max(sizes[name] for name in sizes if genes[name] == gene) for gene in varied]
    for values in product(*map(range, counts)):
        index = dict(zip(varied, values, strict=True))
        row = [min(index.get(genes[name], count - 1), count - 1) for name, count in sizes.items()]
        yield from space.unroll(space.decode(np.array([row]))[0])


@lru_cache(maxsize=4096)
def _specs(space: ClassifierSpace, arch: Arch) -> tuple[BlockSpec, ...]:
    space.encode([arch])
    return space.unroll(arch)
