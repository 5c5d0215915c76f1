"""Calibrated subnets of the supernet, and their accuracy.

`materialise` is the only way to a calibrated subnet. The batch-norm statistics of the supernet mix those of all
architectures, and a subnet scored with them is near chance (once-for-all; BigNAS, section 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgenas.errors import DataError
from edgenas.space.arch import Arch
from edgenas.supernet.folding import folded
from edgenas.supernet.layers import module_device
from edgenas.supernet.pixels import Pixels
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data.preprocess import Preprocess
from edgenas.training.data.split import Split

BATCH_SIZE = 128
CALIBRATION_IMAGES = 2048
"""Default number of images that recalibrate a subnet."""
TOLERATED_SHARE, TOLERATED_IMAGES = 0.002, 2
"""Largest change of a recomputed top-1, as a share and in images; the larger of both counts."""


def preprocess_for(arch: Arch, pixels: Pixels | None = None) -> Preprocess:
    """Return the preprocessing of an architecture, with the normalisation and crop of `pixels`."""
    pixels = pixels or Pixels()
    return Preprocess(size=arch.resolution, mean=pixels.mean, std=pixels.std, crop=pixels.crop)


def preprocess_of(subnet: Subnet) -> Preprocess:
    """Return the preprocessing of a network, in a space or not."""
    pixels = subnet.pixels
    return Preprocess(size=subnet.resolution, mean=pixels.mean, std=pixels.std, crop=pixels.crop)


def top1_tolerance(images: int) -> float:
    """Return the largest difference, a fraction, between two scores of one network on the same images.

    A CPU repeats a score exactly; on a GPU, near ties may be decided differently. A share alone would be less than one
    image in a small set.

    Args:
        images: number of images scored, at least 1.
    """
    # Fractions of whole images are not exact in floating point.
    return max(TOLERATED_SHARE, TOLERATED_IMAGES / images) + 1e-9


@torch.no_grad()
def materialise(
    net: SuperNet, arch: Arch, images: Tensor, *, max_images: int = CALIBRATION_IMAGES, batch_size: int = BATCH_SIZE
) -> Subnet:
    """Extract an architecture and recalibrate its batch norms; return a calibrated subnet in eval mode.

    Args:
        net: the supernet; it is not changed.
        arch: an architecture of its space.
        images: training images, uint8 (n, 1 or 3, h, w); or preprocessed, float (n, 3, r, r).
        max_images: how many of the images to use at most; `calibration_images` of the subnet gives the number used.
        batch_size: images a batch. Statistics are averages over batches of means and biased variances, as batch norm
            computes them in training and once-for-all's `set_running_statistics` averages them.

    Raises:
        DataError: fewer than two images, or images of another type or shape.
        SpaceError: the architecture is not in the space.
    """
    return recalibrate(net.extract(arch), images[:max_images], batch_size=batch_size)


@torch.no_grad()
def recalibrate(subnet: Subnet, images: Tensor, *, batch_size: int = BATCH_SIZE) -> Subnet:
    """Recalibrate the batch norms of a subnet in place; return it, calibrated and in eval mode. See `materialise`.

    Raises:
        DataError: fewer than two images, or images of another type or shape.
    """
    if len(images) < 2:
        raise DataError(f"recalibration: expected at least 2 training images, got {len(images)}")
    subnet.to(memory_format=torch.channels_last).train()
    averages = [_StatisticsAverage(module) for module in subnet.modules() if isinstance(module, nn.BatchNorm2d)]
    for batch in _batches(images, batch_size):
        subnet(_inputs(batch, subnet))
    for average in averages:
        average.apply(len(images))
    subnet.calibration_images = len(images)
    return subnet.eval()


class _StatisticsAverage:
    """Averages the statistics of a batch norm over batches, weighted by images."""

    def __init__(self, norm: nn.BatchNorm2d):
        self.norm, self.momentum = norm, norm.momentum
        # With this momentum, the running statistics are those of the last batch.
        norm.momentum = 1.0
        self.mean, self.var = torch.zeros_like(norm.running_mean), torch.zeros_like(norm.running_var)  # type: ignore[arg-type]
        self.hook = norm.register_forward_hook(self)

    def __call__(self, norm: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        images, values = len(output), output.numel() // output.shape[1]
        self.mean += images * self.norm.running_mean
        self.var += images * (values - 1) / values * self.norm.running_var

    def apply(self, images: int) -> None:
        """Set the statistics of the batch norm to the averages over all `images`."""
        self.hook.remove()
        self.norm.momentum = self.momentum
        self.norm.running_mean, self.norm.running_var = self.mean / images, self.var / images


@torch.no_grad()
def predict(subnet: Subnet, images: Tensor) -> Tensor:
    """Return the logits of images on the CPU, shape (n, classes).

    Raises:
        UncalibratedError: the subnet did not come from `materialise`.
    """
    logits_of = _FoldedNetwork(subnet)
    return torch.cat([logits_of(batch) for batch in torch.split(images, BATCH_SIZE)])


class _FoldedNetwork:
    """A calibrated subnet with folded batch norms, for scoring."""

    def __init__(self, subnet: Subnet):
        subnet.require_calibrated("scoring")
        self._subnet, self._network = subnet, folded(subnet)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits of one batch on the CPU."""
        logits: Tensor = self._network(_inputs(images, self._subnet))
        return logits.float().cpu()


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy, as fractions.

    Attributes:
        top1: top-1 over all images.
        by_class: top-1 of each class (its recall), float64 (classes,); NaN for a class without images.
        right: whether each image is classified correctly, bool (n,).
    """

    top1: float
    by_class: Tensor
    right: Tensor

    @property
    def macro(self) -> float:
        """Return the mean of the classes' top-1 (balanced accuracy), in which every class counts alike."""
        return float(self.by_class.nanmean())

    @property
    def worst_class(self) -> float:
        """Return the top-1 of the class with the lowest one."""
        return float(self.by_class[~self.by_class.isnan()].min())


