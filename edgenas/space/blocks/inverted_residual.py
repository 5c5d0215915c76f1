"""The inverted residual (MobileNetV2, arXiv 1801.04381; with squeeze-excite MobileNetV3, arXiv 1905.02244)."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar, Literal

from edgenas.space.blocks.expanding import ExpandingGenes, ExpandingSpec, expanded_channels
from edgenas.space.blocks.genes import optional_gene
from edgenas.space.blocks.spec import LANES, Activation, BlockSpec, Conv, dimension, make_divisible, option
from edgenas.space.blocks.stage import Expands, Kernels, PositiveInt, SpacePart, SqueezeRatios, Stage
from edgenas.space.graph_variant import GraphVariant

SE_RATIO = 0.25
SQUEEZED_CHANNELS = 8
"""Channels of squeeze-excite in graphs that stand for others."""


Gate = Literal["hardsigmoid", "sigmoid"]
GATE_OPERATORS: dict[Gate, str] = {"hardsigmoid": "HardSigmoid", "sigmoid": "Sigmoid"}
"""ONNX operators of the gates."""


class SqueezeForm(SpacePart):
    """How squeeze-excite is built; the defaults are MobileNetV3's.

    Attributes:
        base: channels that the squeezed ones are a share of: the expanded channels, or the block's input.
        divisor: squeezed channels are a multiple of it.
        activation: activation of the squeezed channels.
        gate: function that makes a factor of each channel.
    """

    base: Literal["expanded", "input"] = "expanded"
    divisor: PositiveInt = 8
    activation: Activation = "relu"
    gate: Gate = "hardsigmoid"

    def channels(self, in_channels: int, mid_channels: int, ratio: float = SE_RATIO) -> int:
        """Return the squeezed channels of a block; 0 where the ratio is 0."""
        base = mid_channels if self.base == "expanded" else in_channels
        return make_divisible(int(base * ratio), self.divisor) if ratio else 0


@dataclass(frozen=True, order=True)
class InvertedResidualGenes(ExpandingGenes):
    """Depthwise kernel size, expand ratio, in text `k3e4`; squeeze-excite's ratio where it is a choice, `k3e4s0.25`."""

    prefix: ClassVar[str] = ""
    _: KW_ONLY
    squeeze_excite: float | None = optional_gene("s")


@dataclass(frozen=True)
class InvertedResidualSpec(ExpandingSpec):
    """Expand 1×1, depthwise, squeeze-excite, project 1×1.

    There is no expand convolution where `mid_channels == in_channels`, no squeeze-excite where `se_channels == 0`, and
    a shortcut where stride is 1 and channels stay.
    """

    kind: ClassVar[str] = "ir"
    switches: ClassVar[tuple[str, ...]] = ("expands", "residual", "unaligned")
    se_channels: int = dimension("se", optional=True)
    activation: Activation = dimension("")
    squeeze_activation: Activation = option("relu", "relu6", "hardswish", "silu", prefix="squeeze")
    gate: Gate = option("hardsigmoid", "sigmoid", prefix="gate")

    @property
    def expands(self) -> bool:
        """Whether there is an expand convolution."""
        return self.mid_channels != self.in_channels

    @property
    def unaligned(self) -> bool:
        """Whether the depthwise channels fill no whole number of vectors of `LANES`."""
        return self.mid_channels % LANES != 0

    @property
    def description(self) -> str:
        """The operators in words."""
        parts = [f"inverted residual {self.kernel} × {self.kernel}", f"{self.mid_channels} channels inside"]
        if self.stride > 1:
            parts.append(f"stride {self.stride}")
        if self.se_channels:
            parts.append("squeeze-excite")
        if self.residual:
            parts.append("shortcut")
        return ", ".join([*parts, self.activation])

    @property
    def wide_elements(self) -> int:
        """Elements that the depthwise convolution reads and writes."""
        return self.mid_channels * (self.in_size**2 + self.out_size**2)

    @property
    def gates(self) -> int:
        """1 with squeeze-excite, else 0."""
        return int(self.se_channels > 0)

    def convs(self) -> list[Conv]:
        """Return expand, depthwise, squeeze-excite's two, project."""
        mid, size = self.mid_channels, self.out_size
        convs = [Conv(self.in_channels, mid, 1, 1, self.in_size, bias=False, norm=True)] if self.expands else []
        convs.append(Conv(mid, mid, self.kernel, mid, size, bias=False, norm=True))
        if self.se_channels:
            convs.append(Conv(mid, self.se_channels, 1, 1, 1, bias=True, norm=False))
            convs.append(Conv(self.se_channels, mid, 1, 1, 1, bias=True, norm=False))
        return [*convs, Conv(mid, self.out_channels, 1, 1, size, bias=False, norm=True)]

    def peak_activation_elements(self, variant: GraphVariant = "direct") -> int:
        """Return the largest of: expanding, depthwise, scaling, projecting, adding; a shortcut keeps the input."""
        inner, outer = self.in_size**2, self.out_size**2
        source = self.in_channels * inner
        shortcut = source if self.residual else 0
        wide_in, wide_out = self.mid_channels * inner, self.mid_channels * outer
        target = self.out_channels * outer
        steps = [wide_in + wide_out + (shortcut if self.expands else 0), wide_out + target + shortcut]
        if self.expands:
            steps.append(source + wide_in)
        if self.se_channels:
            # Scaling reads the wide tensor and the gate. The squeezed vector rarely outdoes so small a tensor.
            steps.append(wide_out + self.mid_channels + max(wide_out, self.se_channels) + shortcut)
        if self.se_channels and variant == "blocked" and outer > 1:
            # Instead of the gate, its spread copy is multiplied.
            steps.append(3 * wide_out + shortcut)
        if self.residual:
            steps.append(source + 2 * target)
        return max(steps)

    def with_channels(self, into: int, out: int, inner: int) -> BlockSpec:
        """Return a block of other channels that expands, adds and squeezes where this one does."""
        return replace(
            self,
            in_channels=into,
            out_channels=into if self.residual else out,
            mid_channels=inner if self.expands else into,
            se_channels=SQUEEZED_CHANNELS if self.se_channels else 0,
        )


