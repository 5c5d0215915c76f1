"""One training step: every arch of a lesson forward and backward."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import Future

import torch
from torch import Tensor

from edgenas.config.sections import Precision
from edgenas.errors import EdgenasError
from edgenas.space.arch import Arch
from edgenas.supernet.layers import Cut
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.losses import alpha_divergence_loss, distillation_loss, hard_loss
from edgenas.training.materialise import preprocess_for
from edgenas.training.parallel_archs import one_by_one, room_for, side_by_side
from edgenas.training.recipe import Lesson

DIVERGENCES = {"cross-entropy": distillation_loss, "alpha": alpha_divergence_loss}


def lesson_backward(
    net: SuperNet,
    images: Tensor,
    labels: Tensor,
    lesson: Lesson,
    *,
    label_smoothing: float = 0.0,
    teacher: Subnet | None = None,
    precision: Precision = "auto",
    at_a_time: int | None = None,
) -> Tensor:
    """Gradients of all archs of a lesson, summed; returns their losses, (archs,).

    Args:
        net: the supernet, in train mode.
        images: uint8 (n, c, h, w), augmented, of any size: every arch gets them at its own resolution.
        labels: int64 (n,).
        lesson: what is trained; with teacher `frozen`, its archs are of one resolution.
        label_smoothing: for those who learn labels.
        teacher: a frozen one.
        precision: what is computed in; weights and losses are float32.
        at_a_time: archs that go forward and backward at the same time on a CPU, each with its share of torch's threads
            and activations of its own; by default one a thread.
    """
    soft: Future[Tensor] = Future()
    if teacher is not None:
        soft.set_result(_trained(teacher, net, images, lesson.archs[0], precision))

    def loss_of(place: int, weights: Cut) -> Tensor:
        arch = lesson.archs[place]
        follows = teacher is not None or (lesson.teacher == "first" and place > 0)
        with autocast(images.device, precision):
            logits = net(_inputs(net, images, arch), arch, weights)
            if place == 0 and not soft.done():
                soft.set_result(logits.detach())
            loss = hard_loss(logits, labels, label_smoothing) if lesson.labels or not follows else logits.new_zeros(())
            if follows:
                loss = lesson.student_weight * (loss + DIVERGENCES[lesson.divergence](logits, soft.result()))
        return loss

    count = room_for(len(lesson.archs), images.device, at_a_time)
    if count > 1:
        return side_by_side(net, lesson.archs, loss_of, soft, count)
    return one_by_one(net, lesson.archs, loss_of)


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[object]:
    """`auto` is bf16 where the hardware has matrix units made for it; on CPUs it measured slower at these sizes."""
    if precision == "bf16" or (precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def _inputs(net: SuperNet, images: Tensor, arch: Arch) -> Tensor:
    return preprocess_for(arch, net.pixels)(images).to(next(net.parameters()).dtype)


@torch.no_grad()
def _trained(teacher: Subnet, net: SuperNet, images: Tensor, arch: Arch, precision: Precision) -> Tensor:
    with autocast(images.device, precision):
        return teacher(_inputs(net, images, arch))  # type: ignore[no-any-return]


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
