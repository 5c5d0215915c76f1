"""The training loop: sandwich rule with in-place distillation, resumable, one log row every so often."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from edgenas.config import TrainConfig
from edgenas.errors import ConfigError, DataError, EdgenasError
from edgenas.files import append_jsonl
from edgenas.space.arch import Arch
from edgenas.supernet.subnet import num_parameters
from edgenas.supernet.supernet import SuperNet
from edgenas.training import checkpoint
from edgenas.training.augment import augment
from edgenas.training.data import Dataset
from edgenas.training.evaluate import materialise, preprocess_for, top1
from edgenas.training.losses import distillation_loss, hard_loss
from edgenas.training.schedule import batch_indices, learning_rate, sandwich

Progress = Callable[[str, int, int], None]
LOG_ROWS = 100
VALIDATIONS = 5
VALIDATION_IMAGES = 1000
CALIBRATION_IMAGES = 512
CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class TrainResult:
    """What training took.

    Attributes:
        params: parameters of the supernet.
        train_seconds: time spent in steps, over all interruptions.
        images_per_second: pictures a second; each goes through all subnets of a step.
    """

    params: int
    train_seconds: float
    images_per_second: float

    def to_json(self) -> dict[str, float]:
        """As it stands in `summary.json`."""
        return asdict(self)


def compute_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: `cuda` was asked for and torch finds none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("train.device is cuda, but torch finds no CUDA device here: set it to auto or cpu")
    found = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(found if name == "auto" else name)


def count_steps(config: TrainConfig, images: int) -> int:
    """Optimiser steps of a whole training on `images` pictures.

    Raises:
        DataError: a batch is larger than the training split.
    """
    if images < config.batch_size:
        raise DataError(f"train.batch_size is {config.batch_size}, but there are only {images} training pictures")
    return max(1, round(config.epochs * (images // config.batch_size)))


def make_optimizer(net: SuperNet, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; no weight decay on norms and biases."""
    matrices = [p for p in net.parameters() if p.ndim > 1]
    vectors = [p for p in net.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def sandwich_backward(
    net: SuperNet, pictures: Tensor, labels: Tensor, archs: Sequence[Arch], label_smoothing: float = 0.0
) -> Tensor:
    """Gradients of all archs of a step, summed; returns the loss of the first, the teacher.

    Each arch goes backward before the next goes forward, so that only one arch's activations are alive.

    Args:
        net: the supernet, in train mode.
        pictures: uint8 (n, c, h, w), augmented, of any size: every arch gets them at its own resolution.
        labels: int64 (n,).
        archs: the largest first; it learns the labels, the others its softened outputs.
        label_smoothing: for the largest.
    """
    teacher, *students = archs
    # bf16 pays where the hardware has matrix units made for it; on CPUs it measured slower at these sizes.
    precision = torch.autocast("cuda", torch.bfloat16) if pictures.device.type == "cuda" else contextlib.nullcontext()
    with precision:
        logits = net(preprocess_for(teacher)(pictures), teacher)
        loss = hard_loss(logits, labels, label_smoothing)
    loss.backward()  # type: ignore[no-untyped-call]
    for arch in students:
        with precision:
            student_loss = distillation_loss(net(preprocess_for(arch)(pictures), arch), logits.detach())
        student_loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def train(
    net: SuperNet, dataset: Dataset, config: TrainConfig, *, seed: int, folder: Path, progress: Progress
) -> TrainResult:
    """Train the supernet in place; `folder` gets checkpoints and `training.jsonl`, and is resumed from.

    Raises:
        DataError: the training split is smaller than a batch.
        EdgenasError: the loss is not finite; the step is named, the last checkpoint is kept.
    """
    device = compute_device(config.device)
    net.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = make_optimizer(net, config)
    total = count_steps(config, len(dataset.train))
    done, seconds = checkpoint.resume(folder, net, optimizer)
    log = _Log(folder / "training.jsonl", total, len(dataset.train) // config.batch_size, config.batch_size)
    saved = time.monotonic()
    for step in range(done, total):
        started = time.perf_counter()
        loss = _step(net, optimizer, dataset, config, seed, step, total)
        seconds += time.perf_counter() - started
        _check_finite(loss, step)
        if log.due(step):
            log.step(step, loss.item(), optimizer.param_groups[0]["lr"], seconds)
        if log.validation_due(step):
            log.validation(step, validate(net, dataset))
        if time.monotonic() - saved > CHECKPOINT_SECONDS or step == total - 1:
            checkpoint.save(folder, net, optimizer, step + 1, seconds)
            saved = time.monotonic()
        progress("training", step + 1, total)
    return TrainResult(num_parameters(net), seconds, total * config.batch_size / max(seconds, 1e-9))


def _step(
    net: SuperNet,
    optimizer: torch.optim.Optimizer,
    dataset: Dataset,
    config: TrainConfig,
    seed: int,
    step: int,
    total: int,
) -> Tensor:
    device = next(net.parameters()).device
    batch = dataset.train.take(batch_indices(len(dataset.train), config.batch_size, seed, step))
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    pictures = augment(batch.pictures.to(device), config.augment, generator)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, total, config.learning_rate, config.warmup)
    optimizer.zero_grad()
    archs = sandwich(net.space, config.subnets_per_step, seed, step)
    loss = sandwich_backward(net, pictures, batch.labels.to(device), archs, config.label_smoothing)
    optimizer.step()
    return loss


def _check_finite(loss: Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        raise EdgenasError(
            f"the loss is {loss.item()} at step {step}: lower train.learning_rate (the last checkpoint is kept)"
        )


def validate(net: SuperNet, dataset: Dataset) -> dict[str, float]:
    """Validation top-1 of the smallest and the largest subnet, on a part of the split."""
    images = dataset.train.pictures[:CALIBRATION_IMAGES]
    ends = {"smallest": net.space.smallest, "largest": net.space.largest}
    part = dataset.validation.head(VALIDATION_IMAGES)
    scores = {name: top1(materialise(net, arch, images), part) for name, arch in ends.items()}
    net.train()
    return scores


@dataclass(frozen=True)
class _Log:
    path: Path
    total: int
    steps_per_epoch: int
    batch_size: int

    def due(self, step: int) -> bool:
        return step % max(1, self.total // LOG_ROWS) == 0 or step == self.total - 1

    def validation_due(self, step: int) -> bool:
        return (step + 1) % max(1, self.total // VALIDATIONS) == 0

    def step(self, step: int, loss: float, rate: float, seconds: float) -> None:
        speed = (step + 1) * self.batch_size / seconds
        values = {"loss": loss, "learning_rate": rate, "images_per_second": speed, "seconds": seconds}
        append_jsonl(self.path, {"kind": "step", "step": step, "epoch": step / self.steps_per_epoch, **values})

    def validation(self, step: int, scores: dict[str, float]) -> None:
        epoch = (step + 1) / self.steps_per_epoch
        append_jsonl(self.path, {"kind": "validation", "step": step, "epoch": epoch, "top1": scores})
