"""The training loop: a recipe's lessons one after another, resumable, one log row every so often."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from edgenas.config import TrainConfig
from edgenas.errors import ConfigError, DataError, RunFolderError
from edgenas.files import append_jsonl
from edgenas.supernet.subnet import num_parameters
from edgenas.supernet.supernet import SuperNet
from edgenas.training import checkpoint
from edgenas.training.checkpoint import Header
from edgenas.training.course import Course, batches, validate
from edgenas.training.data import Dataset
from edgenas.training.init import init_file, load_init, load_whole
from edgenas.training.log import FILE_NAME, TrainingLog
from edgenas.training.optimizer import averaged, make_optimizer, new_average, take, zero_last_norms
from edgenas.training.processes import ALONE, Processes
from edgenas.training.settled import Schedule, circumstances
from edgenas.training.step import sandwich_backward

__all__ = ["make_optimizer", "sandwich_backward", "train", "validate"]

Progress = Callable[[str, int, int], None]
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
    """Optimiser steps of a whole training on `images` pictures; none where `epochs` is 0.

    Raises:
        DataError: a batch is larger than the training split.
    """
    if config.epochs == 0:
        return 0
    if images < config.batch_size:
        raise DataError(
            f"train.batch_size is {config.batch_size}, but there are only {images} training pictures: "
            f"set train.batch_size to at most {images}, or add pictures"
        )
    # Only runs that train nothing may leave them out.
    assert config.epochs is not None
    return max(1, round(config.epochs * (images // config.batch_size)))


def train(
    net: SuperNet,
    dataset: Dataset,
    config: TrainConfig,
    *,
    seed: int,
    folder: Path,
    progress: Progress,
    minutes: float | None = None,
    processes: Processes = ALONE,
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
        processes: who trains along; the first one writes.

    Raises:
        DataError: the training split is smaller than a batch.
        ConfigError: a batch cannot be shared by the processes.
        RunFolderError: what `folder` holds, or what `config.init` names, is broken or of something else.
        EdgenasError: a loss is not finite, or memory ran out; the step is named, the last checkpoint is kept.
    """
    processes.check_batch(config.batch_size)
    device = compute_device(config.device)
    net.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    if config.zero_last_norm:
        zero_last_norms(net)
    course = Course(net, config, seed, 0, folder=folder, processes=processes)
    header = checkpoint.resume(folder, net, course.optimizer, course.average)
    # All have looked whether there is one, before the first writes any.
    processes.wait()
    schedule = _settle(net, dataset, config, seed, folder, progress, minutes, processes, begun=header is not None)
    course.steps = total = schedule.steps
    if header is None and course.average is not None:
        course.average = new_average(net)
    of = Header(0, 0.0, net.space.structure_id, dataset.name, dataset.classes, net.pixels)
    done, seconds = (header.step, header.seconds) if header else (0, 0.0)
    log = TrainingLog(
        folder / FILE_NAME,
        total,
        len(dataset.train) // config.batch_size,
        config.batch_size,
        config.validations,
        writes=processes.first,
    )
    if 0 < done < total:
        log.resumed(done, schedule.differences(device), device)
    taken = total
    saved = time.monotonic()
    started = time.perf_counter()
    for step, batch in enumerate(batches(dataset, config, seed, range(done, total), processes), start=done):
        loss = course.step(step, batch)
        # Reading pictures counts; logging, validating and saving do not.
        seconds += time.perf_counter() - started
        if log.due(step):
            log.step(step, loss.item(), course.optimizer.param_groups[0]["lr"], seconds)
        stops = log.validation_due(step) and _validated(course, dataset, log, step, processes)
        last = stops or step == total - 1
        if last:
            _take_best(course, stops)
        if processes.first and (last or time.monotonic() - saved > CHECKPOINT_SECONDS):
            reached = replace(of, step=total if last else step + 1, seconds=seconds)
            checkpoint.save(folder, net, course.optimizer, reached, None if last else course.average)
            saved = time.monotonic()
        if processes.first and last:
            log.write_table()
        progress("training", step + 1, total)
        if stops:
            taken = step + 1
            break
        started = time.perf_counter()
    if total == 0 and processes.first:
        append_jsonl(folder / FILE_NAME, {"kind": "taken", "init_sha256": schedule.init_sha256})
        checkpoint.save(folder, net, course.optimizer, of)
    processes.wait()
    return TrainResult(num_parameters(net), seconds, taken * config.batch_size / max(seconds, 1e-9))


def _validated(course: Course, dataset: Dataset, log: TrainingLog, step: int, processes: Processes) -> bool:
    """Score and tell; keep the best weights where training may stop early. Whether it should stop now."""
    net, patience = course.net, course.config.patience
    if processes.first:
        with averaged(net, course.average):
            log.validation(step, validate(net, dataset))
            log.write_table()
            if patience is not None and log.stale(step) == 0:
                checkpoint.save_best(log.path.parent, net)
    processes.wait()
    return patience is not None and log.stale(step) >= patience


def _take_best(course: Course, stopped: bool) -> None:
    """The weights that training ends with: its average, if it keeps one; where it stopped early, the best."""
    if stopped:
        assert course.folder is not None
        checkpoint.load_best(course.folder, course.net)
    elif course.average is not None:
        take(course.average, course.net)


def _settle(
    net: SuperNet,
    dataset: Dataset,
    config: TrainConfig,
    seed: int,
    folder: Path,
    progress: Progress,
    minutes: float | None,
    processes: Processes,
    *,
    begun: bool,
) -> Schedule:
    """What was settled when the training in `folder` began; or, if it begins now, start from `config.init`."""
    schedule = Schedule.read(folder)
    digest = None if begun or config.init is None else _start_from(config, net, dataset, schedule)
    if schedule is None:
        steps = count_steps(config, len(dataset.train))
        if minutes is not None and not begun:
            if processes.count > 1:
                raise ConfigError("--minutes goes with one process: set train.epochs instead")
            steps = steps_within(minutes, net, dataset, config, seed, progress)
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


def steps_within(
    minutes: float, net: SuperNet, dataset: Dataset, config: TrainConfig, seed: int, progress: Progress
) -> int:
    """How many steps `minutes` hold, validations included, but at least one.

    The first steps of the training are timed on a copy of `net`; archs differ much in cost, so several.
    """
    began, steps = time.perf_counter(), []
    course = Course(copy.deepcopy(net), config, seed, WARM_UP_STEPS + TIMED_STEPS)
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
    validate(course.net, dataset)
    validating = config.validations * (time.perf_counter() - started)
    left = 60 * minutes - validating - (time.perf_counter() - began)
    timed = steps[WARM_UP_STEPS:]
    return max(1, int(left / (sum(timed) / len(timed))))
