"""Training one network on its own: from inherited weights, as fine-tuning does, or from fresh ones."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from edgenas.config.sections import TrainConfig
from edgenas.space.arch import Arch
from edgenas.space.blocks import BlockSpec
from edgenas.supernet.lending import run_subnet
from edgenas.supernet.pixels import Pixels
from edgenas.supernet.subnet import Subnet, module_device
from edgenas.training import checkpoint
from edgenas.training import training_loop as loop
from edgenas.training.checkpoint import Header
from edgenas.training.data.augment import augment
from edgenas.training.data.split import Split
from edgenas.training.interruption import Held
from edgenas.training.losses import distillation_loss, hard_loss
from edgenas.training.materialise import preprocess_of
from edgenas.training.optimizer import make_optimizer, new_average, take, update_average, zero_last_norms
from edgenas.training.schedule import batch_indices, learning_rate
from edgenas.training.setup import compute_device
from edgenas.training.training_step import autocast, check_finite

Progress = Callable[[int, int], None]
WARM_UP_STEPS, TIMED_STEPS, ROUNDS = 2, 3, 10
"""Of a network that is timed: steps before, steps of a turn, and turns."""


def fresh_subnet(
    specs: Sequence[BlockSpec],
    config: TrainConfig,
    seed: int,
    *,
    arch: Arch | None = None,
    pixels: Pixels | None = None,
) -> Subnet:
    """A network with seeded weights, drawn as a supernet's are; not calibrated."""
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


def steps_of(config: TrainConfig, images: int, epochs: float) -> int:
    """Optimiser steps of so many passes over a split, at least one."""
    return max(1, round(epochs * (images // min(config.batch_size, images))))


def epochs_of(config: TrainConfig, images: int, steps: int) -> float:
    """Passes over a split that so many optimiser steps are."""
    return steps / max(1, images // min(config.batch_size, images))


def train_network(
    net: Subnet,
    train: Split,
    config: TrainConfig,
    *,
    steps: int,
    seed: int,
    progress: Progress,
    learning_rate_share: float = 1.0,
    teacher: Subnet | None = None,
    average: float | None = None,
    folder: Path | None = None,
) -> float:
    """Train a network in place, on the device that the config names; it stays there, in train mode.

    A signal that asks the process to end waits for the end of a step, and a checkpoint is written. On a CPU a resumed
    training gives the bits of an undisturbed one.

    Args:
        net: calibrated or not; its batch-norm statistics are those of its training in the end.
        train: training images with their labels.
        config: of a supernet's training: its batch, optimiser, rate, augmentation, smoothing and device hold here, too.
        steps: of the optimiser.
        seed: of the order of images and their augmentation.
        progress: called with steps done and in all.
        learning_rate_share: of the config's learning rate, at the peak.
        teacher: calibrated, of the same classes; its outputs are learned beside the labels.
        average: decay of a running average of the weights that is taken in the end; None: none.
        folder: of the checkpoint that is resumed from; None: there is none.

    Returns:
        Seconds spent in steps, over all interruptions.

    Raises:
        RunFolderError: the checkpoint in `folder` is broken or of another network.
        EdgenasError: the loss is no finite number; the step is named.
    """
    net.to(device=compute_device(config.device), memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = make_optimizer(net, config)
    averaged = None if average is None else new_average(net)
    header = checkpoint.resume(folder, net, optimizer, averaged) if folder else None
    done, seconds = (header.step, header.seconds) if header else (0, 0.0)
    saved, started = time.monotonic(), time.perf_counter()
    with Held() as held:
        for step, batch in _batches(train, config, seed, range(done, steps)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps, learning_rate_share * config.learning_rate, config.warmup)
            _step(net, teacher, optimizer, batch, config, seed, step)
            if averaged is not None:
                assert average is not None
                update_average(averaged, net, average, step)
            seconds += time.perf_counter() - started
            if folder and (held.number is not None or time.monotonic() - saved > loop.CHECKPOINT_SECONDS):
                checkpoint.save(folder, net, optimizer, Header(step + 1, seconds), averaged)
                saved = time.monotonic()
            held.pass_on()
            progress(step + 1, steps)
            started = time.perf_counter()
    if averaged is not None:
        take(averaged, net)
    return seconds


def step_seconds(
    nets: Sequence[Subnet], train: Split, config: TrainConfig, seed: int, *, rounds: int = ROUNDS
) -> list[float]:
    """Seconds of one step of `train_network` for each network, reading images included; taken by copies of them.

    Networks take turns, so that a machine that is slower for a while is so for all; of each the median counts.

    Args:
        nets: to be timed.
        train: see `train_network`.
        config: see `train_network`.
        seed: see `train_network`.
        rounds: turns of each network.
    """
    clocks = [_clock(net, train, config, seed, WARM_UP_STEPS + rounds * (1 + TIMED_STEPS)) for net in nets]
    for clock in clocks:
        _take(clock, WARM_UP_STEPS)
    found: list[list[float]] = [[] for _ in nets]
    for _ in range(rounds):
        for own, clock in zip(found, clocks, strict=True):
            # The first finds the caches as another network left them.
            own += _take(clock, 1 + TIMED_STEPS)[1:]
    return [statistics.median(own) for own in found]


def _take(clock: Iterator[float], count: int) -> list[float]:
    return list(islice(clock, count))


def _clock(net: Subnet, train: Split, config: TrainConfig, seed: int, steps: int) -> Iterator[float]:
    """Seconds of each step of a copy, which is taken when it is asked for."""
    twin = copy.deepcopy(net).to(device=compute_device(config.device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    twin.train()
    optimizer, batches = make_optimizer(twin, config), _batches(train, config, seed, range(steps))
    for group in optimizer.param_groups:
        # Nothing is to be learned, and nothing can go wrong.
        group["lr"] = 0.0
    for _ in range(steps):
        started = time.perf_counter()
        step, batch = next(batches)
        _step(twin, None, optimizer, batch, config, seed, step)
        yield time.perf_counter() - started


def _batches(train: Split, config: TrainConfig, seed: int, steps: range) -> Iterator[tuple[int, Split]]:
    size = min(config.batch_size, len(train))
    indices = (batch_indices(len(train), size, seed, step) for step in steps)
    return zip(steps, train.stream(indices), strict=True)


def _step(
    net: Subnet,
    teacher: Subnet | None,
    optimizer: torch.optim.Optimizer,
    batch: Split,
    config: TrainConfig,
    seed: int,
    step: int,
) -> None:
    device, generator = module_device(net), torch.Generator().manual_seed(seed * 1_000_003 + step)
    images, labels = augment(batch.tensor().to(device), config.augment, generator), batch.labels.to(device)
    with autocast(device, config.precision):
        logits = run_subnet(net, _inputs(net, images))
        loss = hard_loss(logits, labels, config.label_smoothing)
        if teacher is not None:
            with torch.no_grad():
                wanted = teacher(_inputs(teacher, images))
            loss = loss + distillation_loss(logits, wanted)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    check_finite(loss.detach()[None], [net.arch or "a network of its own"], step)
    if config.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip_norm)
    optimizer.step()


def _inputs(net: Subnet, images: Tensor) -> Tensor:
    return preprocess_of(net)(images)
