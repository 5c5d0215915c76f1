"""How a training begins: on which device, with how many steps, from which weights. Settled once for a folder."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from edgenas.config.sections import TrainConfig
from edgenas.errors import ConfigError, DataError, RunFolderError
from edgenas.supernet.supernet import SuperNet
from edgenas.training import checkpoint
from edgenas.training.data.dataset import Dataset
from edgenas.training.fixed_settings import Schedule, circumstances
from edgenas.training.initial_weights import init_file, load_init, load_whole
from edgenas.training.trainer import Course, batches, validate

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it and of how much; behind a colon, the former says how it goes."""
WARM_UP_STEPS, TIMED_STEPS = 3, 30
TIMING_SHARE = 0.03
"""Of the minutes asked for, after which timing ends early."""


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
    """Optimiser steps of a whole training on `images` images; none where `epochs` is 0.

    Raises:
        DataError: a batch is larger than the training split.
    """
    if config.epochs == 0:
        return 0
    if images < config.batch_size:
        raise DataError(
            f"train.batch_size is {config.batch_size}, but there are only {images} training images: "
            f"set train.batch_size to at most {images}, or add images"
        )
    # Only runs that train nothing may leave them out.
    assert config.epochs is not None
    return max(1, round(config.epochs * (images // config.batch_size)))


def settle(
    course: Course, dataset: Dataset, folder: Path, progress: Progress, minutes: float | None, *, begun: bool
) -> Schedule:
    """What was settled when the training in `folder` began; or, if it begins now, start from `config.init`.

    Args:
        course: the training, whose number of steps is not known yet.
        dataset: what is trained.
        folder: of the training.
        progress: called while steps are timed.
        minutes: see `edgenas.training.training_loop.train`.
        begun: whether there is a checkpoint.
    """
    config, processes = course.config, course.processes
    schedule = Schedule.read(folder)
    digest = None if begun or config.init is None else _start_from(config, course.net, dataset, schedule)
    if schedule is None:
        steps = count_steps(config, len(dataset.train))
        if minutes is not None and not begun:
            if processes.count > 1:
                raise ConfigError("--minutes goes with one process: set train.epochs instead")
            steps = steps_within(minutes, course, dataset, progress)
        schedule = Schedule(steps, None if begun else minutes, digest, circumstances(compute_device(config.device)))
    elif not begun:
        # Killed before its first checkpoint: all of its steps are done now.
        schedule = replace(schedule, circumstances=circumstances(compute_device(config.device)))
    else:
        return schedule
    # All have read it, before the first writes it.
    processes.wait()
    if processes.first:
        schedule.save(folder)
    return schedule


def _start_from(config: TrainConfig, net: SuperNet, dataset: Dataset, schedule: Schedule | None) -> str:
    assert config.init is not None
    path = init_file(config.init)
    digest = checkpoint.file_digest(path)
    if schedule and schedule.init_sha256 != digest:
        raise RunFolderError(
            f"train.init: {path} is not what this training began with (SHA-256 {schedule.init_sha256}): restore that "
            "file, or choose another --run folder"
        )
    if config.epochs == 0:
        load_whole(config.init, net, dataset.classes)
    else:
        load_init(config.init, net, dataset.name, dataset.classes)
    return digest


def steps_within(minutes: float, begun: Course, dataset: Dataset, progress: Progress) -> int:
    """How many steps `minutes` hold, validations included, but at least one.

    The first steps of the training are timed on a copy of its supernet; archs differ much in cost, so several.
    """
    config, seed, began, steps = begun.config, begun.seed, time.perf_counter(), []
    course = Course(copy.deepcopy(begun.net), config, seed, WARM_UP_STEPS + TIMED_STEPS, pool=begun.pool)
    started = time.perf_counter()
    for step, batch in enumerate(batches(dataset, config, seed, range(course.steps))):
        progress("timing steps", step, course.steps)
        course.step(step, batch)
        now = time.perf_counter()
        steps.append(now - started)
        started = now
        if step >= WARM_UP_STEPS and now - began > TIMING_SHARE * 60 * minutes:
            break
    progress("timing steps", len(steps), len(steps))
    validate(course.net, dataset, course.pool)
    validating = config.validations * (time.perf_counter() - started)
    left = 60 * minutes - validating - (time.perf_counter() - began)
    timed = steps[WARM_UP_STEPS:]
    return max(1, int(left / (sum(timed) / len(timed))))
