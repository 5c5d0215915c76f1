"""BlockSpec: the description of one part of a network, by its dimensions."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, Literal, Self, get_args

from edgenas.errors import SpaceError, shown
from edgenas.space.graph_variant import GraphVariant

Activation = Literal["relu", "relu6", "hardswish", "silu"]
Padding = Literal["symmetric", "same"]
NORM_EPSILON = 1e-5
"""What batch norm adds to the variance, unless a space states another value; torch's default."""
LANES = 16
"""Channels that runtimes' int8 depthwise kernels take at a time; other numbers of channels were 2 to 3 times slower."""


def dimension(letter: str, *, optional: bool = False) -> Any:
    """Return the field of a dimension that follows `letter` in the text form; an `optional` one may be 0 (absent)."""
    return field(metadata={"letter": letter, "optional": optional})


def option(default: str, *others: str, prefix: str = "") -> Any:
    """Return the field of an option, whose token in the text form, `prefix` and value, is left out for `default`."""
    tokens = {prefix + value: value for value in others}
    return field(metadata={"tokens": tokens}, kw_only=True, default=default)


@dataclass(frozen=True)
class Conv:
    """A convolution (or, at size 1, a linear layer) of a BlockSpec; costs are counted on these."""

    in_channels: int
    out_channels: int
    kernel: int
    groups: int
    out_size: int
    bias: bool
    norm: bool

    @property
    def weights(self) -> int:
        """Number of weights, biases not counted."""
        return self.out_channels * (self.in_channels // self.groups) * self.kernel**2

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.weights * self.out_size**2


@dataclass(frozen=True)
class BlockSpec(ABC):
    """One part of a network: square input of `in_size` pixels, `in_channels` channels.

    Attributes:
        kind: name of the block kind, which begins the text form.
        switches: properties that latency depends on beside the dimensions; each is true or false.
        name: position in the network (`stage2.block1`). It is excluded from equality: two blocks of equal shapes
            cost the same at any position.
        norm_epsilon: what batch norm adds to the variance. It is excluded from equality, too: deployed, batch norm is
            part of the convolutions.
        padding: `same` pads as TensorFlow does where a stride is above 1: as little as is needed, and the odd pixel at
            the bottom and on the right.
    """

    kind: ClassVar[str]
    switches: ClassVar[tuple[str, ...]] = ()
    name: str = field(compare=False, kw_only=True, default="")
    norm_epsilon: float = field(compare=False, kw_only=True, default=NORM_EPSILON)
    padding: Padding = option("symmetric", "same")
    in_channels: int = dimension("i")
    in_size: int = dimension("r")
    out_channels: int = dimension("o")

    @property
    def key(self) -> str:
        """The text form: the kind, then every dimension after its letter, then options that are not the default."""
        tokens = [f"{each.metadata['letter']}{getattr(self, each.name)}" for each in self.dimensions()]
        return "_".join([self.kind, *tokens, *self.option_tokens])

    @property
    def family(self) -> str:
        """The kind and the options that are not the default: latencies are regressed over blocks of one family."""
        return "_".join([self.kind, *self.option_tokens])

    @property
    def option_tokens(self) -> list[str]:
        """Tokens of the options that are not the default."""
        return [
            token
            for each in self.options()
            for token, value in each.metadata["tokens"].items()
            if getattr(self, each.name) == value
        ]

    @classmethod
    def dimensions(cls) -> list[Field[Any]]:
        """Return the dataclass fields that the text form holds, in its order."""
        return [each for each in fields(cls) if "letter" in each.metadata]

    @classmethod
    def options(cls) -> list[Field[Any]]:
        """Return the dataclass fields of options, in the order of their tokens."""
        return [each for each in fields(cls) if "tokens" in each.metadata]

    @classmethod
    def parse(cls, key: str) -> Self:
        """Read a text form of this kind back.

        Raises:
            SpaceError: the dimensions do not fit the kind.
        """
        _, *tokens = key.split("_")
        dimensions = cls.dimensions()
        if len(tokens) < len(dimensions):
            raise SpaceError(
                f"block {shown(key)}: expected {len(dimensions)} dimensions after {cls.kind!r}, got {len(tokens)}"
            )
        values: dict[str, Any] = {
            each.name: _parse_token(token, each, key) for token, each in zip(tokens, dimensions, strict=False)
        }
        return cls(**values, **cls._parse_options(tokens[len(dimensions) :], key))

    @classmethod
    def _parse_options(cls, tokens: list[str], key: str) -> dict[str, Any]:
        valid = {
            token: (each.name, value) for each in cls.options() for token, value in each.metadata["tokens"].items()
        }
        if list(tokens) != [token for token in valid if token in tokens]:
            unknown = next((token for token in tokens if token not in valid), "_".join(tokens))
            raise SpaceError(
                f"block {shown(key)}: after its dimensions, expected {', '.join(valid)}, got {shown(unknown)}"
            )
        return dict(valid[token] for token in tokens)

    @property
    @abstractmethod
    def out_size(self) -> int:
        """Output height and width in pixels."""

    @property
    @abstractmethod
    def description(self) -> str:
        """The block's operators in words, for reports."""

    @property
    def wide_elements(self) -> int:
        """Elements of the expanded activations, which a block reads or writes besides its input and output."""
        return 0

    @property
    def gates(self) -> int:
        """Number of squeeze-excite gates."""
        return 0

    @abstractmethod
    def convs(self) -> list[Conv]:
        """Return the convolutions and linear layers, in order."""

    @abstractmethod
    def peak_activation_elements(self, variant: GraphVariant = "direct") -> int:
        """Return the most activation elements alive at once, activations fused into convolutions, batch 1."""

    @abstractmethod
    def with_channels(self, into: int, out: int, inner: int) -> BlockSpec:
        """Return a block whose exported graph has the same nodes, at the given numbers of channels.

        Args:
            into: input channels.
            out: output channels, where these may differ from the input's.
            inner: channels of expanded activations, where these may differ from the input's.
        """


def _parse_token(token: str, each: Field[Any], key: str) -> int | str:
    letter = each.metadata["letter"]
    if not letter and token in get_args(Activation):
        return token
    number = r"[0-9]{1,9}" if each.metadata["optional"] else r"[1-9][0-9]{0,8}"
    if letter and re.fullmatch(letter + number, token):
        return int(token[len(letter) :])
    expected = f"{letter} and a number" if letter else f"one of {', '.join(get_args(Activation))}"
    raise SpaceError(f"block {shown(key)}: expected {expected}, got {shown(token)}")


def conv_out_size(in_size: int, stride: int) -> int:
    """Return the output size of an odd-kernel convolution padded by kernel // 2: ceil(in_size / stride)."""
    return -(-in_size // stride)


def same_pads(in_size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the pixels of padding before and after the image with which TensorFlow's `same` gives `conv_out_size`."""
    missing = max((conv_out_size(in_size, stride) - 1) * stride + kernel - in_size, 0)
    return missing // 2, missing - missing // 2


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, never below 90 % of `value` (MobileNetV2 reference code)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded
