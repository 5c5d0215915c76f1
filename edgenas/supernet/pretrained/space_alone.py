"""The space of a pretrained network alone: the network as it is, at several resolutions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from edgenas.errors import SpaceError
from edgenas.space.loading import parse_space
from edgenas.space.space import SearchSpace
from edgenas.supernet.pretrained.networks import space_from


def network_space(module: nn.Module, name: str, resolutions: Sequence[int]) -> SearchSpace:
    """Return the space of a network alone, at those of several resolutions that its stride allows.

    Args:
        module: the network.
        name: its name, with which the text of its architectures begins.
        resolutions: input sizes in pixels.

    Raises:
        SpaceError: the network is of another family, or all resolutions are below what its stride needs.
    """
    around = space_from(module, name=name, kernels=(), expand_ratios=(), depths=(), widths=(), resolutions=())
    fitting = [resolution for resolution in resolutions if 2 * resolution >= around.stride]
    if not fitting:
        raise SpaceError(
            f"the network {name} has a total stride of {around.stride}: expected a resolution of at least "
            f"{-(-around.stride // 2)}, the space has {', '.join(map(str, resolutions))}"
        )
    own = {"network": name, "description": f"the network {name}", "resolution": fitting}
    return parse_space({**around.model_dump(), **own}, name)
