"""Quantisation-aware fine-tuning (QAT): train a subnet so that the rounding of its int8 file costs little accuracy.

The subnet is trained through a copy that rounds as the file does (see `fake_quantised`), with folded batch norms and
frozen statistics (arXiv 1806.08342), on the labels and on the subnet's own fp32 outputs. Ranges of activations follow a
moving average (Jacob et al., arXiv 1712.05877, section 3.1). They are not trained as in LSQ+ (arXiv 2004.09576), since
the quantiser computes the ranges of the file from the trained weights.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from edgenas.config.train_config import TrainConfig
from edgenas.errors import EdgenasError
from edgenas.progress import StepProgress
from edgenas.supernet.layers import module_device
from edgenas.supernet.subnet import Subnet
from edgenas.training.class_weights import class_weights
from edgenas.training.data.augment import augment
from edgenas.training.data.preprocess import Preprocess
from edgenas.training.data.split import Split
from edgenas.training.fake_quantised import fake_quantised, fold_norms
from edgenas.training.losses import distillation_loss, hard_loss
from edgenas.training.materialise import preprocess_for
from edgenas.training.schedule import batch_indices, learning_rate
from edgenas.training.setup import compute_device

STEPS = 600
RATE_SHARE = 0.1
"""Peak learning rate, as a fraction of the supernet's; then a cosine to zero."""
WARM_UP = 0.05
"""Fraction of all steps."""


def finetune_for_int8(
    subnet: Subnet,
    train: Split,
    config: TrainConfig,
    *,
    calibration: Tensor,
    seed: int,
    progress: StepProgress,
    weight_bits: int = 8,
    steps: int = STEPS,
) -> Subnet:
    """Return a calibrated subnet of the same architecture, on the CPU, that loses less accuracy in int8.

    On a CPU, equal arguments give equal bits, given the same versions and threads.

    Args:
        subnet: a calibrated subnet; it is not changed.
        train: training images with their labels.
        config: settings of the supernet's training; its batch size, augmentation, label smoothing and device apply.
        calibration: training images, uint8 (n, 1 or 3, h, w), that give the first ranges of activations.
        seed: seed of the order of images and of their augmentation.
        progress: called with the steps done and all steps.
        weight_bits: 8, or 7 for `QuantiserRecipe.seven_bit_weights`.
        steps: optimiser steps.

    Raises:
        UncalibratedError: the subnet did not come from `materialise`.
        EdgenasError: the loss is not finite; the message names the step.
    """
    subnet.require_calibrated("fine-tuning")
    assert subnet.arch is not None
    device, preprocess = compute_device(config.device), preprocess_for(subnet.arch, subnet.pixels)
    num_classes = subnet.specs[-1].out_channels
    config = config.for_images(len(train), num_classes)
    weights = class_weights(config.class_weights, train.counts(num_classes))
    weights = None if weights is None else weights.to(device)
    teacher = copy.deepcopy(subnet).to(device).eval().requires_grad_(False)
    student = fold_norms(subnet).to(device).requires_grad_(True)
    network = fake_quantised(student, weight_bits).to(device=device).train()
    _initialise_ranges(network, calibration, preprocess, config.batch_size)
    # The weights are trained already: no decay.
    peak = RATE_SHARE * config.learning_rate
    optimizer = torch.optim.Adam(network.parameters(), lr=peak)
    size = min(config.batch_size, len(train))
    for step, batch in enumerate(train.stream(batch_indices(len(train), size, seed, range(steps)))):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak, WARM_UP)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        images, labels = augment(
            batch.tensor().to(device), batch.labels.to(device), config.augment, num_classes, generator
        )
        _step(network, teacher, optimizer, preprocess(images), labels, config.label_smoothing, weights, step)
        progress(step + 1, steps)
    return student.cpu().eval()


@torch.no_grad()
def _initialise_ranges(network: nn.Module, images: Tensor, preprocess: Preprocess, batch_size: int) -> None:
    for batch in torch.split(images, batch_size):
        network(preprocess(batch.to(module_device(network))))


def _step(
    network: nn.Module,
    teacher: Subnet,
    optimizer: torch.optim.Optimizer,
    inputs: Tensor,
    labels: Tensor,
    label_smoothing: float,
    weights: Tensor | None,
    step: int,
) -> None:
    with torch.no_grad():
        teacher_logits = teacher(inputs)
    logits = network(inputs)
    loss = hard_loss(logits, labels, label_smoothing, weights) + distillation_loss(logits, teacher_logits)
    if not torch.isfinite(loss):
        raise EdgenasError(
            f"the loss of fine-tuning for int8 is {loss.item()} at step {step}: "
            "set export.quantisation_aware to never, which exports without it"
        )
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
