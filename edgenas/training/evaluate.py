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
from edgenas.supernet.subnet import Subnet, module_device
from edgenas.supernet.supernet import SuperNet
from edgenas.training.preprocess import Preprocess
from edgenas.training.split import Split

BATCH_SIZE = 128


def preprocess_for(arch: Arch) -> Preprocess:
    """How pictures become the inputs of an arch."""
    return Preprocess(size=arch.resolution)


@torch.no_grad()
def materialise(net: SuperNet, arch: Arch, images: Tensor, *, batch_size: int = BATCH_SIZE) -> Subnet:
    """Extract an arch and recalibrate its batch-norm statistics: a calibrated Subnet in eval mode.

    Args:
        net: the supernet; unchanged.
        arch: an arch of its space.
        images: training pictures, uint8 (n, 1 or 3, h, w); or already preprocessed, float (n, 3, r, r).
        batch_size: pictures a batch; statistics are the averages over batches.

    Raises:
        DataError: fewer than two pictures, or of another type or shape.
        SpaceError: the arch is not in the space.
    """
    if len(images) < 2:
        raise DataError(f"recalibration wants at least 2 training pictures, got {len(images)}")
    subnet = net.extract(arch).to(memory_format=torch.channels_last).train()
    for module in subnet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain average over batches, not an exponential one
    for batch in _batches(images, batch_size):
        subnet(_inputs(batch, arch, subnet))
    subnet.calibration_images = len(images)
    return subnet.eval()


@torch.no_grad()
def predict(subnet: Subnet, pictures: Tensor) -> Tensor:
    """Logits (n, classes) on the CPU.

    Raises:
        UncalibratedError: the subnet did not come from `materialise`.
    """
    subnet.require_calibrated("scoring")
    assert subnet.arch is not None
    assert not subnet.training
    batches = [subnet(_inputs(batch, subnet.arch, subnet)).float().cpu() for batch in torch.split(pictures, BATCH_SIZE)]
    return torch.cat(batches)


@dataclass(frozen=True)
class Accuracy:
    """Shares of pictures whose highest logit is their label: of all, and of the class least often right."""

    top1: float
    worst_class: float


def top1(subnet: Subnet, split: Split) -> float:
    """Share of pictures whose highest logit is their label.

    Raises:
        UncalibratedError: the subnet did not come from `materialise`.
    """
    return accuracy(subnet, split).top1


def accuracy(subnet: Subnet, split: Split) -> Accuracy:
    """Top-1 of a split, and that of its worst class; classes without pictures are passed over.

    Raises:
        UncalibratedError: the subnet did not come from `materialise`.
    """
    right = torch.cat(
        [predict(subnet, batch.tensor()).argmax(1) == batch.labels for batch in split.batches(BATCH_SIZE)]
    )
    pictures = torch.bincount(split.labels)
    by_class = torch.bincount(split.labels, weights=right.double()) / pictures
    return Accuracy(int(right.sum()) / len(split), float(by_class[pictures > 0].min()))


def _batches(images: Tensor, batch_size: int) -> list[Tensor]:
    """Batches of `batch_size`; a rest of a single picture, which has no variance, joins the batch before."""
    batches = list(torch.split(images, batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _inputs(batch: Tensor, arch: Arch, subnet: Subnet) -> Tensor:
    batch = batch.to(module_device(subnet))
    if batch.is_floating_point():
        if batch.shape[1:] != (3, arch.resolution, arch.resolution):
            raise DataError(
                f"wanted preprocessed pictures (n, 3, {arch.resolution}, {arch.resolution}), got {tuple(batch.shape)}"
            )
        return batch.contiguous(memory_format=torch.channels_last)
    return preprocess_for(arch)(batch)
