"""Losses: cross-entropy with labels, and divergences of a student from its teacher."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ALPHAS = (-1.0, 1.0)
ALPHA_CLIP = 5.0
"""AlphaNet's smallest and largest alpha, and its largest (teacher / student) ** alpha."""


def hard_loss(logits: Tensor, labels: Tensor, label_smoothing: float, weights: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy with labels.

    Args:
        logits: shape (n, classes).
        labels: int64 (n,), or class probabilities (n, classes).
        label_smoothing: share of the probability that is spread over all classes.
        weights: weights of the classes, shape (classes,). Unlike torch's own, the mean over a batch is the mean of
            those of its parts.
    """
    logits = _at_least_float32(logits)
    targets = labels.to(logits.dtype) if labels.is_floating_point() else labels
    weights = None if weights is None else weights.to(logits.dtype)
    total = F.cross_entropy(logits, targets, weights, label_smoothing=label_smoothing, reduction="sum")
    return total / len(logits)


def distillation_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return the cross-entropy with the teacher's probabilities (in-place distillation: BigNAS, arXiv 2003.11142)."""
    return F.cross_entropy(_at_least_float32(logits), _at_least_float32(teacher_logits).softmax(dim=1))


def alpha_divergence_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return a loss with the gradient of the adaptive alpha-divergence from the teacher.

    For each image, the larger of the divergences for two alphas counts. One penalises a student that is more certain
    than its teacher, the other one that is less certain. The computation uses logarithms, so that logits far apart
    give finite values. The returned value has the gradient of the divergence, but another value.

    Source: AlphaNet, arXiv 2102.07954, section 3.

    Args:
        logits: the student's logits, shape (n, classes).
        teacher_logits: the teacher's logits, shape (n, classes); no gradient flows to them.
    """
    log_q = _at_least_float32(logits).log_softmax(dim=1)
    log_p = _at_least_float32(teacher_logits.detach()).log_softmax(dim=1)
    (low, low_surrogate), (high, high_surrogate) = (_alpha_divergence(log_q, log_p, alpha) for alpha in ALPHAS)
    return torch.where(low > high, low_surrogate, high_surrogate).mean()


def _alpha_divergence(log_q: Tensor, log_p: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Return the divergence of every image, shape (n,), and a surrogate with its gradient where nothing is clipped."""
    fixed = log_q.detach()
    if alpha == 1.0:
        p = log_p.exp()
        return (p * (log_p - fixed)).sum(dim=1), -(p * log_q).sum(dim=1)
    power = (alpha * (log_p - fixed)).clamp(max=math.log(ALPHA_CLIP)).exp()
    base = 1 / (alpha * (alpha - 1))
    q = fixed.exp()
    return base * (q * (power - 1)).sum(dim=1), -(q * (power / alpha + base) * log_q).sum(dim=1)


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
