"""Layers of a source network: convolutions with the batch norm and the activation after them, and squeeze-excite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from edgenas.errors import SpaceError
from edgenas.space.blocks.spec import Activation, Conv, Padding

NamedModules = list[tuple[str, nn.Module]]
"""Modules in the order of execution, by their dotted names in the source network."""
ACTIVATIONS: dict[str, Activation] = {
    "ReLU": "relu",
    "ReLU6": "relu6",
    "Hardswish": "hardswish",
    "HardSwish": "hardswish",
    "SiLU": "silu",
    "Swish": "silu",
    "MemoryEfficientSwish": "silu",
}
GATES = {"Hardsigmoid": "hardsigmoid", "HardSigmoid": "hardsigmoid", "Sigmoid": "sigmoid"}
SAME_PADDED = ("Conv2dSame", "Conv2dSamePadding", "Conv2dStaticSamePadding", "Conv2dDynamicSamePadding")
"""Classes of convolutions that are padded as TensorFlow's `same`."""
SQUEEZE_EXCITES = {
    "SqueezeExcitation": ("fc1", "activation", "fc2", "scale_activation"),
    "SqueezeExcite": ("conv_reduce", "act1", "conv_expand", "gate"),
}
"""Attributes of squeeze-excite by its class: squeezing convolution, activation, exciting convolution, gate."""
SEQUENCES = (
    "Sequential",
    "Conv2dNormActivation",
    "ConvNormAct",
    "BatchNormAct2d",
    "SelectAdaptivePool2d",
    *SQUEEZE_EXCITES,
)
"""Classes with modules in them, which run one after the other; squeeze-excite is read as a whole."""
PASSED = (
    "AdaptiveAvgPool2d",
    "Dropout",
    "DropPath",
    "Flatten",
    "Identity",
    "StochasticDepth",
)
"""Layers without weights that change nothing when a network is evaluated, or that every head has."""


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer, the batch norm and the activation after it.

    Attributes:
        name: dotted name of the convolution.
        conv: its shape; `out_size` is 0, since it depends on the image.
        stride: its stride.
        padding: `same` if it is padded as TensorFlow does; None where both ways of padding are equal.
        norm: dotted name of the batch norm; empty if there is none.
        epsilon: what the batch norm adds to the variance.
        activation: the activation after it.
    """

    name: str
    conv: Conv
    stride: int = 1
    padding: Padding | None = None
    norm: str = ""
    epsilon: float = 0.0
    activation: Activation | None = None

    @property
    def depthwise(self) -> bool:
        """Whether each channel is convolved by itself."""
        return self.conv.groups == self.conv.in_channels == self.conv.out_channels


@dataclass(frozen=True)
class Squeeze:
    """Squeeze-excite: its two convolutions, the activation between them, and the function of the gate."""

    squeeze: Layer
    excite: Layer
    activation: Activation
    gate: str


def read_layers(modules: NamedModules) -> list[Layer | Squeeze]:
    """Return the layers of modules.

    Raises:
        SpaceError: a module is none that spaces have.
    """
    layers: list[Layer | Squeeze] = []
    for name, module in (leaf for each in modules for leaf in _leaves(*each)):
        kind = type(module).__name__
        if kind in SQUEEZE_EXCITES:
            layers.append(_squeeze(name, module))
        elif isinstance(module, nn.Conv2d | nn.Linear):
            layers.append(_layer(name, module))
        elif kind not in PASSED:
            layers[-1:] = [_with_next(layers[-1:], name, module)]
    return layers


def _leaves(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that compute, of a block or of what runs its modules one after the other."""
    norm = isinstance(module, nn.BatchNorm2d)
    children = list(module.named_children())
    if norm or not children or isinstance(module, nn.Conv2d) or type(module).__name__ in SQUEEZE_EXCITES:
        yield name, module
        # timm's batch norms hold the activation.
        children = children if norm else []
    for child_name, child in children:
        if list(child.children()) and type(child).__name__ not in SEQUENCES:
            raise SpaceError(f"{name}.{child_name} is a {type(child).__name__}: spaces have no such layer")
        yield from _leaves(f"{name}.{child_name}", child)


def _with_next(before: Iterable[Layer | Squeeze], name: str, module: nn.Module) -> Layer:
    """Return a layer with the batch norm or the activation that follows it."""
    kind = type(module).__name__
    layer = next(iter(before), None)
    if isinstance(layer, Layer) and layer.activation is None:
        if isinstance(module, nn.BatchNorm2d) and not layer.norm:
            return replace(layer, conv=replace(layer.conv, norm=True), norm=name, epsilon=module.eps)
        if kind in ACTIVATIONS:
            return replace(layer, activation=ACTIVATIONS[kind])
    raise SpaceError(
        f"{name} is a {kind}: expected convolutions, each followed by at most one BatchNorm2d and one activation of "
        f"{', '.join(dict.fromkeys(ACTIVATIONS.values()))}; spaces have no other layers"
    )


def _layer(name: str, module: nn.Conv2d | nn.Linear) -> Layer:
    bias = module.bias is not None
    if isinstance(module, nn.Linear):
        return Layer(name, Conv(module.in_features, module.out_features, 1, 1, 0, bias=bias, norm=False))
    kernel, stride = module.kernel_size[0], module.stride[0]
    square = module.kernel_size == (kernel, kernel) and tuple(module.stride) == (stride, stride)
    if not square or module.dilation != (1, 1) or module.padding_mode != "zeros":
        raise SpaceError(f"{name}: expected a square convolution without dilation, padded with zeros, got {module}")
    shape = Conv(module.in_channels, module.out_channels, kernel, module.groups, 0, bias=bias, norm=False)
    return Layer(name, shape, stride, _padding(name, module, kernel, stride))


def _padding(name: str, module: nn.Conv2d, kernel: int, stride: int) -> Padding | None:
    if type(module).__name__ in SAME_PADDED or module.padding == "same":
        return "same" if stride > 1 and kernel > 1 else None
    if module.padding != (kernel // 2, kernel // 2):
        raise SpaceError(f"{name}: expected padding of {kernel // 2} pixels, half of its kernel, got {module.padding}")
    return "symmetric" if stride > 1 and kernel > 1 else None


def _squeeze(name: str, module: Any) -> Squeeze:
    squeeze, activation, excite, gate = SQUEEZE_EXCITES[type(module).__name__]
    kinds = [type(getattr(module, attribute)).__name__ for attribute in (activation, gate)]
    if kinds[0] not in ACTIVATIONS or kinds[1] not in GATES:
        raise SpaceError(
            f"{name}: squeeze-excite has activation {kinds[0]} and gate {kinds[1]}: expected one of "
            f"{', '.join(ACTIVATIONS)} and one of {', '.join(GATES)}"
        )
    first, second = (_layer(f"{name}.{attribute}", getattr(module, attribute)) for attribute in (squeeze, excite))
    return Squeeze(first, second, ACTIVATIONS[kinds[0]], GATES[kinds[1]])
