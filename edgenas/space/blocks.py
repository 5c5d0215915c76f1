"""BlockSpec: the one description of a network's parts. Supernet, cost, table keys and export read it.

A network is a tuple of BlockSpecs: stem, blocks, head. Each knows its shapes, so that nobody else does
shape arithmetic; its text form is the key of latency tables, e.g. `ir_i24_r56_o40_m96_k5_s2_se24_hardswish`.
A new kind of block is a new class here, its module in `supernet`, and a line in `KINDS`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, get_args

from edgenas.errors import SpaceError, shown
from edgenas.space.graph_variant import GraphVariant

Activation = Literal["relu", "hardswish"]
LANES = 16
"""Channels that runtimes' int8 depthwise kernels take at a time; other numbers of channels were 2 to 3 times slower."""


def _dimension(letter: str) -> Any:
    return field(metadata={"letter": letter})


@dataclass(frozen=True)
class Conv:
    """A convolution (or, at size 1, a linear layer) as a BlockSpec is made of: what costs are counted on."""

    in_channels: int
    out_channels: int
    kernel: int
    groups: int
    out_size: int
    bias: bool
    norm: bool


@dataclass(frozen=True)
class BlockSpec(ABC):
    """One part of a network: square input of `in_size` pixels, `in_channels` channels.

    `name` says where it stands (`stage2.block1`) and is no part of its identity: two blocks of equal shapes
    cost the same wherever they stand.
    """

    kind: ClassVar[str]
    name: str = field(compare=False, kw_only=True, default="")
    in_channels: int = _dimension("i")
    in_size: int = _dimension("r")
    out_channels: int = _dimension("o")

    @property
    def key(self) -> str:
        """The text form: the kind, then every dimension behind its letter."""
        tokens = [f"{d.metadata['letter']}{getattr(self, d.name)}" for d in _dimensions(type(self))]
        return "_".join([self.kind, *tokens])

    @property
    @abstractmethod
    def out_size(self) -> int:
        """Output height and width in pixels."""

    @abstractmethod
    def convs(self) -> list[Conv]:
        """Its convolutions and linear layers, in order."""

    @abstractmethod
    def peak_activation_elements(self, variant: GraphVariant = "direct") -> int:
        """Most activation elements alive at once, activations fused into convolutions, batch 1."""


def _dimensions(kind: type[BlockSpec]) -> list[Any]:
    return [f for f in fields(kind) if "letter" in f.metadata]


