"""Losses: labels for a subnet that leads, its own soft labels for the others."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ALPHAS = (-1.0, 1.0)
ALPHA_CLIP = 5.0
"""Of AlphaNet: the least and the greatest alpha, and the greatest (teacher / student) ** alpha."""


def hard_loss(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Cross-entropy with the labels; logits (n, classes), labels (n,)."""
    return F.cross_entropy(_at_least_float32(logits), labels, label_smoothing=label_smoothing)


def distillation_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Cross-entropy with the teacher's probabilities (in-place distillation: BigNAS, arXiv 2003.11142)."""
    return F.cross_entropy(_at_least_float32(logits), _at_least_float32(teacher_logits).softmax(dim=1))


def alpha_divergence_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Adaptive alpha-divergence from the teacher (AlphaNet, arXiv 2102.07954, section 3).

    Of two alphas the one that diverges more counts, image by image: one punishes a student for being surer than
    its teacher, the other for being less sure. All is computed from logarithms, so that logits that lie far apart
    give finite values; the value returned has the gradient of the divergence, but is not it.

    Args:
        logits: of the student, (n, classes).
        teacher_logits: likewise; no gradient flows there.
    """
    log_q = _at_least_float32(logits).log_softmax(dim=1)
    log_p = _at_least_float32(teacher_logits.detach()).log_softmax(dim=1)
    (low, low_surrogate), (high, high_surrogate) = (_alpha_divergence(log_q, log_p, alpha) for alpha in ALPHAS)
    return torch.where(low > high, low_surrogate, high_surrogate).mean()


def _alpha_divergence(log_q: Tensor, log_p: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """The divergence of every image, (n,), and what has its gradient where nothing is clipped."""
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
