"""Losses: labels for the largest subnet, its own soft labels for the others."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def hard_loss(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Cross-entropy with the labels; logits (n, classes), labels (n,)."""
    return F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)


def distillation_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Cross-entropy with the teacher's probabilities (in-place distillation: BigNAS, arXiv 2003.11142)."""
    return F.cross_entropy(logits.float(), teacher_logits.float().softmax(dim=1))
