"""One training step: every architecture of a plan forward and backward."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import Future

import torch
from torch import Tensor

from edgenas.config.train_config import Precision
from edgenas.errors import EdgenasError
from edgenas.space.arch import Arch
from edgenas.supernet.elastic_layers import Cut
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.losses import alpha_divergence_loss, distillation_loss, hard_loss
from edgenas.training.materialise import preprocess_for, preprocess_of
from edgenas.training.parallel_archs import archs_at_a_time, parallel_gradients, sequential_gradients
from edgenas.training.recipe import StepPlan

DIVERGENCES = {"cross-entropy": distillation_loss, "alpha": alpha_divergence_loss}


def accumulate_gradients(
    net: SuperNet,
    images: Tensor,
    labels: Tensor,
    plan: StepPlan,
    *,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    teacher: Subnet | None = None,
    precision: Precision = "auto",
    at_a_time: int | None = None,
) -> Tensor:
    """Add the gradients of all architectures of a plan to those of the supernet; return their losses, shape (archs,).

    Args:
        net: the supernet, in train mode.
        images: uint8 (n, c, h, w), augmented, of any size; every architecture gets them at its own resolution.
        labels: int64 (n,), or class probabilities (n, classes).
        plan: what the step trains; with teacher `frozen`, its architectures have one resolution.
        label_smoothing: smoothing of the labels.
        class_weights: weights of the classes in the loss with labels, float32 (classes,); None where they weigh alike.
        teacher: the frozen teacher, where the plan has one.
        precision: precision of the forward pass; weights and losses are float32.
        at_a_time: architectures that go forward and backward in parallel on a CPU, each with its share of torch's
            threads and with its own activations; by default one a thread.
    """
    teacher_logits: Future[Tensor] = Future()
    if teacher is not None:
        teacher_logits.set_result(_teacher_logits(teacher, images, plan, precision))

    def loss_of(index: int, weights: Cut) -> Tensor:
        arch = plan.archs[index]
        is_student = teacher is not None or (plan.teacher == "first" and index > 0)
        with autocast(images.device, precision):
            logits = net(_inputs(net, images, arch), arch, weights)
            if index == 0 and not teacher_logits.done():
                teacher_logits.set_result(logits.detach())
            if not is_student:
                return hard_loss(logits, labels, label_smoothing, class_weights)
            loss = hard_loss(logits, labels, label_smoothing, class_weights) if plan.labels else logits.new_zeros(())
            return plan.student_weight * (loss + DIVERGENCES[plan.divergence](logits, teacher_logits.result()))

    count = archs_at_a_time(len(plan.archs), images.device, at_a_time)
    if count > 1:
        return parallel_gradients(net, plan.archs, loss_of, teacher_logits, count)
    return sequential_gradients(net, plan.archs, loss_of)


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[object]:
    """Return a context in which networks compute in `precision`.

    `auto` is bf16 on CUDA, which has matrix units for it; on CPUs bf16 measured slower at these sizes.
    """
    if precision == "bf16" or (precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def _inputs(net: SuperNet, images: Tensor, arch: Arch) -> Tensor:
    return preprocess_for(arch, net.pixels)(images).to(next(net.parameters()).dtype)


@torch.no_grad()
def _teacher_logits(teacher: Subnet, images: Tensor, plan: StepPlan, precision: Precision) -> Tensor:
    own_size = plan.teacher == "tuned"
    preprocess = preprocess_of(teacher) if own_size else preprocess_for(plan.archs[0], teacher.pixels)
    with autocast(images.device, precision):
        return teacher(preprocess(images).to(next(teacher.parameters()).dtype))  # type: ignore[no-any-return]


def check_finite(losses: Tensor, archs: Sequence[object], step: int) -> None:
    """Raise before a loss that is not finite spoils the weights.

    Raises:
        EdgenasError: a loss is not finite; the message names its architecture and the step.
    """
    if losses.isfinite().all():
        return
    index = int((~losses.isfinite()).nonzero()[0])
    raise EdgenasError(
        f"the loss of {archs[index]} is {losses[index].item()} at step {step}: lower train.learning_rate (the last "
        "checkpoint is kept)"
    )