def conv_out_size(in_size: int, stride: int) -> int:
    """Output size of an odd-kernel convolution padded by kernel // 2: ceil(in_size / stride)."""
    return -(-in_size // stride)


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, never below 90 % of `value` (MobileNetV2 reference code)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclass(frozen=True)
class StemSpec(BlockSpec):
    """The first convolution: conv, batch norm, activation."""

    kind: ClassVar[str] = "stem"
    kernel: int = _dimension("k")
    stride: int = _dimension("s")
    activation: Activation = _dimension("")

    @property
    def out_size(self) -> int:
        """Output height and width in pixels."""
        return conv_out_size(self.in_size, self.stride)

    def convs(self) -> list[Conv]:
        """The one convolution."""
        return [Conv(self.in_channels, self.out_channels, self.kernel, 1, self.out_size, bias=False, norm=True)]

    def peak_activation_elements(self, variant: GraphVariant = "direct") -> int:
        """Input and output."""
        return self.in_channels * self.in_size**2 + self.out_channels * self.out_size**2


@dataclass(frozen=True)
class InvertedResidualSpec(BlockSpec):
    """Inverted residual (MobileNetV2, arXiv 1801.04381; with squeeze-excite MobileNetV3, arXiv 1905.02244).

    Expand 1×1 (absent where `mid_channels == in_channels`), depthwise, squeeze-excite (absent where
    `se_channels == 0`), project 1×1; a shortcut where stride is 1 and channels stay.
    """

    kind: ClassVar[str] = "ir"
    mid_channels: int = _dimension("m")
    kernel: int = _dimension("k")
    stride: int = _dimension("s")
    se_channels: int = _dimension("se")
    activation: Activation = _dimension("")

    @property
    def out_size(self) -> int:
        """Output height and width in pixels."""
        return conv_out_size(self.in_size, self.stride)

    @property
    def expands(self) -> bool:
        """Whether there is an expand convolution."""
        return self.mid_channels != self.in_channels

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.in_channels == self.out_channels

    @property
    def unaligned(self) -> bool:
        """Whether the depthwise channels fill no whole number of vectors of `LANES`."""
        return self.mid_channels % LANES != 0

    def convs(self) -> list[Conv]:
        """Expand, depthwise, squeeze-excite's two, project."""
        mid, size = self.mid_channels, self.out_size
        expand = Conv(self.in_channels, mid, 1, 1, self.in_size, bias=False, norm=True)
        depthwise = Conv(mid, mid, self.kernel, mid, size, bias=False, norm=True)
        squeeze = Conv(mid, self.se_channels, 1, 1, 1, bias=True, norm=False)
        excite = Conv(self.se_channels, mid, 1, 1, 1, bias=True, norm=False)
        project = Conv(mid, self.out_channels, 1, 1, size, bias=False, norm=True)
        return [expand] * self.expands + [depthwise] + [squeeze, excite] * (self.se_channels > 0) + [project]

    def peak_activation_elements(self, variant: GraphVariant = "direct") -> int:
        """The largest of: expanding, depthwise, scaling, projecting, adding; a shortcut keeps the input alive."""
        inner, outer = self.in_size**2, self.out_size**2
        source = self.in_channels * inner
        kept = source if self.residual else 0
        wide_in, wide_out = self.mid_channels * inner, self.mid_channels * outer
        target = self.out_channels * outer
        steps = [wide_in + wide_out + (kept if self.expands else 0), wide_out + target + kept]
        if self.expands:
            steps.append(source + wide_in)
        if self.se_channels:
            # Scaling reads the wide tensor and the gate; so small a tensor that the squeezed vector outdoes it is rare.
            steps.append(wide_out + self.mid_channels + max(wide_out, self.se_channels) + kept)
        if self.se_channels and variant == "blocked" and outer > 1:
            # Instead of the gate, its spread copy is multiplied.
            steps.append(3 * wide_out + kept)
        if self.residual:
            steps.append(source + 2 * target)
        return max(steps)


@dataclass(frozen=True)
class HeadSpec(BlockSpec):
    """Conv 1×1, global average pool, an optional linear feature layer with activation, classifier.

    `features == 0` means no feature layer; `out_channels` is the number of classes.
    """

    kind: ClassVar[str] = "head"
    width: int = _dimension("w")
    features: int = _dimension("f")
    activation: Activation = _dimension("")

    @property
    def out_size(self) -> int:
        """1: the output is a vector of logits."""
        return 1

    def convs(self) -> list[Conv]:
        """Conv 1×1, feature layer, classifier."""
        conv = Conv(self.in_channels, self.width, 1, 1, self.in_size, bias=False, norm=True)
        mix = Conv(self.width, self.features, 1, 1, 1, bias=False, norm=False)
        last = self.features or self.width
        return [conv] + [mix] * (self.features > 0) + [Conv(last, self.out_channels, 1, 1, 1, bias=True, norm=False)]

    def peak_activation_elements(self, variant: GraphVariant = "direct") -> int:
        """The 1×1 convolution's input and output, or the vectors behind the pool."""
        conv = (self.in_channels + self.width) * self.in_size**2
        pooled = self.width * self.in_size**2 + self.width
        last = self.features or self.width
        return max(conv, pooled, self.width + self.features, last + self.out_channels)


KINDS: dict[str, type[BlockSpec]] = {cls.kind: cls for cls in (StemSpec, InvertedResidualSpec, HeadSpec)}


def parse_block(key: str) -> BlockSpec:
    """Read a table key back into its BlockSpec.

    Raises:
        SpaceError: unknown kind, or dimensions that do not fit it.
    """
    kind, *tokens = key.split("_")
    if kind not in KINDS:
        raise SpaceError(f"block {shown(key)}: unknown kind {shown(kind)}; valid: {', '.join(KINDS)}")
    dimensions = _dimensions(KINDS[kind])
    if len(tokens) != len(dimensions):
        raise SpaceError(f"block {shown(key)}: wanted {len(dimensions)} dimensions behind {kind!r}, got {len(tokens)}")
    values: dict[str, Any] = {
        f.name: _parse_token(token, f.metadata["letter"], key) for token, f in zip(tokens, dimensions, strict=True)
    }
    return KINDS[kind](**values)


def _parse_token(token: str, letter: str, key: str) -> int | str:
    if not letter and token in get_args(Activation):
        return token
    # Nothing but squeeze-excite and the feature layer can be absent.
    number = r"[0-9]{1,9}" if letter in ("se", "f") else r"[1-9][0-9]{0,8}"
    if letter and re.fullmatch(letter + number, token):
        return int(token[len(letter) :])
    wanted = f"{letter} and a number" if letter else f"one of {', '.join(get_args(Activation))}"
    raise SpaceError(f"block {shown(key)}: wanted {wanted}, got {shown(token)}")
