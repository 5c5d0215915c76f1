"""Timings for a plan, which cannot be counted: a few training steps and one scoring, on noise, in a few seconds.

Batches grow from two images until the allowance is spent, so that a plan of any space answers soon. What a whole batch
takes follows from the last two sizes, and what other architectures take from their multiply-accumulates.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgenas.config.run_config import RunConfig
from edgenas.progress import Progress
from edgenas.space.arch import Arch
from edgenas.space.covering_samples import macs_of
from edgenas.space.space import ClassifierSpace
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data.augment import augment
from edgenas.training.data.split import Split
from edgenas.training.materialise import materialise, top1
from edgenas.training.recipe import FROZEN, plan_step
from edgenas.training.setup import compute_device
from edgenas.training.training_step import accumulate_gradients

TRAINING_SECONDS, SCORING_SECONDS = 4.0, 2.0
"""Allowances. Only what a batch of two takes may exceed them."""
FEWEST_IMAGES, SCORED_IMAGES = 2, 256
REPEATS = 3
"""Timings of a whole batch, where the allowance holds them."""
SLOPES = 0.75
"""Least slope over the time per image: steps of 4 to 32 images at 96 and 224 pixels lay above it."""
SAMPLED_STEPS, SUBNETS = 16, 64
"""Steps and subnets whose mean multiply-accumulates stand for those of all."""


@dataclass(frozen=True)
class Timing:
    """Seconds that something took with so many images; of a step in units of its multiply-accumulates."""

    images: int
    seconds: float


def time_network(
    config: RunConfig, networks: ClassifierSpace, steps: int, progress: Progress = lambda *_: None
) -> tuple[float, float]:
    """Return seconds of a step of a training of `steps`, and of scoring one image with a subnet of mean size."""
    training = config.training
    progress("timing training steps", 0, 2)
    net = SuperNet(networks, kernel_transforms=training.kernel_transforms)
    net.to(device=compute_device(training.device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    side = networks.resolution[-1]
    count = max(training.batch_size, SCORED_IMAGES)
    images = torch.randint(0, 256, (count, 1, side, side), dtype=torch.uint8)
    step_seconds = _training_seconds(net, images, config, steps)
    progress("timing a scoring", 1, 2)
    image_seconds = _scoring_seconds(net, images)
    progress("timing a scoring", 2, 2)
    return step_seconds, image_seconds


def _training_seconds(net: SuperNet, images: Tensor, config: RunConfig, steps: int) -> float:
    """Return the mean seconds of a step of a training of `steps`."""
    device = compute_device(config.training.device)
    labels = torch.zeros(len(images), dtype=torch.int64)
    macs = _step_macs(config, net.space, steps)

    def timed(count: int, number: int) -> float:
        index = number % len(macs)
        batch = images[:count].to(device), labels[:count].to(device)
        return _time_step(net, *batch, config, index * steps // len(macs), steps) / macs[index]

    return _at_size(timed, config.training.batch_size, TRAINING_SECONDS) * float(np.mean(macs))


def _scoring_seconds(net: SuperNet, images: Tensor) -> float:
    """Return the mean seconds to score an image with a subnet."""
    middle, share = _middle(net.space)
    seconds = _at_size(lambda count, _: _time_scoring(net, middle, images[:count]), SCORED_IMAGES, SCORING_SECONDS)
    # Every image calibrates and is scored.
    return seconds / (2 * SCORED_IMAGES) / share


def _at_size(timed: Callable[[int, int], float], size: int, allowance_seconds: float) -> float:
    """Return the mean of `timed(size, number)`, by growing sizes until the allowance is spent."""
    began, images, timings = time.perf_counter(), min(FEWEST_IMAGES, size), list[Timing]()
    # The first one warms up.
    timed(images, 0)
    while True:
        timings.append(Timing(images, timed(images, len(timings) + 1)))
        whole = sum(timing.images == size for timing in timings)
        # The next one has twice as many images, about as many as all before it; at the whole size as many as the last.
        times = 1.0 if not whole else 0.5
        if whole == REPEATS or (1 + times) * (time.perf_counter() - began) > allowance_seconds:
            return extrapolated(timings, size)
        images = min(2 * images, size)


def extrapolated(timings: Sequence[Timing], size: int) -> float:
    """Return what `size` images take: the median of timings at that size, or a line through the two largest sizes.

    A line, since a part of the time does not depend on the number of images. Its slope lies between `SLOPES` and 1
    times the time per image, and that is the lower of both sizes: a pause of the machine counts once at most.

    Args:
        timings: timings by growing numbers of images, at least one.
        size: number of images, no less than any of them had.
    """
    most = timings[-1].images
    if most == size:
        return statistics.median(timing.seconds for timing in timings if timing.images == size)
    last, before = timings[-1], timings[-2:][0]
    each = min(last.seconds / last.images, before.seconds / before.images)
    slope = (last.seconds - before.seconds) / (most - before.images) if len(timings) > 1 else 0.0
    return each * most + (size - most) * min(max(slope, SLOPES * each), each)


def _step_macs(config: RunConfig, networks: ClassifierSpace, steps: int) -> list[float]:
    """Return the multiply-accumulates of some steps, spread over the training: its phases may differ."""
    count = max(1, min(SAMPLED_STEPS, steps))
    numbers = [index * steps // count for index in range(count)]
    plans = (plan_step(networks, config.training, config.seed, number, steps) for number in numbers)
    return [float(macs_of(networks, plan.archs).sum()) for plan in plans]


def _middle(networks: ClassifierSpace) -> tuple[Arch, float]:
    """Return the subnet of most usual size among some, and its multiply-accumulates over their mean."""
    rng = np.random.default_rng(0)
    archs = [networks.sample(rng) for _ in range(SUBNETS)]
    macs = macs_of(networks, archs)
    index = int(np.abs(macs - macs.mean()).argmin())
    return archs[index], float(macs[index] / macs.mean())


def _time_step(net: SuperNet, batch: Tensor, labels: Tensor, config: RunConfig, step: int, steps: int) -> float:
    training, generator = config.training, torch.Generator().manual_seed(step)
    plan = plan_step(net.space, training, config.seed, step, steps)
    teacher = net.extract(net.space.largest).eval() if plan.teacher in FROZEN else None
    _synchronise(batch)
    started = time.perf_counter()
    images, targets = augment(batch, labels, training.augment, net.space.num_classes, generator)
    accumulate_gradients(
        net, images, targets, plan, teacher=teacher, precision=training.precision, at_a_time=training.at_a_time
    )
    _synchronise(batch)
    return time.perf_counter() - started


def _time_scoring(net: SuperNet, arch: Arch, images: Tensor) -> float:
    started = time.perf_counter()
    top1(materialise(net, arch, images), Split(images, torch.zeros(len(images), dtype=torch.int64)))
    return time.perf_counter() - started


def _synchronise(tensor: Tensor) -> None:
    """Wait until the device of a tensor is idle: a CUDA device works asynchronously."""
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
