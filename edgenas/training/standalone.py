"""Standalone training of one network, from inherited weights (as in fine-tuning) or from random ones."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from edgenas.config.train_config import TrainConfig
from edgenas.progress import StepProgress
from edgenas.space.arch import Arch
from edgenas.space.blocks.spec import BlockSpec
from edgenas.supernet.functional import run_subnet
from edgenas.supernet.layers import module_device
from edgenas.supernet.pixels import Pixels
from edgenas.supernet.subnet import Subnet
from edgenas.training import checkpoint
from edgenas.training.checkpoint import Header
from edgenas.training.class_weights import class_weights
from edgenas.training.data.augment import augment
from edgenas.training.data.split import Split
from edgenas.training.early_stopping import EarlyStopping
from edgenas.training.interruption import DeferredSignals
from edgenas.training.losses import distillation_loss, hard_loss
from edgenas.training.materialise import preprocess_of
from edgenas.training.optimizer import (
    load_average,
    make_optimizer,
    new_average,
    set_learning_rate,
    update_average,
    zero_last_norms,
)
from edgenas.training.schedule import batch_indices, learning_rate
from edgenas.training.setup import compute_device
from edgenas.training.training_step import autocast, check_finite

WARM_UP_STEPS, TIMED_STEPS, ROUNDS = 2, 3, 10
"""For timing a network: untimed steps at the start, timed steps a round, and rounds."""


def fresh_subnet(
    specs: Sequence[BlockSpec],
    config: TrainConfig,
    seed: int,
    *,
    arch: Arch | None = None,
    pixels: Pixels | None = None,
) -> Subnet:
    """Return an uncalibrated network with seeded random weights, of the same distribution as a supernet's."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        subnet = Subnet(specs, arch, pixels)
        for module in subnet.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
    if config.zero_last_norm:
        zero_last_norms(subnet)
    return subnet


def from_scratch(config: TrainConfig) -> TrainConfig:
    """Return the settings for networks with random weights, whose early layers have as much to learn as late ones."""
    return config.model_copy(update={"layer_decay": 1.0})


