"""Fine-tuning a subnet on its own, from the weights it inherited; or onto other classes."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from edgenas.config import TrainConfig
from edgenas.errors import DataError
from edgenas.space.blocks import HeadSpec
from edgenas.supernet.subnet import Subnet
from edgenas.training.augment import augment
from edgenas.training.beginning import compute_device
from edgenas.training.evaluate import preprocess_for, recalibrate
from edgenas.training.losses import distillation_loss, hard_loss
from edgenas.training.optimizer import make_optimizer
from edgenas.training.schedule import batch_indices, learning_rate
from edgenas.training.split import Split
from edgenas.training.step import autocast, check_finite

Progress = Callable[[int, int], None]


def with_classes(subnet: Subnet, num_classes: int) -> Subnet:
    """A copy for other classes: all weights but the classifier's, which are fresh."""
    *body, head = subnet.specs
    assert isinstance(head, HeadSpec)
    twin = Subnet([*body, dataclasses.replace(head, out_channels=num_classes)], subnet.arch, subnet.pixels)
    kept = {name: tensor for name, tensor in subnet.state_dict().items() if ".classifier." not in name}
    twin.load_state_dict(twin.state_dict() | kept)
    twin.calibration_images = subnet.calibration_images
    return twin.train(subnet.training)


def finetune(
    subnet: Subnet,
    train: Split,
    config: TrainConfig,
    *,
    epochs: float,
    learning_rate_share: float,
    calibration: Tensor,
    seed: int,
    progress: Progress,
    teacher: Subnet | None = None,
) -> Subnet:
    """A calibrated subnet of the same arch that was taught alone, on the CPU.

    Args:
        subnet: calibrated; left as it was.
        train: training pictures with their labels.
        config: of the supernet's training: its batch, optimiser, augmentation, smoothing and device hold here, too.
        epochs: passes over the pictures.
        learning_rate_share: of the supernet's learning rate, at the peak.
        calibration: training pictures that recalibrate batch norm at the end, uint8 (n, 1 or 3, h, w).
        seed: of the order of pictures and their augmentation.
        progress: called with steps done and in all.
        teacher: calibrated, of the same classes; its outputs are learned beside the labels.

    Raises:
        UncalibratedError: the subnet or its teacher did not come from `materialise`.
        DataError: a batch is larger than the split, or the teacher is of other classes.
        EdgenasError: the loss is no finite number; the step is named.
    """
    subnet.require_calibrated("fine-tuning")
    assert subnet.arch is not None
    device, size = compute_device(config.device), min(config.batch_size, len(train))
    if teacher is not None:
        teacher.require_calibrated("teaching")
        if teacher.specs[-1].out_channels != subnet.specs[-1].out_channels:
            raise DataError("fine-tuning onto other classes goes without a teacher, which does not know them")
        teacher = copy.deepcopy(teacher).to(device).eval()
    student = copy.deepcopy(subnet).to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = make_optimizer(student, config)
    steps = max(1, round(epochs * (len(train) // size)))
    indices = (batch_indices(len(train), size, seed, step) for step in range(steps))
    for step, batch in enumerate(train.stream(indices)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, learning_rate_share * config.learning_rate, config.warmup)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        pictures = augment(batch.tensor().to(device), config.augment, generator)
        _step(student, teacher, optimizer, pictures, batch.labels.to(device), config, step)
        progress(step + 1, steps)
    return recalibrate(student.cpu(), calibration)


def _step(
    student: Subnet,
    teacher: Subnet | None,
    optimizer: torch.optim.Optimizer,
    pictures: Tensor,
    labels: Tensor,
    config: TrainConfig,
    step: int,
) -> None:
    assert student.arch is not None
    with autocast(pictures.device, config.precision):
        logits = student(preprocess_for(student.arch, student.pixels)(pictures))
        loss = hard_loss(logits, labels, config.label_smoothing)
        if teacher is not None:
            assert teacher.arch is not None
            with torch.no_grad():
                wanted = teacher(preprocess_for(teacher.arch, teacher.pixels)(pictures))
            loss = loss + distillation_loss(logits, wanted)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    check_finite(loss.detach()[None], [student.arch], step)
    if config.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(student.parameters(), config.clip_norm)
    optimizer.step()
