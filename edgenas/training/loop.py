"""The training loop: sandwich rule with in-place distillation, resumable, one log row every so often."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from edgenas.config import TrainConfig
from edgenas.errors import ConfigError, DataError, EdgenasError, RunFolderError
from edgenas.space.arch import Arch
from edgenas.supernet.subnet import num_parameters
from edgenas.supernet.supernet import SuperNet
from edgenas.training import checkpoint
from edgenas.training.augment import augment
from edgenas.training.checkpoint import Header
from edgenas.training.data import Dataset
from edgenas.training.evaluate import materialise, preprocess_for, top1
from edgenas.training.log import FILE_NAME, VALIDATIONS, TrainingLog
from edgenas.training.losses import distillation_loss, hard_loss
from edgenas.training.schedule import batch_indices, learning_rate, sandwich
from edgenas.training.settled import Schedule, circumstances
from edgenas.training.split import Split

Progress = Callable[[str, int, int], None]
VALIDATION_IMAGES = 1000
CALIBRATION_IMAGES = 512
CHECKPOINT_SECONDS = 60.0
WARM_UP_STEPS, TIMED_STEPS = 3, 30
TIMING_SHARE = 0.03
"""Of the minutes asked for, after which timing ends early."""


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
        raise DataError(
            f"train.batch_size is {config.batch_size}, but there are only {images} training pictures: "
            f"set train.batch_size to at most {images}, or add pictures"
        )
    # Only runs that train nothing may leave them out.
    assert config.epochs is not None
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
    net: SuperNet,
    dataset: Dataset,
    config: TrainConfig,
    *,
    seed: int,
    folder: Path,
    progress: Progress,
    minutes: float | None = None,
) -> TrainResult:
    """Train the supernet in place; `folder` gets checkpoints and `training.jsonl`, and is resumed from.

    On a CPU a resumed training gives the bits of an undisturbed one, given the same versions and threads; where
    these are others, it says so.

    Args:
        net: the supernet; `config.init` or a checkpoint in `folder` replaces its weights.
        dataset: what it is taught.
        config: how.
        seed: of pictures, their augmentation and archs.
        folder: of the checkpoint, the log, and what is settled at the first step.
        progress: called with `training`, steps done and in all.
        minutes: train for about so long instead of `config.epochs`. Only the first call for a folder settles it.

    Raises:
        DataError: the training split is smaller than a batch.
        RunFolderError: what `folder` holds, or what `config.init` names, is broken or of something else.
        EdgenasError: the loss is not finite; the step is named, the last checkpoint is kept.
    """
    device = compute_device(config.device)
    net.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = make_optimizer(net, config)
    header = checkpoint.resume(folder, net, optimizer)
    schedule = _settle(net, dataset, config, seed, folder, progress, minutes, begun=header is not None)
    total = schedule.steps
    of = Header(0, 0.0, net.space.structure_id, dataset.name, dataset.classes)
    done, seconds = (header.step, header.seconds) if header else (0, 0.0)
    log = TrainingLog(folder / FILE_NAME, total, len(dataset.train) // config.batch_size, config.batch_size)
    if 0 < done < total:
        log.resumed(done, schedule.differences(device), device)
    saved = time.monotonic()
    started = time.perf_counter()
    for step, batch in enumerate(_batches(dataset, config, seed, range(done, total)), start=done):
        loss = _step(net, optimizer, batch, config, seed, step, total)
        _check_finite(loss, step)
        # Reading pictures counts; logging, validating and saving do not.
        seconds += time.perf_counter() - started
        if log.due(step):
            log.step(step, loss.item(), optimizer.param_groups[0]["lr"], seconds)
        if log.validation_due(step):
            log.validation(step, validate(net, dataset))
        if time.monotonic() - saved > CHECKPOINT_SECONDS or step == total - 1:
            checkpoint.save(folder, net, optimizer, replace(of, step=step + 1, seconds=seconds))
            saved = time.monotonic()
        progress("training", step + 1, total)
        started = time.perf_counter()
    return TrainResult(num_parameters(net), seconds, total * config.batch_size / max(seconds, 1e-9))


def _settle(
    net: SuperNet,
    dataset: Dataset,
    config: TrainConfig,
    seed: int,
    folder: Path,
    progress: Progress,
    minutes: float | None,
    *,
    begun: bool,
) -> Schedule:
    """What was settled when the training in `folder` began; or, if it begins now, start from `config.init`."""
    schedule = Schedule.read(folder)
    digest = None if begun or config.init is None else _start_from(config.init, net, dataset, schedule)
    if schedule is None:
        steps = count_steps(config, len(dataset.train))
        if minutes is not None and not begun:
            steps = steps_within(minutes, net, dataset, config, seed, progress)
        schedule = Schedule(steps, None if begun else minutes, digest, circumstances(compute_device(config.device)))
        schedule.save(folder)
    elif not begun:
        # Killed before its first checkpoint: all of its steps are done now.
        schedule = replace(schedule, circumstances=circumstances(compute_device(config.device)))
        schedule.save(folder)
    return schedule


def _start_from(init: Path, net: SuperNet, dataset: Dataset, schedule: Schedule | None) -> str:
    path = checkpoint.init_file(init)
    digest = checkpoint.file_digest(path)
    if schedule and schedule.init_sha256 != digest:
        raise RunFolderError(
            f"train.init: {path} is not what this training began with (SHA-256 {schedule.init_sha256}): restore that "
            "file, or choose another --run folder"
        )
    checkpoint.load_init(init, net, dataset.name, dataset.classes)
    return digest


def steps_within(
    minutes: float, net: SuperNet, dataset: Dataset, config: TrainConfig, seed: int, progress: Progress
) -> int:
    """How many steps `minutes` hold, validations included, but at least one.

    The first steps of the training are timed on a copy of `net`; archs differ much in cost, so several.
    """
    began, steps = time.perf_counter(), []
    net = copy.deepcopy(net)
    optimizer = make_optimizer(net, config)
    batches = _batches(dataset, config, seed, range(WARM_UP_STEPS + TIMED_STEPS))
    started = time.perf_counter()
    for step, batch in enumerate(batches):
        progress("timing steps", step, WARM_UP_STEPS + TIMED_STEPS)
        _check_finite(_step(net, optimizer, batch, config, seed, step, WARM_UP_STEPS + TIMED_STEPS), step)
        now = time.perf_counter()
        steps.append(now - started)
        started = now
        if step >= WARM_UP_STEPS and now - began > TIMING_SHARE * 60 * minutes:
            break
    progress("timing steps", len(steps), len(steps))
    validate(net, dataset)
    validating = VALIDATIONS * (time.perf_counter() - started)
    left = 60 * minutes - validating - (time.perf_counter() - began)
    timed = steps[WARM_UP_STEPS:]
    return max(1, int(left / (sum(timed) / len(timed))))


def _batches(dataset: Dataset, config: TrainConfig, seed: int, steps: range) -> Iterator[Split]:
    indices = (batch_indices(len(dataset.train), config.batch_size, seed, step) for step in steps)
    return dataset.train.stream(indices)


def _step(
    net: SuperNet,
    optimizer: torch.optim.Optimizer,
    batch: Split,
    config: TrainConfig,
    seed: int,
    step: int,
    total: int,
) -> Tensor:
    device = next(net.parameters()).device
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    pictures = augment(batch.tensor().to(device), config.augment, generator)
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
