"""Subnet: a plain network built from BlockSpecs, which is scored, measured and exported.

A supernet runs through modules of the same classes, with weights sliced out of its own (see `supernet.supernet`), so
each block kind has one forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from edgenas.errors import UncalibratedError
from edgenas.space.blocks.spec import BlockSpec
from edgenas.supernet.blocks import build_block
from edgenas.supernet.pixels import Pixels

if TYPE_CHECKING:
    from edgenas.space.arch import Arch


def module_name(spec: BlockSpec) -> str:
    """Return the name of a block's module: `stage2_block1` for `stage2.block1`, since torch allows no dots."""
    return spec.name.replace(".", "_")


class Subnet(nn.Module):
    """Network of one architecture.

    Attributes:
        arch: architecture, or None for networks of BlockSpecs for timing.
        specs: BlockSpecs of the network.
        pixels: normalisation of the inputs.
        calibration_images: number of training images that the batch-norm statistics were recalibrated on. Scoring and
            export refuse a subnet with 0.
    """

    def __init__(self, specs: Sequence[BlockSpec], arch: Arch | None = None, pixels: Pixels | None = None):
        super().__init__()
        self.arch = arch
        self.specs = tuple(specs)
        self.pixels = pixels or Pixels()
        self.calibration_images = 0
        self.blocks = nn.ModuleDict({module_name(spec): build_block(spec) for spec in specs})

    @property
    def resolution(self) -> int:
        """Return the height and width of inputs in pixels."""
        return self.specs[0].in_size

    @property
    def calibrated(self) -> bool:
        """Return whether batch-norm statistics were recalibrated for this subnet."""
        return self.calibration_images > 0

    def require_calibrated(self, purpose: str) -> None:
        """Raise an error unless batch-norm statistics were recalibrated for this subnet.

        Raises:
            UncalibratedError: `calibrated` is false.
        """
        if not self.calibrated:
            raise UncalibratedError(
                f"{purpose}: expected a calibrated subnet, {self.arch or 'this one'} has the supernet's batch-norm "
                "statistics: use edgenas.materialise(net, arch, images) instead of net.extract(arch)"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map preprocessed images (n, 3, resolution, resolution) to logits (n, classes)."""
        for block in self.blocks.values():
            x = block(x)
        return x
