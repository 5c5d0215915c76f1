"""One training step: every arch of a lesson forward and backward."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor

from edgenas.config import Precision
from edgenas.errors import EdgenasError
from edgenas.space.arch import Arch
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.evaluate import preprocess_for
from edgenas.training.losses import alpha_divergence_loss, distillation_loss, hard_loss
from edgenas.training.recipe import Lesson

DIVERGENCES = {"cross-entropy": distillation_loss, "alpha": alpha_divergence_loss}


def sandwich_backward(
    net: SuperNet, pictures: Tensor, labels: Tensor, archs: Sequence[Arch], label_smoothing: float = 0.0
) -> Tensor:
    """`lesson_backward` by the sandwich rule: the loss of the first arch, the teacher.

    Args:
        net: the supernet, in train mode.
        pictures: uint8 (n, c, h, w), augmented, of any size.
        labels: int64 (n,).
        archs: the largest first; it learns the labels, the others its softened outputs.
        label_smoothing: for the largest.
    """
    return lesson_backward(net, pictures, labels, Lesson(tuple(archs)), label_smoothing=label_smoothing)[0]


def lesson_backward(
    net: SuperNet,
    pictures: Tensor,
    labels: Tensor,
    lesson: Lesson,
    *,
    label_smoothing: float = 0.0,
    teacher: Subnet | None = None,
    precision: Precision = "auto",
) -> Tensor:
    """Gradients of all archs of a lesson, summed; returns their losses, (archs,).

    Each arch goes backward before the next goes forward, so that only one arch's activations are alive.

    Args:
        net: the supernet, in train mode.
        pictures: uint8 (n, c, h, w), augmented, of any size: every arch gets them at its own resolution.
        labels: int64 (n,).
        lesson: what is taught; with teacher `frozen`, its archs are of one resolution.
        label_smoothing: for those who learn labels.
        teacher: a frozen one.
        precision: what is computed in; weights and losses are float32.
    """
    cast = autocast(pictures.device, precision)
    soft = None if teacher is None else _taught(teacher, net, pictures, lesson.archs[0], cast)
    losses = []
    for arch in lesson.archs:
        with cast:
            logits = net(_inputs(net, pictures, arch), arch)
            leads = soft is None
            loss = hard_loss(logits, labels, label_smoothing) if leads or lesson.labels else logits.new_zeros(())
            if soft is not None:
                loss = lesson.student_weight * (loss + DIVERGENCES[lesson.divergence](logits, soft))
        loss.backward()
        losses.append(loss.detach())
        if leads and lesson.teacher == "first":
            soft = logits.detach()
    return torch.stack(losses)


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[object]:
    """`auto` is bf16 where the hardware has matrix units made for it; on CPUs it measured slower at these sizes."""
    if precision == "bf16" or (precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def _inputs(net: SuperNet, pictures: Tensor, arch: Arch) -> Tensor:
    return preprocess_for(arch, net.pixels)(pictures).to(next(net.parameters()).dtype)


@torch.no_grad()
def _taught(
    teacher: Subnet, net: SuperNet, pictures: Tensor, arch: Arch, cast: contextlib.AbstractContextManager[object]
) -> Tensor:
    with cast:
        return teacher(_inputs(net, pictures, arch))  # type: ignore[no-any-return]


def check_finite(losses: Tensor, archs: Sequence[object], step: int) -> None:
    """Stop before weights are spoiled.

    Raises:
        EdgenasError: a loss is no finite number; its arch and the step are named.
    """
    if losses.isfinite().all():
        return
    bad = int((~losses.isfinite()).nonzero()[0])
    raise EdgenasError(
        f"the loss of {archs[bad]} is {losses[bad].item()} at step {step}: lower train.learning_rate (the last "
        "checkpoint is kept)"
    )
