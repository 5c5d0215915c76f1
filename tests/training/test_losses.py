"""Losses against their formulas in numpy."""

import numpy as np
import pytest
import torch

from edgenas.training.losses import ALPHA_CLIP, alpha_divergence_loss, distillation_loss, hard_loss

RNG = np.random.default_rng(0)
LOGITS, TEACHER = RNG.normal(size=(2, 6, 4)) * 3
LABELS = np.array([0, 1, 2, 3, 0, 1])
HALVES = slice(0, 3), slice(3, 6)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_hard_loss_is_the_cross_entropy_with_smoothed_labels(smoothing: float) -> None:
    target = np.eye(4)[LABELS] * (1 - smoothing) + smoothing / 4
    expected = -(target * log_softmax(LOGITS)).sum(axis=1).mean()
    loss = hard_loss(torch.tensor(LOGITS), torch.tensor(LABELS), smoothing)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_hard_loss_takes_class_probabilities() -> None:
    targets = np.exp(log_softmax(TEACHER))
    expected = -(targets * log_softmax(LOGITS)).sum(axis=1).mean()
    loss = hard_loss(torch.tensor(LOGITS), torch.tensor(targets, dtype=torch.float32), 0.0)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weights_of_classes_multiply_the_terms_of_the_loss(smoothing: float) -> None:
    weights = np.array([0.5, 1.0, 2.0, 3.0])
    target = np.eye(4)[LABELS] * (1 - smoothing) + smoothing / 4
    expected = -(target * weights * log_softmax(LOGITS)).sum(axis=1)
    arguments = torch.tensor(LOGITS), smoothing, torch.tensor(weights)
    for labels in (torch.tensor(LABELS), torch.eye(4)[LABELS]):
        logits, *others = arguments
        assert float(hard_loss(logits, labels, *others)) == pytest.approx(expected.mean(), rel=1e-5)
    # The mean of a batch is that of its parts.
    parts = [float(hard_loss(torch.tensor(LOGITS[s]), torch.tensor(LABELS[s]), 0.0, arguments[2])) for s in HALVES]
    whole = hard_loss(torch.tensor(LOGITS), torch.tensor(LABELS), 0.0, arguments[2])
    assert float(whole) == pytest.approx(np.mean(parts), rel=1e-6)


def test_distillation_loss_is_the_cross_entropy_with_the_teachers_probabilities() -> None:
    expected = -(np.exp(log_softmax(TEACHER)) * log_softmax(LOGITS)).sum(axis=1).mean()
    loss = distillation_loss(torch.tensor(LOGITS), torch.tensor(TEACHER))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_distillation_has_its_minimum_at_the_teacher() -> None:
    student = torch.tensor(TEACHER, dtype=torch.float32, requires_grad=True)
    distillation_loss(student, torch.tensor(TEACHER)).backward()
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-6


def test_both_are_computed_in_float32() -> None:
    half = torch.tensor(LOGITS, dtype=torch.bfloat16)
    assert hard_loss(half, torch.tensor(LABELS), 0.0).dtype == torch.float32
    assert distillation_loss(half, half).dtype == torch.float32


def alpha_divergence(student: torch.Tensor, teacher: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return the divergence of every image by AlphaNet's equation (3); for alpha 1, by its limit."""
    q, p = student.softmax(1), teacher.softmax(1)
    if alpha == 1:
        return (p * (p / q).log()).sum(1)
    return (q * ((p / q) ** alpha - 1)).sum(1) / (alpha * (alpha - 1))


def test_alpha_divergence_has_the_gradient_of_the_greater_of_two_divergences() -> None:
    # Close enough that nothing is clipped.
    teacher = torch.tensor(TEACHER) / 8
    student = (torch.tensor(LOGITS) / 8).requires_grad_()
    both = [alpha_divergence(student, teacher, alpha) for alpha in (-1.0, 1.0)]
    assert ((student.softmax(1) / teacher.softmax(1)) < ALPHA_CLIP).all()
    assert len({bool(left > right) for left, right in zip(*both, strict=True)}) == 2
    (expected,) = torch.autograd.grad(torch.maximum(*both).mean(), student)
    (actual,) = torch.autograd.grad(alpha_divergence_loss(student, teacher), student)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def test_alpha_divergence_clips_ratios() -> None:
    student, teacher = torch.tensor([[8.0, 0.0]]).double().requires_grad_(), torch.tensor([[0.0, 2.0]]).double()
    q, p = student.detach().softmax(1), teacher.softmax(1)
    power = (q / p).clamp(max=ALPHA_CLIP)
    left, right = 0.5 * (q * (power - 1)).sum(), (p * (p / q).log()).sum()
    weight = -q * (-power + 0.5) if left > right else -p
    expected = weight - weight.sum() * q
    alpha_divergence_loss(student, teacher).backward()
    torch.testing.assert_close(student.grad, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("gap", [1e2, 1e3, 1e4])
def test_alpha_divergence_of_logits_far_apart_is_finite(gap: float, dtype: torch.dtype) -> None:
    far = torch.tensor([[gap, 0.0, -gap], [-gap, gap, 0.0], [0.0, 0.0, 0.0]], dtype=dtype)
    for teacher in (far, far.flip(0), far.flip(1), -far):
        student = far.clone().requires_grad_()
        loss = alpha_divergence_loss(student, teacher)
        loss.backward()
        assert loss.isfinite()
        assert student.grad is not None
        assert student.grad.isfinite().all()
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_alpha_divergence_has_its_minimum_at_the_teacher() -> None:
    student = torch.tensor(TEACHER, requires_grad=True)
    alpha_divergence_loss(student, torch.tensor(TEACHER)).backward()
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-12