def top1(subnet: Subnet, split: Split) -> float:
    """Return the top-1 accuracy, a fraction.

    Raises:
        UncalibratedError: the subnet did not come from `materialise`.
    """
    return accuracy(subnet, split).top1


@torch.no_grad()
def uncalibrated_top1(subnet: Subnet, split: Split) -> float:
    """Return the top-1 with the present batch-norm statistics, to show the gain of recalibration; never for choices."""
    assert not subnet.training
    correct = [
        subnet(_inputs(batch.tensor(), subnet)).cpu().argmax(1) == batch.labels for batch in split.batches(BATCH_SIZE)
    ]
    return int(torch.cat(correct).sum()) / len(split)


def accuracy(subnet: Subnet, split: Split, num_classes: int = 0) -> Accuracy:
    """Return the top-1 of a split and of its classes.

    Args:
        subnet: a calibrated subnet.
        split: the images and labels.
        num_classes: minimum number of classes in the result; there are as many as labels, if these are more.

    Raises:
        UncalibratedError: the subnet did not come from `materialise`.
    """
    logits_of = _FoldedNetwork(subnet)
    correct = torch.cat([logits_of(batch.tensor()).argmax(1) == batch.labels for batch in split.batches(BATCH_SIZE)])
    images = torch.bincount(split.labels, minlength=num_classes)
    by_class = torch.bincount(split.labels, weights=correct.double(), minlength=num_classes) / images
    return Accuracy(int(correct.sum()) / len(split), by_class, correct)


def _batches(images: Tensor, batch_size: int) -> list[Tensor]:
    """Split images into batches; a last batch of one image, which has no variance, is merged into the one before."""
    batches = list(torch.split(images, batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _inputs(batch: Tensor, subnet: Subnet) -> Tensor:
    batch, dtype, side = batch.to(module_device(subnet)), next(subnet.parameters()).dtype, subnet.resolution
    if batch.is_floating_point():
        if batch.shape[1:] != (3, side, side):
            raise DataError(f"expected preprocessed images of shape (n, 3, {side}, {side}), got {tuple(batch.shape)}")
        return batch.to(dtype).contiguous(memory_format=torch.channels_last)
    return preprocess_of(subnet)(batch).to(dtype)
