"""From the supernet to a subnet that may be scored, and its score.

`materialise` is the only way to a calibrated subnet: the supernet's batch-norm statistics mix those of all
archs, and a subnet scored with them is near chance (once-for-all, BigNAS section 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgenas.errors import DataError
from edgenas.space.arch import Arch
from edgenas.supernet.folding import folded
from edgenas.supernet.pixels import Pixels
from edgenas.supernet.subnet import Subnet, module_device
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data.preprocess import Preprocess
from edgenas.training.data.split import Split

BATCH_SIZE = 128
CALIBRATION_IMAGES = 2048
"""Images that recalibrate a subnet, where nothing else is asked for."""
TOLERATED_SHARE, TOLERATED_IMAGES = 0.002, 2
"""Largest change of a recomputed top-1, as a share and in images; the larger of both counts."""


def preprocess_for(arch: Arch, pixels: Pixels | None = None) -> Preprocess:
    """How images become the inputs of an arch, where input values mean `pixels`."""
    pixels = pixels or Pixels()
    return Preprocess(size=arch.resolution, mean=pixels.mean, std=pixels.std, crop=pixels.crop)


def preprocess_of(subnet: Subnet) -> Preprocess:
    """How images become the inputs of a network, whether it is of a space or not."""
    pixels = subnet.pixels
    return Preprocess(size=subnet.resolution, mean=pixels.mean, std=pixels.std, crop=pixels.crop)


def top1_tolerance(images: int) -> float:
    """Return the largest difference, a fraction, between two scores of one network on the same images.

    A CPU repeats a score exactly; on a GPU near ties may fall to the other side. A share alone would be less than one
    image where there are few.

    Args:
        images: number of images scored, at least 1.
    """
    # Fractions of whole images are not exact.
    return max(TOLERATED_SHARE, TOLERATED_IMAGES / images) + 1e-9


@torch.no_grad()
def materialise(
    net: SuperNet, arch: Arch, images: Tensor, *, most: int = CALIBRATION_IMAGES, batch_size: int = BATCH_SIZE
) -> Subnet:
    """Extract an arch and recalibrate its batch-norm statistics: a calibrated Subnet in eval mode.

    Args:
        net: the supernet; unchanged.
        arch: an arch of its space.
        images: training images, uint8 (n, 1 or 3, h, w); or already preprocessed, float (n, 3, r, r).
        most: of the images, so many of the first are taken; how many were is the subnet's `calibration_images`.
        batch_size: images a batch; statistics are the averages over batches, of means and biased variances, as
            batch norm in training has them and once-for-all's `set_running_statistics` averages them.

    Raises:
        DataError: fewer than two images, or of another type or shape.
        SpaceError: the arch is not in the space.
    """
    return recalibrate(net.extract(arch), images[:most], batch_size=batch_size)


@torch.no_grad()
def recalibrate(subnet: Subnet, images: Tensor, *, batch_size: int = BATCH_SIZE) -> Subnet:
    """Give a subnet batch-norm statistics of its own, in place: a calibrated one in eval mode; see `materialise`.

    Raises:
        DataError: fewer than two images, or of another type or shape.
    """
    if len(images) < 2:
        raise DataError(f"recalibration wants at least 2 training images, got {len(images)}")
    subnet.to(memory_format=torch.channels_last).train()
    averages = [_Averages(module) for module in subnet.modules() if isinstance(module, nn.BatchNorm2d)]
    for batch in _batches(images, batch_size):
        subnet(_inputs(batch, subnet))
    for average in averages:
        average.settle(len(images))
    subnet.calibration_images = len(images)
    return subnet.eval()


class _Averages:
    """Averages of a batch norm's statistics over batches, by images: it leaves those of each batch behind."""

    def __init__(self, norm: nn.BatchNorm2d):
        self.norm, self.momentum = norm, norm.momentum
        norm.momentum = 1.0
        self.mean, self.var = torch.zeros_like(norm.running_mean), torch.zeros_like(norm.running_var)  # type: ignore[arg-type]
        self.hook = norm.register_forward_hook(self)

    def __call__(self, norm: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        images, values = len(output), output.numel() // output.shape[1]
        self.mean += images * self.norm.running_mean
        self.var += images * (values - 1) / values * self.norm.running_var

    def settle(self, images: int) -> None:
        """Give the batch norm the averages over all `images`."""
        self.hook.remove()
        self.norm.momentum = self.momentum
        self.norm.running_mean, self.norm.running_var = self.mean / images, self.var / images


@torch.no_grad()
def predict(subnet: Subnet, images: Tensor) -> Tensor:
    """Logits (n, classes) on the CPU.

    Raises:
        UncalibratedError: the subnet did not come from `materialise`.
    """
    scored = _Scored(subnet)
    return torch.cat([scored(batch) for batch in torch.split(images, BATCH_SIZE)])


class _Scored:
    """A subnet as it is scored."""

    def __init__(self, subnet: Subnet):
        subnet.require_calibrated("scoring")
        self._subnet, self._network = subnet, folded(subnet)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Logits of one batch, on the CPU."""
        logits: Tensor = self._network(_inputs(images, self._subnet))
        return logits.float().cpu()


@dataclass(frozen=True)
class Accuracy:
    """Shares of images whose highest logit is their label.

    Attributes:
        top1: of all images.
        by_class: of each class, not a number where there is no image of it; float64 (classes,).
    """

    top1: float
    by_class: Tensor

    @property
    def worst_class(self) -> float:
        """That of the class least often right."""
        return float(self.by_class[~self.by_class.isnan()].min())


def top1(subnet: Subnet, split: Split) -> float:
    """Share of images whose highest logit is their label.

    Raises:
        UncalibratedError: the subnet did not come from `materialise`.
    """
    return accuracy(subnet, split).top1


@torch.no_grad()
def uncalibrated_top1(subnet: Subnet, split: Split) -> float:
    """Top-1 with whatever batch-norm statistics a network has: tells what recalibrating is worth, never to choose."""
    assert not subnet.training
    right = [
        subnet(_inputs(batch.tensor(), subnet)).cpu().argmax(1) == batch.labels for batch in split.batches(BATCH_SIZE)
    ]
    return int(torch.cat(right).sum()) / len(split)


def accuracy(subnet: Subnet, split: Split, num_classes: int = 0) -> Accuracy:
    """Top-1 of a split and of its classes: at least `num_classes`, and as many as there are labels.

    Raises:
        UncalibratedError: the subnet did not come from `materialise`.
    """
    scored = _Scored(subnet)
    right = torch.cat([scored(batch.tensor()).argmax(1) == batch.labels for batch in split.batches(BATCH_SIZE)])
    images = torch.bincount(split.labels, minlength=num_classes)
    by_class = torch.bincount(split.labels, weights=right.double(), minlength=num_classes) / images
    return Accuracy(int(right.sum()) / len(split), by_class)


def _batches(images: Tensor, batch_size: int) -> list[Tensor]:
    """Batches of `batch_size`; a rest of a single image, which has no variance, joins the batch before."""
    batches = list(torch.split(images, batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _inputs(batch: Tensor, subnet: Subnet) -> Tensor:
    batch, dtype, side = batch.to(module_device(subnet)), next(subnet.parameters()).dtype, subnet.resolution
    if batch.is_floating_point():
        if batch.shape[1:] != (3, side, side):
            raise DataError(f"wanted preprocessed images (n, 3, {side}, {side}), got {tuple(batch.shape)}")
        return batch.to(dtype).contiguous(memory_format=torch.channels_last)
    return preprocess_of(subnet)(batch).to(dtype)
