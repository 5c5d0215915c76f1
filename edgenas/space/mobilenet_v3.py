"""MobileNetV3-Small as BlockSpecs, scaled by width: a baseline that designers would take instead of a search.

Channels are torchvision's (`mobilenet_v3_small`, after arXiv 1905.02244, table 2), and a test compares them. Two
things differ from torchvision's network: the middle layer of the head has no bias, and there is no dropout.
"""

from __future__ import annotations

import math

from edgenas.space.blocks.head import HeadSpec
from edgenas.space.blocks.inverted_residual import InvertedResidualSpec, SqueezeForm
from edgenas.space.blocks.spec import Activation, BlockSpec, make_divisible
from edgenas.space.blocks.stem import StemSpec

STEM, LAST_TIMES, FEATURES = 16, 6, 1024
"""Channels of the first convolution; of the last one, as a multiple of its inputs; of the layer behind the pool."""
RELU: Activation = "relu"
HARDSWISH: Activation = "hardswish"
BLOCKS: tuple[tuple[int, int, int, bool, Activation, int], ...] = (
    (3, 16, 16, True, RELU, 2),
    (3, 72, 24, False, RELU, 2),
    (3, 88, 24, False, RELU, 1),
    (5, 96, 40, True, HARDSWISH, 2),
    (5, 240, 40, True, HARDSWISH, 1),
    (5, 240, 40, True, HARDSWISH, 1),
    (5, 120, 48, True, HARDSWISH, 1),
    (5, 144, 48, True, HARDSWISH, 1),
    (5, 288, 96, True, HARDSWISH, 2),
    (5, 576, 96, True, HARDSWISH, 1),
    (5, 576, 96, True, HARDSWISH, 1),
)
"""Kernel, expanded and output channels, squeeze-excite, activation, stride."""
WHOLE_STRIDE = 32
IMAGE_CHANNELS = 3


def mobilenet_v3_small(
    num_classes: int, resolution: int, *, width: float = 1.0, stride: int = WHOLE_STRIDE
) -> tuple[BlockSpec, ...]:
    """Return the network as BlockSpecs: stem, blocks, head.

    Args:
        num_classes: number of logits.
        resolution: input height and width in pixels.
        width: factor of all channels, which are then rounded to multiples of 8.
        stride: stride of the whole network, a power of two. At 32, small images shrink to a pixel. Below 32, the first
            strides become 1, as is usual where networks for ImageNet are given small images.
    """
    first, *strides = _strides(stride)
    stem = StemSpec(
        in_channels=IMAGE_CHANNELS,
        in_size=resolution,
        out_channels=_scaled(STEM, width),
        kernel=3,
        stride=first,
        activation=HARDSWISH,
        name="stem",
    )
    specs: list[BlockSpec] = [stem]
    for number, (row, block_stride) in enumerate(zip(BLOCKS, strides, strict=True)):
        kernel, expanded, out, squeezes, activation, _ = row
        mid = _scaled(expanded, width)
        specs.append(
            InvertedResidualSpec(
                in_channels=specs[-1].out_channels,
                in_size=specs[-1].out_size,
                mid_channels=mid,
                out_channels=_scaled(out, width),
                kernel=kernel,
                stride=block_stride,
                se_channels=SqueezeForm().channels(0, mid) if squeezes else 0,
                activation=activation,
                name=f"block{number}",
            )
        )
    last = specs[-1]
    head = HeadSpec(
        in_channels=last.out_channels,
        in_size=last.out_size,
        width=LAST_TIMES * last.out_channels,
        features=_scaled(FEATURES, width),
        out_channels=num_classes,
        activation=HARDSWISH,
        name="head",
    )
    return (*specs, head)


def _scaled(channels: int, width: float) -> int:
    return make_divisible(channels * width)


def _strides(whole: int) -> list[int]:
    """Return the strides of the stem and the blocks, whose product is `whole`: the first ones become 1 first."""
    dropped = round(math.log2(WHOLE_STRIDE / whole))
    strides = [2, *(row[-1] for row in BLOCKS)]
    assert 2**dropped * whole == WHOLE_STRIDE
    for index in [index for index, stride in enumerate(strides) if stride == 2][:dropped]:
        strides[index] = 1
    return strides
