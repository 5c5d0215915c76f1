"""Computed costs of a network: MACs, parameters, weight bytes, peak activation bytes.

They are counted on BlockSpecs at batch 1. Latency is measured on a device instead (see `edgenas.latency`).

Peak activation bytes follow these rules, under which a count over the exported graph gives the same number
(`edgenas.deploy.inspection.graph_cost`). Operators run one after the other. Each writes a new tensor while all that it
reads is alive: also the sum of a shortcut and the scaling of squeeze-excite, which a runtime may do in place. Batch
norm and activations are part of the convolution before them, so only its result counts, once. A block's input is alive
until it was last read: to the end of the block where there is a shortcut. The vectors of squeeze-excite count. Weights,
the working memory of kernels, and channels that a runtime pads do not count: `edgenas inspect` measures the memory that
a process takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from edgenas.space.blocks.head import HeadSpec
from edgenas.space.blocks.spec import BlockSpec, Conv
from edgenas.space.blocks.stem import StemSpec
from edgenas.space.graph_variant import GraphVariant

FP32_BYTES, INT32_BYTES, INT8_BYTES = 4, 4, 1


@dataclass(frozen=True)
class Cost:
    """Costs of a block or a network.

    Attributes:
        macs: multiply-accumulates of convolutions and linear layers, as torch's FlopCounterMode counts
            them (it counts two operations each).
        params: trainable parameters, batch norm's included.
        weight_bytes: fp32 bytes of weights and biases once batch norm is folded, as deployed.
        peak_activation_bytes: most fp32 activation bytes alive at once, by the rules above.
    """

    macs: int
    params: int
    weight_bytes: int
    peak_activation_bytes: int

    def to_json(self) -> dict[str, int]:
        """Return the mapping that manifests hold."""
        return asdict(self)


def cost(specs: Sequence[BlockSpec], variant: GraphVariant = "direct") -> Cost:
    """Return the costs of a network; its peak activation bytes are those of the graph variant."""
    convs = [conv for spec in specs for conv in spec.convs()]
    return Cost(
        macs=sum(conv.macs for conv in convs),
        params=sum(map(_params, convs)),
        weight_bytes=FP32_BYTES * sum(map(_deployed_weights, convs)),
        peak_activation_bytes=FP32_BYTES * max(spec.peak_activation_elements(variant) for spec in specs),
    )


def int8_weight_bytes(specs: Sequence[BlockSpec]) -> int:
    """Return the bytes of a network's weights and biases in its int8 file, whose stem and classifier stay fp32.

    A layer's weights are int8, with a scale (fp32) and a zero point (int8) for each output channel; its biases are
    int32, with a scale (fp32) and a zero point (int32) each. A count over the quantised file gives the same number
    (`deploy.graph_cost.Graph.weight_bytes`). Scales and zero points of activations are not counted.
    """
    return sum(_int8_block_bytes(spec) for spec in specs)


def _int8_block_bytes(spec: BlockSpec) -> int:
    convs = spec.convs()
    # By the order of the layers: the classifier is the head's last one.
    floats = convs if isinstance(spec, StemSpec) else convs[-1:] if isinstance(spec, HeadSpec) else []
    quantised = convs[: len(convs) - len(floats)]
    return FP32_BYTES * sum(map(_deployed_weights, floats)) + sum(map(_int8_bytes, quantised))


def _int8_bytes(conv: Conv) -> int:
    by_channel = FP32_BYTES + INT8_BYTES + (conv.norm or conv.bias) * (2 * INT32_BYTES + FP32_BYTES)
    return INT8_BYTES * conv.weights + conv.out_channels * by_channel


def _params(conv: Conv) -> int:
    return conv.weights + conv.out_channels * (2 * conv.norm + conv.bias)


def _deployed_weights(conv: Conv) -> int:
    return conv.weights + conv.out_channels * (conv.norm or conv.bias)