class InvertedResidualStage(Stage):
    """A stage of inverted residuals; squeeze-excite is fixed for all of its blocks, or a choice of each."""

    spec = InvertedResidualSpec
    genes = InvertedResidualGenes
    block: Literal["ir"] = "ir"
    kernel: Kernels
    expand: Expands
    squeeze_excite: SqueezeRatios
    squeeze: SqueezeForm = SqueezeForm()

    @property
    def unwritten(self) -> list[Any]:
        """Stride, activation, squeeze-excite and its form."""
        form = self.squeeze.model_dump(exclude_defaults=True)
        return [self.stride, self.fixed("activation"), self.fixed("squeeze_excite"), *([form] if form else [])]

    def make_spec(
        self, before: BlockSpec, width: int, genes: InvertedResidualGenes, stride: int, name: str
    ) -> InvertedResidualSpec:
        """Return the BlockSpec of one block; a ratio of 1 leaves out the expand convolution."""
        in_channels = before.out_channels
        mid = expanded_channels(in_channels, genes.expand) if genes.expand != 1 else in_channels
        squeezed = self.squeeze.channels(in_channels, mid, self._squeeze_ratio(genes))
        form = self.squeeze if squeezed else SqueezeForm()
        return InvertedResidualSpec(
            in_channels=in_channels,
            in_size=before.out_size,
            mid_channels=mid,
            out_channels=width,
            kernel=genes.kernel,
            stride=stride,
            se_channels=squeezed,
            activation=self.activation_of(genes),
            name=name,
            squeeze_activation=form.activation,
            gate=form.gate,
        )

    def _squeeze_ratio(self, genes: InvertedResidualGenes) -> float:
        ratio = self.squeeze_excite if genes.squeeze_excite is None else genes.squeeze_excite
        assert not isinstance(ratio, tuple)
        return SE_RATIO if ratio is True else float(ratio)

    def without_squeeze_excite(self, operator: str) -> InvertedResidualStage:
        """Return the stage without squeeze-excite, unless its gate is of another function than `operator`."""
        if operator in GATE_OPERATORS.values() and operator != GATE_OPERATORS[self.squeeze.gate]:
            return self
        is_gene = "squeeze_excite" in self.gene_names
        return self.model_copy(update={"squeeze_excite": (0,) if is_gene else False})

    def without_activation(self, activation: Activation) -> InvertedResidualStage:
        """Return the stage with relu instead of an activation, in squeeze-excite, too."""
        stage = super().without_activation(activation)
        if not self.squeeze_excite or self.squeeze.activation != activation:
            return stage
        return stage.model_copy(update={"squeeze": self.squeeze.model_copy(update={"activation": "relu"})})


STAGE = InvertedResidualStage
