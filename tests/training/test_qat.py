"""Quantisation-aware fine-tuning: its gain, and what it does not change."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from little_subnet import ARCH, CALIBRATION_IMAGES, CONFIG, PREPROCESS, digits, int8_file, spoiled, trained
from spaces import SMALL

from edgenas.deploy.onnx.scoring import onnx_top1
from edgenas.errors import EdgenasError, UncalibratedError
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data.dataset import Dataset
from edgenas.training.materialise import predict, top1
from edgenas.training.qat import finetune_for_int8


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return digits()


@pytest.fixture(scope="module")
def subnet(dataset: Dataset) -> Subnet:
    return trained(dataset)


def tuned(subnet: Subnet, dataset: Dataset, steps: int, seed: int = 0, rate: float = 1e-2) -> Subnet:
    calibration = dataset.train.tensor()[:CALIBRATION_IMAGES]
    config = CONFIG.model_copy(update={"learning_rate": rate})
    return finetune_for_int8(
        subnet, dataset.train, config, calibration=calibration, seed=seed, progress=lambda *_: None, steps=steps
    )


def test_most_of_the_accuracy_drop_of_int8_is_recovered(dataset: Dataset, subnet: Subnet, tmp_path: Path) -> None:
    bad, split = spoiled(subnet, 9), dataset.validation

    def int8_top1(net: Subnet, name: str) -> float:
        folder = tmp_path / name
        path = int8_file(net, dataset.train.tensor()[:CALIBRATION_IMAGES], folder)
        return onnx_top1(path, split.tensor(), split.labels, PREPROCESS)

    fp32 = top1(bad, split)
    assert fp32 == pytest.approx(top1(subnet, split), abs=0.01)
    assert int8_top1(subnet, "subnet") > fp32 - 0.02
    before, after = int8_top1(bad, "before"), int8_top1(tuned(bad, dataset, 60), "after")
    assert fp32 - before > 0.2
    assert fp32 - after < 0.4 * (fp32 - before)


def test_the_subnet_is_not_changed_and_the_result_can_be_scored(dataset: Dataset, subnet: Subnet) -> None:
    before = copy.deepcopy(subnet.state_dict())
    done = []
    result = finetune_for_int8(
        subnet,
        dataset.train,
        CONFIG,
        calibration=dataset.train.tensor()[:64],
        seed=0,
        progress=lambda *step: done.append(step),
        steps=3,
    )
    torch.testing.assert_close(subnet.state_dict(), before, rtol=0, atol=0)
    assert not subnet.training
    assert not any(module.training for module in result.modules())
    assert (result.arch, result.calibration_images, result.specs) == (ARCH, CALIBRATION_IMAGES, subnet.specs)
    assert list(result.state_dict()) == list(before)
    assert done == [(1, 3), (2, 3), (3, 3)]
    images = dataset.validation.tensor()[:8]
    assert 0 < (predict(result, images) - predict(subnet, images)).abs().max() < 5


def test_equal_seeds_give_equal_bits(dataset: Dataset, subnet: Subnet) -> None:
    first, second, other = (tuned(subnet, dataset, 3, seed).state_dict() for seed in (1, 1, 2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_uncalibrated_subnets_are_refused(dataset: Dataset) -> None:
    with pytest.raises(UncalibratedError, match="fine-tuning: expected a calibrated subnet"):
        tuned(SuperNet(SMALL.with_classes(10)).extract(ARCH), dataset, 1)


def test_a_loss_that_is_not_finite_names_the_option_to_export_without(dataset: Dataset, subnet: Subnet) -> None:
    with pytest.raises(EdgenasError, match=r"at step 1: set export.quantisation_aware to never"):
        tuned(subnet, dataset, 3, rate=1e38)
