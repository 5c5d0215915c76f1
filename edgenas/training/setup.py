"""The start of a training: device, number of steps and initial weights, fixed once for a folder."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import torch

from edgenas.config.train_config import TrainConfig
from edgenas.errors import ConfigError, DataError, RunFolderError
from edgenas.files import file_digest
from edgenas.progress import Progress
from edgenas.records.train import FixedSettings
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data.dataset import Dataset
from edgenas.training.fixed_settings import FILE_NAME, circumstances, load_fixed_settings
from edgenas.training.initial_weights import init_file, load_init, load_whole
from edgenas.training.trainer import Trainer, batches, validate

WARM_UP_STEPS, TIMED_STEPS = 3, 30
TIMING_SHARE = 0.03
"""Fraction of the requested minutes after which timing ends early."""


def compute_device(name: str) -> torch.device:
    """Return the device of this name; `auto` is CUDA if torch finds it, else the CPU.

    Raises:
        ConfigError: `cuda` was requested and torch finds none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ConfigError("train.device is cuda, but torch finds no CUDA device: set it to auto or cpu")
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    return torch.device(name)


def count_steps(config: TrainConfig, images: int) -> int:
    """Return the optimiser steps of a whole training on `images` images; 0 where `epochs` is 0.

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
    # Only runs that train nothing may omit epochs.
    assert config.epochs is not None
    return max(1, round(config.epochs * (images // config.batch_size)))


def fix_settings(
    trainer: Trainer, dataset: Dataset, folder: Path, progress: Progress, minutes: float | None, *, resumed: bool
) -> FixedSettings:
    """Return the settings that were fixed when the training in `folder` began.

    If it begins now, load the checkpoint that `config.init` names and write the settings.

    Args:
        trainer: the training, whose number of steps is not set yet.
        dataset: the data set.
        folder: folder of the training.
        progress: called while steps are timed.
        minutes: see `edgenas.training.training_loop.train`.
        resumed: whether there is a checkpoint.
    """
    config, processes = trainer.config, trainer.processes
    settings = load_fixed_settings(folder)
    path = None if resumed else config.init_path
    digest = None if path is None else _load_checkpoint(path, config, trainer.net, dataset, settings)
    if settings is not None and resumed:
        return settings
    # A training that was killed before its first checkpoint computes all of its steps now.
    current = circumstances(compute_device(config.device))
    if settings is None:
        steps = count_steps(config, len(dataset.train))
        if minutes is not None and not resumed:
            if processes.count > 1:
                raise ConfigError("--train-minutes works with one process only: set train.epochs instead")
            steps = steps_within(minutes, trainer, dataset, progress)
        settings = FixedSettings(
            steps=steps, minutes=None if resumed else minutes, init_sha256=digest, circumstances=current
        )
    else:
        settings = settings.model_copy(update={"circumstances": current})
    # Every process has read the file before the first one writes it.
    processes.wait()
    if processes.first:
        settings.write(folder / FILE_NAME)
    return settings


def _load_checkpoint(
    source: Path, config: TrainConfig, net: SuperNet, dataset: Dataset, settings: FixedSettings | None
) -> str:
    path = init_file(source)
    digest = file_digest(path)
    if settings and settings.init_sha256 != digest:
        raise RunFolderError(
            f"train.init: {path} changed since this training began (its SHA-256 was {settings.init_sha256}): restore "
            "that file, or choose another --run folder"
        )
    if config.epochs == 0:
        load_whole(source, net, dataset.classes)
    else:
        load_init(source, net, dataset.name, dataset.classes)
    return digest


def steps_within(
    minutes: float, trainer: Trainer, dataset: Dataset, progress: Progress, timed_steps: int = TIMED_STEPS
) -> int:
    """Return how many steps fit into `minutes`, validations included; at least one.

    The first `timed_steps` after a warm-up are timed on a copy of the supernet. Several are needed, because
    architectures differ much in cost.
    """
    config, seed, began, seconds = trainer.config, trainer.seed, time.perf_counter(), []
    twin = Trainer(
        copy.deepcopy(trainer.net),
        config,
        seed,
        WARM_UP_STEPS + timed_steps,
        pool=trainer.pool,
        class_weights=trainer.class_weights,
    )
    started = time.perf_counter()
    for step, batch in enumerate(batches(dataset, config, seed, range(twin.steps))):
        progress("timing steps", step, twin.steps)
        twin.step(step, batch)
        now = time.perf_counter()
        seconds.append(now - started)
        started = now
        if step >= WARM_UP_STEPS and now - began > TIMING_SHARE * 60 * minutes:
            break
    progress("timing steps", len(seconds), len(seconds))
    validate(twin.net, dataset, twin.pool)
    validating = config.validations * (time.perf_counter() - started)
    left = 60 * minutes - validating - (time.perf_counter() - began)
    timed = seconds[WARM_UP_STEPS:]
    return max(1, int(left / (sum(timed) / len(timed))))
