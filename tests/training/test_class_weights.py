"""Weights of classes in the loss."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from edgenas.training.class_weights import class_weights

COUNTS = [10, 40, 50, 300]


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = [label for label, count in enumerate(COUNTS) for _ in range(count)]
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    weights = class_weights("balanced", COUNTS)
    assert weights is not None
    assert weights.tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("kind", ["sqrt", "balanced"])
def test_the_mean_weight_of_an_image_is_one_and_small_classes_weigh_more(kind: str) -> None:
    weights = class_weights(kind, COUNTS)  # type: ignore[arg-type]
    assert weights is not None
    assert float(weights @ torch.tensor(COUNTS).float()) / sum(COUNTS) == pytest.approx(1)
    assert weights.tolist() == sorted(weights.tolist(), reverse=True)
    ratio = float(weights[0] / weights[-1])
    assert ratio == pytest.approx(30 ** {"sqrt": 0.5, "balanced": 1.0}[kind])


def test_equal_classes_and_none_have_no_weights() -> None:
    assert class_weights("none", COUNTS) is None
    assert class_weights("balanced", [20, 20]) is None
    assert class_weights("auto", [20, 60]) is None


def test_auto_weighs_classes_that_are_very_unequal() -> None:
    assert torch.equal(class_weights("auto", [20, 61]), class_weights("sqrt", [20, 61]))
