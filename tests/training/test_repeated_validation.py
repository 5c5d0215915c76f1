"""Validation on several views of few images."""

from __future__ import annotations

import pytest
import torch
from spaces import SMALL
from torch import Tensor

from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data.split import Split
from edgenas.training.materialise import materialise, predict, top1
from edgenas.training.repeated_validation import repeated_top1, view_count, views

SIDE = 12


def noise(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 1, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def subnet() -> Subnet:
    torch.manual_seed(0)
    return materialise(SuperNet(SMALL.with_classes(3)), SMALL.smallest, noise(32))


def test_views_are_the_image_its_mirror_image_and_its_corners() -> None:
    images = noise(2)
    whole, mirrored, *corners = views(images, mirrored=True)
    assert torch.equal(whole, images)
    assert torch.equal(mirrored, images.flip(-1))
    assert {tuple(corner.shape) for corner in corners} == {(2, 1, 10, 10)}
    assert torch.equal(corners[0], images[..., :10, :10])
    assert torch.equal(corners[3], images[..., 2:, 2:])
    assert len(list(views(images, mirrored=False))) == 5


def test_few_images_are_scored_by_the_mean_over_their_views(subnet: Subnet) -> None:
    images, labels = noise(60), torch.arange(60) % 3
    rates = [(predict(subnet, view).argmax(1) == labels).double().mean() for view in views(images, mirrored=True)]
    assert repeated_top1(subnet, Split(images, labels), mirrored=True) == pytest.approx(float(sum(rates)) / 6)


@pytest.mark.parametrize("mirrored", [True, False])
def test_the_number_of_views_is_known_beforehand(mirrored: bool) -> None:
    images = noise(2)
    assert view_count(len(images), mirrored=mirrored) == len(list(views(images, mirrored)))
    assert view_count(300, mirrored=mirrored) == 1


def test_many_images_are_scored_once(subnet: Subnet) -> None:
    many = Split(noise(300), torch.arange(300) % 3)
    assert repeated_top1(subnet, many, mirrored=True) == top1(subnet, many)
