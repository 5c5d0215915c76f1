"""What a plan times, since it cannot be counted: a few training steps and one scoring, on noise."""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch
from torch import Tensor

from edgenas.config.run import RunConfig
from edgenas.space.space import SearchSpace
from edgenas.supernet.supernet import SuperNet
from edgenas.training.beginning import compute_device
from edgenas.training.evaluate import materialise, top1
from edgenas.training.recipe import lesson_at
from edgenas.training.split import Split
from edgenas.training.step import lesson_backward

TIMED_STEPS = 3
TIMED_IMAGES = 256


def time_network(config: RunConfig, space: SearchSpace, num_classes: int, steps: int) -> tuple[float, float]:
    """Seconds of a step of a training of `steps`, and of scoring one picture with a subnet of middling size."""
    training = config.training
    device = compute_device(training.device)
    net = SuperNet(space, num_classes, kernel_transforms=training.kernel_transforms)
    net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    side = space.resolution[-1]
    images = max(training.batch_size, TIMED_IMAGES)
    pictures = torch.randint(0, 256, (images, 1, side, side), dtype=torch.uint8)
    split = Split(pictures, torch.zeros(images, dtype=torch.int64))
    batch, labels = (t[: training.batch_size].to(device) for t in (pictures, split.labels))
    step_seconds = [_time_step(net, batch, labels, config, step, steps) for step in _timed_steps(steps)]
    middle = space.sample(np.random.default_rng(0))
    started = time.perf_counter()
    top1(materialise(net, middle, pictures), split)
    # The first step warms up.
    return statistics.mean(step_seconds[1:]), (time.perf_counter() - started) / (2 * images)


def _timed_steps(steps: int) -> list[int]:
    """The first, and some that are spread over the training: its phases may differ."""
    return [0, *((2 * place + 1) * steps // (2 * TIMED_STEPS) for place in range(TIMED_STEPS))]


def _time_step(net: SuperNet, batch: Tensor, labels: Tensor, config: RunConfig, step: int, steps: int) -> float:
    training = config.training
    lesson = lesson_at(net.space, training, config.seed, step, steps)
    teacher = net.extract(net.space.largest).eval() if lesson.teacher == "frozen" else None
    _finished(batch)
    started = time.perf_counter()
    lesson_backward(
        net, batch, labels, lesson, teacher=teacher, precision=training.precision, at_a_time=training.at_a_time
    )
    _finished(batch)
    return time.perf_counter() - started


def _finished(tensor: Tensor) -> None:
    """Wait until the device of a tensor has done what it was given: a CUDA device works on while Python goes on."""
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