def steps_of(config: TrainConfig, images: int, epochs: float) -> int:
    """Return the optimiser steps of so many passes over a split, at least one."""
    return max(1, round(epochs * (images // min(config.batch_size, images))))


def epochs_of(config: TrainConfig, images: int, steps: int) -> float:
    """Return how many passes over a split so many optimiser steps are."""
    return steps / max(1, images // min(config.batch_size, images))


def train_network(
    net: Subnet,
    train: Split,
    config: TrainConfig,
    *,
    steps: int,
    seed: int,
    progress: StepProgress,
    learning_rate_share: float = 1.0,
    teacher: Subnet | None = None,
    average: float | None = None,
    folder: Path | None = None,
    stopping: EarlyStopping | None = None,
) -> float:
    """Train a network in place on the device of the config, where it stays in train mode.

    A signal that asks the process to end is deferred to the end of a step, and a checkpoint is written first. On a CPU,
    a resumed training gives the bits of an undisturbed one.

    Args:
        net: the network, calibrated or not; in the end it has the batch-norm statistics of its training.
        train: training images with their labels.
        config: settings of a supernet's training; its batch, optimiser, rate, augmentation, smoothing and device apply.
        steps: optimiser steps.
        seed: seed of the order of images and of their augmentation.
        progress: called with the steps done and all steps.
        learning_rate_share: peak learning rate, as a fraction of the one in the config.
        teacher: a calibrated network for the same classes, distilled into the network beside the labels.
        average: decay of a moving average of the weights, which the network gets in the end; None for none.
        folder: folder of the checkpoint to write and to resume from; None for none.
        stopping: ends the training early, whose best weights the network then gets; None to make all steps.

    Returns:
        Seconds spent in steps, over all interruptions.

    Raises:
        RunFolderError: the checkpoint in `folder` is broken or of another network.
        EdgenasError: the loss is not finite; the message names the step.
    """
    config = config.for_images(len(train), _classes(net))
    net.to(device=compute_device(config.device), memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer, weights = make_optimizer(net, config), _class_weights(net, train, config)
    averaged = None if average is None else new_average(net)
    header = checkpoint.resume(folder, net, optimizer, averaged) if folder else None
    done, seconds = (header.step, header.seconds) if header else (0, 0.0)
    if stopping and header:
        stopping.resume(header.scores)
    saved, started = time.monotonic(), time.perf_counter()
    with DeferredSignals() as signals:
        # One that had stopped before its result was written does not train again.
        left = range(done, done if stopping and stopping.stops else steps)
        for step, batch in _batches(train, config, seed, left):
            set_learning_rate(
                optimizer, learning_rate(step, steps, learning_rate_share * config.learning_rate, config.warmup)
            )
            _step(net, teacher, optimizer, batch, config, weights, seed, step)
            if averaged is not None:
                assert average is not None
                update_average(averaged, net, average, step)
            seconds, done = seconds + time.perf_counter() - started, step + 1
            validated = stopping is not None and stopping.due(done, steps)
            if stopping and validated:
                stopping.validate(net, averaged)
            late = time.monotonic() - saved >= config.checkpoint_seconds
            if folder and (signals.number is not None or late or validated):
                scores = tuple(stopping.scores) if stopping else ()
                header = Header(done, seconds, pixels=net.pixels, scores=scores)
                checkpoint.save(folder, net, optimizer, header, averaged)
                saved = time.monotonic()
            signals.deliver()
            progress(done, steps)
            if stopping and stopping.stops:
                break
            started = time.perf_counter()
    if stopping:
        stopping.steps_taken = done
    if stopping and stopping.stops:
        checkpoint.load_best(stopping.folder, net)
    elif averaged is not None:
        load_average(averaged, net)
    return seconds


def step_seconds(
    nets: Sequence[Subnet],
    train: Split,
    config: TrainConfig,
    seed: int,
    *,
    rounds: int = ROUNDS,
    warm_up: int = WARM_UP_STEPS,
    timed: int = TIMED_STEPS,
    teacher: Subnet | None = None,
) -> list[float]:
    """Return the median seconds of one step of `train_network` for each network, reading images included.

    Copies of the networks are timed in turn, so that a temporary slowdown of the machine affects all alike.

    Args:
        nets: the networks; they are not changed.
        train: see `train_network`.
        config: see `train_network`.
        seed: see `train_network`.
        rounds: rounds in which every network is timed.
        warm_up: untimed steps at the start of each network.
        timed: timed steps of each network in a round.
        teacher: see `train_network`.
    """
    clocks = [_clock(net, train, config, seed, warm_up + rounds * (1 + timed), teacher) for net in nets]
    for clock in clocks:
        _take(clock, warm_up)
    seconds: list[list[float]] = [[] for _ in nets]
    for _ in range(rounds):
        for samples, clock in zip(seconds, clocks, strict=True):
            # The first step runs with the caches of another network.
            samples += _take(clock, 1 + timed)[1:]
    return [statistics.median(samples) for samples in seconds]


def _take(clock: Iterator[float], count: int) -> list[float]:
    return list(islice(clock, count))


def _clock(
    net: Subnet, train: Split, config: TrainConfig, seed: int, steps: int, teacher: Subnet | None
) -> Iterator[float]:
    """Yield the seconds of each step of a copy; the step runs when its time is requested."""
    twin = copy.deepcopy(net).to(device=compute_device(config.device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    twin.train()
    config = config.for_images(len(train), _classes(twin))
    optimizer, batches = make_optimizer(twin, config), _batches(train, config, seed, range(steps))
    weights = _class_weights(twin, train, config)
    # Training is not the purpose, and no loss can diverge.
    set_learning_rate(optimizer, 0.0)
    for _ in range(steps):
        started = time.perf_counter()
        step, batch = next(batches)
        _step(twin, teacher, optimizer, batch, config, weights, seed, step)
        yield time.perf_counter() - started


def _batches(train: Split, config: TrainConfig, seed: int, steps: range) -> Iterator[tuple[int, Split]]:
    size = min(config.batch_size, len(train))
    return zip(steps, train.stream(batch_indices(len(train), size, seed, steps)), strict=True)


def _step(
    net: Subnet,
    teacher: Subnet | None,
    optimizer: torch.optim.Optimizer,
    batch: Split,
    config: TrainConfig,
    weights: Tensor | None,
    seed: int,
    step: int,
) -> None:
    device, generator = module_device(net), torch.Generator().manual_seed(seed * 1_000_003 + step)
    images, labels = augment(
        batch.tensor().to(device), batch.labels.to(device), config.augment, _classes(net), generator
    )
    with autocast(device, config.precision):
        logits = run_subnet(net, _inputs(net, images))
        loss = hard_loss(logits, labels, config.label_smoothing, weights)
        if teacher is not None:
            with torch.no_grad():
                teacher_logits = teacher(_inputs(teacher, images))
            loss = loss + distillation_loss(logits, teacher_logits)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    check_finite(loss.detach()[None], [net.arch or "a network outside the space"], step)
    if config.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip_norm)
    optimizer.step()


def _classes(net: Subnet) -> int:
    return net.specs[-1].out_channels


def _class_weights(net: Subnet, train: Split, config: TrainConfig) -> Tensor | None:
    weights = class_weights(config.class_weights, train.counts(_classes(net)))
    return None if weights is None else weights.to(module_device(net))


def _inputs(net: Subnet, images: Tensor) -> Tensor:
    return preprocess_of(net)(images)
