"""Timings for a plan, which cannot be counted: a few training steps and one scoring, on noise, in a few seconds.

Batches grow from a few images until the allowance is spent, so that a plan of any space answers soon. Every size is
timed twice with the same networks. The first time includes what a network costs when it is met for the first time, such
as kernels that are built for its shapes; the second time grows with the images. What a whole batch takes follows from
the last sizes, and what other architectures take from their multiply-accumulates.
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
from edgenas.training.recipe import FROZEN, StepPlan, plan_step
from edgenas.training.setup import compute_device
from edgenas.training.training_step import accumulate_gradients

TRAINING_SECONDS, SCORING_SECONDS = 4.0, 2.0
"""Allowances. Only what the smallest batches take may exceed them."""
TRAINED_IMAGES, SCORED_IMAGES = 4, 32
"""Images of the smallest batches. Fewer say little: what does not depend on images is most of their time."""
MOST_SCORED = 256
"""Images of the largest scoring."""
REPEATS = 3
"""Timings of a whole batch, where the allowance holds them."""
SLOPES = 0.75
"""Least slope over the time per image: steps of 4 to 32 images at 96 and 224 pixels lay above it."""
SAMPLED_STEPS, SUBNETS = 16, 64
"""Steps and subnets whose mean multiply-accumulates stand for those of all."""
FORWARD_SHARE = 1 / 3
"""Cost of going forward over that of forward and backward: going backward takes two products for each one."""


@dataclass(frozen=True)
class Timing:
    """Seconds that something took with so many images, of a step in units of its multiply-accumulates.

    Attributes:
        images: number of images.
        seconds: seconds, with everything built that these networks and this number of images need.
        built: further seconds the first time.
    """

    images: int
    seconds: float
    built: float = 0.0


@dataclass(frozen=True)
class NetworkTimes:
    """Seconds that the networks of a run take on this machine.

    Attributes:
        step: one training step of the supernet, on average over the training.
        trained_image: one image in the training of a subnet of mean size on its own.
        scored_image: scoring one image with such a subnet.
    """

    step: float
    trained_image: float
    scored_image: float


def time_network(
    config: RunConfig, networks: ClassifierSpace, steps: int, progress: Progress = lambda *_: None
) -> NetworkTimes:
    """Return the seconds of a training of `steps`, and of scoring."""
    training = config.training
    progress("timing training steps", 0, 2)
    net = SuperNet(networks, kernel_transforms=training.kernel_transforms)
    net.to(device=compute_device(training.device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    side = networks.resolution[-1]
    count = max(training.batch_size, MOST_SCORED)
    images = torch.randint(0, 256, (count, 1, side, side), dtype=torch.uint8)
    macs = _step_macs(config, networks, steps)
    middle, share = _middle(networks)
    each_mac = _seconds_each_mac(net, images, config, steps, macs)
    progress("timing a scoring", 1, 2)
    scored = _scoring_seconds(net, images, middle) / share
    progress("timing a scoring", 2, 2)
    mean_macs = float(macs_of(networks, [middle])[0]) / share
    return NetworkTimes(each_mac * float(np.mean(macs)), each_mac * mean_macs / training.batch_size, scored)


def _seconds_each_mac(net: SuperNet, images: Tensor, config: RunConfig, steps: int, macs: Sequence[float]) -> float:
    """Return the mean seconds of a step over its multiply-accumulates for one image."""
    device = compute_device(config.training.device)
    labels = torch.zeros(len(images), dtype=torch.int64)

    def timed(count: int, number: int) -> float:
        index = number % len(macs)
        batch = images[:count].to(device), labels[:count].to(device)
        return _time_step(net, *batch, config, index * steps // len(macs), steps) / macs[index]

    return _at_size(timed, TRAINED_IMAGES, config.training.batch_size, TRAINING_SECONDS)


def _scoring_seconds(net: SuperNet, images: Tensor, arch: Arch) -> float:
    """Return the mean seconds to score an image with a subnet."""
    seconds = _at_size(
        lambda count, _: _time_scoring(net, arch, images[:count]), SCORED_IMAGES, MOST_SCORED, SCORING_SECONDS
    )
    # Every image calibrates and is scored.
    return seconds / (2 * MOST_SCORED)


def _at_size(timed: Callable[[int, int], float], fewest: int, size: int, allowance_seconds: float) -> float:
    """Return the mean of `timed(size, number)`, by growing sizes until the allowance is spent."""
    began, images, timings = time.perf_counter(), min(fewest, size), list[Timing]()
    while True:
        first, second = (timed(images, len(timings)) for _ in range(2))
        timings.append(Timing(images, second, max(0.0, first - second)))
        whole = sum(timing.images == size for timing in timings)
        # The next one has twice as many images, about as many as all before it; at the whole size as many as the last.
        times = 1.0 if not whole else 0.5
        if whole == REPEATS or (1 + times) * (time.perf_counter() - began) > allowance_seconds:
            return extrapolated(timings, size)
        images = min(2 * images, size)


def extrapolated(timings: Sequence[Timing], size: int) -> float:
    """Return the time of `size` images: the median of timings at that size, or a line through the two largest sizes.

    A line, since a part of the time does not depend on the number of images. Its slope lies between `SLOPES` and 1
    times the time per image, and that is the lower of both sizes: a pause of the machine counts once at most. What is
    built the first time does not grow with the images.

    Args:
        timings: timings by growing numbers of images, at least one.
        size: number of images, no less than any of them had.
    """
    built = min(timing.built for timing in timings)
    most = timings[-1].images
    if most == size:
        return built + statistics.median(timing.seconds for timing in timings if timing.images == size)
    last, before = timings[-1], timings[-2:][0]
    each = min(last.seconds / last.images, before.seconds / before.images)
    slope = (last.seconds - before.seconds) / (most - before.images) if len(timings) > 1 else 0.0
    return built + each * most + (size - most) * min(max(slope, SLOPES * each), each)


def _step_macs(config: RunConfig, networks: ClassifierSpace, steps: int) -> list[float]:
    """Return the multiply-accumulates of some steps, spread over the training: its phases may differ."""
    count = max(1, min(SAMPLED_STEPS, steps))
    numbers = [index * steps // count for index in range(count)]
    plans = (plan_step(networks, config.training, config.seed, number, steps) for number in numbers)
    return [_plan_macs(networks, plan) for plan in plans]


def _plan_macs(networks: ClassifierSpace, plan: StepPlan) -> float:
    """Return the multiply-accumulates of a step for one image, going forward; those of its teacher by their cost."""
    macs = float(macs_of(networks, plan.archs).sum())
    if plan.teacher in FROZEN:
        macs += FORWARD_SHARE * float(macs_of(networks, [networks.largest])[0])
    return macs


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
