import numpy as np
import pytest
import torch

from edgenas.training.losses import distillation_loss, hard_loss

RNG = np.random.default_rng(0)
LOGITS, TEACHER = RNG.normal(size=(2, 6, 4)) * 3
LABELS = np.array([0, 1, 2, 3, 0, 1])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_hard_loss_is_the_cross_entropy_with_smoothed_labels(smoothing: float) -> None:
    target = np.eye(4)[LABELS] * (1 - smoothing) + smoothing / 4
    expected = -(target * log_softmax(LOGITS)).sum(axis=1).mean()
    found = hard_loss(torch.tensor(LOGITS), torch.tensor(LABELS), smoothing)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_distillation_loss_is_the_cross_entropy_with_the_teachers_probabilities() -> None:
    expected = -(np.exp(log_softmax(TEACHER)) * log_softmax(LOGITS)).sum(axis=1).mean()
    found = distillation_loss(torch.tensor(LOGITS), torch.tensor(TEACHER))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_distillation_has_its_minimum_at_the_teacher() -> None:
    student = torch.tensor(TEACHER, dtype=torch.float32, requires_grad=True)
    distillation_loss(student, torch.tensor(TEACHER)).backward()
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-6


def test_both_are_computed_in_float32() -> None:
    half = torch.tensor(LOGITS, dtype=torch.bfloat16)
    assert hard_loss(half, torch.tensor(LABELS), 0.0).dtype == torch.float32
    assert distillation_loss(half, half).dtype == torch.float32
