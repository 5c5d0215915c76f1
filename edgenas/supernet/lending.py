"""The modules of an arch, built once, through which a supernet runs weights that are lent for one forward pass."""

from __future__ import annotations

from torch import Tensor, nn

from edgenas.supernet.lean import lean_norms
from edgenas.supernet.shared_norm import share_norms
from edgenas.supernet.subnet import Subnet

Store = dict[str, Tensor | None]


class Frame:
    """A Subnet without memory for weights.

    What torch's `functional_call` does for any module, for one whose tensors are known beforehand: the way of each
    tensor to its module is found once, not at every pass, which for small networks takes longer than computing.
    """

    def __init__(self, subnet: Subnet):
        """Args: on the meta device; it is changed, and not to be used otherwise."""
        for module in subnet.modules():
            if isinstance(module, nn.BatchNorm2d):
                # A count of batches would be state of its own; running averages here use a fixed momentum.
                module.num_batches_tracked = None
        share_norms(subnet)
        lean_norms(subnet)
        self._subnet = subnet
        self._places: dict[str, tuple[Store, str]] = {
            f"{path}.{key}": (store, key)
            for path, module in subnet.named_modules()
            for store in (module._parameters, module._buffers)
            for key, tensor in store.items()
            if tensor is not None
        }
        self._empty = {name: store[key] for name, (store, key) in self._places.items()}

    def __call__(self, weights: dict[str, Tensor], x: Tensor, *, training: bool) -> Tensor:
        """Run `x` through the modules with these weights, all of them by name; nothing of them is kept."""
        if self._subnet.training != training:
            self._subnet.train(training)
        try:
            for name, (store, key) in self._places.items():
                store[key] = weights[name]
            return self._subnet(x)  # type: ignore[no-any-return]
        finally:
            for name, (store, key) in self._places.items():
                store[key] = self._empty[name]
