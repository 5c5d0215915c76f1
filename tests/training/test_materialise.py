"""Calibrated subnets: batch-norm statistics, logits and accuracy."""

import copy

import numpy as np
import pytest
import torch
from sklearn.metrics import recall_score
from spaces import SMALL
from torch import Tensor, nn

from edgenas.errors import DataError, SpaceError, UncalibratedError
from edgenas.space.loading import load_space
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data.split import Split
from edgenas.training.materialise import accuracy, materialise, predict, preprocess_for, top1, top1_tolerance


@pytest.fixture
def net() -> SuperNet:
    torch.manual_seed(0)
    return SuperNet(SMALL.with_classes(4))


def grey(count: int, size: int = 12) -> Tensor:
    return torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("count", "sizes"), [(8, [4, 4]), (10, [4, 4, 2]), (9, [4, 5]), (3, [3]), (4, [4])])
def test_statistics_are_averages_over_batches_by_images(net: SuperNet, count: int, sizes: list[int]) -> None:
    images, arch = grey(count), SMALL.smallest
    subnet = materialise(net, arch, images, batch_size=4)
    stem = net.blocks["stem"].conv.conv.weight
    means, variances = [], []
    for batch in torch.split(preprocess_for(arch)(images), sizes):
        features = nn.functional.conv2d(batch, stem, padding=1).detach().movedim(1, 0).flatten(1).numpy()
        means.append(features.mean(axis=1, dtype=np.float64))
        variances.append(features.var(axis=1, dtype=np.float64))
    norm = subnet.blocks["stem"].conv.norm
    mean, variance = (np.average(values, axis=0, weights=sizes) for values in (means, variances))
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.running_var.numpy(), variance, rtol=1e-4)


def test_in_one_batch_every_norm_normalises_as_in_training(net: SuperNet) -> None:
    x, arch = preprocess_for(SMALL.largest)(grey(64)), SMALL.largest
    subnet = materialise(net, arch, x, batch_size=64)
    with torch.no_grad():
        expected = net.train().extract(arch)(x)
        torch.testing.assert_close(subnet(x), expected, rtol=1e-4, atol=1e-5)


def test_the_supernet_is_unchanged(net: SuperNet) -> None:
    for mode in (True, False):
        net.train(mode)
        before = copy.deepcopy(net.state_dict())
        subnet = materialise(net, SMALL.largest, grey(4))
        for tensor in subnet.state_dict().values():
            tensor.zero_()
        torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)
        assert net.training == mode


def test_the_subnet_is_calibrated_and_in_eval_mode(net: SuperNet) -> None:
    subnet = materialise(net, SMALL.smallest, grey(6))
    assert isinstance(subnet, Subnet)
    assert (subnet.calibrated, subnet.calibration_images, subnet.training) == (True, 6, False)
    assert subnet.arch == SMALL.smallest
    assert not any(parameter.grad is not None for parameter in subnet.parameters())


def test_preprocessed_images_give_the_same_subnet_as_raw_ones(net: SuperNet) -> None:
    images = grey(6)
    raw = materialise(net, SMALL.smallest, images)
    ready = materialise(net, SMALL.smallest, preprocess_for(SMALL.smallest)(images))
    torch.testing.assert_close(raw.state_dict(), ready.state_dict())


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_image_has_no_variance(net: SuperNet, count: int) -> None:
    with pytest.raises(DataError, match=f"at least 2 training images, got {count}"):
        materialise(net, SMALL.smallest, grey(count))


def test_preprocessed_images_of_another_size_are_refused(net: SuperNet) -> None:
    with pytest.raises(DataError, match=r"\(n, 3, 16, 16\), got \(4, 3, 24, 24\)"):
        materialise(net, SMALL.smallest, torch.zeros(4, 3, 24, 24))


def test_archs_of_other_spaces_are_refused(net: SuperNet) -> None:
    with pytest.raises(SpaceError):
        materialise(net, load_space("ofa-mbv3-w1.0").smallest, grey(4))


def test_an_uncalibrated_subnet_is_not_scored(net: SuperNet) -> None:
    subnet, split = net.eval().extract(SMALL.smallest), Split(grey(4), torch.zeros(4, dtype=torch.int64))
    for score in (lambda: predict(subnet, split.images), lambda: top1(subnet, split)):
        with pytest.raises(UncalibratedError, match=r"edgenas\.materialise"):
            score()


def test_logits_and_top1_do_not_depend_on_batches(net: SuperNet) -> None:
    subnet, images = materialise(net, SMALL.smallest, grey(32)), grey(150)
    logits = predict(subnet, images)
    with torch.no_grad():
        expected = subnet(preprocess_for(SMALL.smallest)(images))
    torch.testing.assert_close(logits, expected)
    labels = expected.argmax(1)
    labels[:30] = (labels[:30] + 1) % 4
    assert top1(subnet, Split(images, labels)) == pytest.approx(120 / 150)


def test_macro_accuracy_is_scikit_learns_balanced_accuracy(net: SuperNet) -> None:
    images = grey(60)
    subnet = materialise(net, SMALL.smallest, images)
    # No image of class 1, and unequal numbers of the others.
    labels = torch.tensor([0, 2, 2, 3])[torch.arange(60) % 4]
    answers = predict(subnet, images).argmax(1)
    result = accuracy(subnet, Split(images, labels), 5)
    assert result.macro == pytest.approx(recall_score(labels, answers, labels=[0, 2, 3], average="macro"))


def test_the_worst_class_has_the_lowest_top1(net: SuperNet) -> None:
    images = grey(60)
    subnet = materialise(net, SMALL.smallest, images)
    predicted = predict(subnet, images).argmax(1)
    # Class 3 has no images; each other class has every third.
    labels = torch.arange(60) % 3
    correct = (predicted == labels).numpy()
    result = accuracy(subnet, Split(images, labels))
    assert result.top1 == top1(subnet, Split(images, labels)) == correct.mean()
    assert result.worst_class == pytest.approx(min(correct[labels.numpy() == c].mean() for c in range(3)))


@pytest.mark.parametrize(("images", "allowed"), [(1, 2), (40, 2), (999, 2), (1000, 2), (1500, 3), (10_000, 20)])
def test_a_recomputed_score_may_move_by_two_images_or_a_five_hundredth(images: int, allowed: int) -> None:
    correct = min(images, 30)
    # The change by exactly so many images, computed in floating point.
    moved = [abs((correct + n) / images - correct / images) <= top1_tolerance(images) for n in (allowed, allowed + 1)]
    assert moved == [True, False]
