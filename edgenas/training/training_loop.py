"""The training loop: a recipe's lessons one after another, resumable, one log row every so often."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from edgenas.config.sections import TrainConfig
from edgenas.errors import ConfigError
from edgenas.files import append_jsonl
from edgenas.space.arch import Arch
from edgenas.supernet.subnet import num_parameters
from edgenas.supernet.supernet import SuperNet
from edgenas.training import checkpoint
from edgenas.training.checkpoint import Header
from edgenas.training.data.dataset import Dataset
from edgenas.training.data.split import Split
from edgenas.training.distributed import ALONE, Processes
from edgenas.training.interruption import Held
from edgenas.training.optimizer import averaged, new_average, take, zero_last_norms
from edgenas.training.recipe import takes_pool
from edgenas.training.setup import Progress, compute_device, settle
from edgenas.training.tensorboard import Board
from edgenas.training.trainer import Course, batches, validate
from edgenas.training.training_log import FILE_NAME, TrainingLog

LOGGER = logging.getLogger(__name__)
CHECKPOINT_SECONDS = 60.0
TELL_SECONDS = 60.0
"""After so long it is told how long the whole training takes."""


@dataclass(frozen=True)
class TrainResult:
    """What training took.

    Attributes:
        params: parameters of the supernet.
        train_seconds: time spent in steps, over all interruptions.
        images_per_second: images a second; each goes through all subnets of a step.
    """

    params: int
    train_seconds: float
    images_per_second: float

    def to_json(self) -> dict[str, float]:
        """As it stands in `summary.json`."""
        return asdict(self)


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
    pool: Sequence[Arch] | None = None,
) -> TrainResult:
    """Train the supernet in place; `folder` gets checkpoints and `training.jsonl`, and is resumed from.

    A signal that asks the process to end waits for the end of a step, and a checkpoint is written.

    On a CPU a resumed training gives the bits of an undisturbed one, given the same versions and threads; where
    these are others, it says so.

    Args:
        net: the supernet; `config.init` or a checkpoint in `folder` replaces its weights.
        dataset: what it is trained.
        config: how.
        seed: of images, their augmentation and archs.
        folder: of the checkpoint, the log, and what is settled at the first step.
        progress: called with `training`, steps done and in all.
        minutes: train for about so long instead of `config.epochs`. Only the first call for a folder settles it.
        processes: who trains along; the first one writes.
        pool: archs that are trained, the smallest first, where the recipe takes a pool.

    Raises:
        DataError: the training split is smaller than a batch.
        ConfigError: a batch cannot be shared by the processes, or the recipe lacks its pool.
        RunFolderError: what `folder` holds, or what `config.init` names, is broken or of something else.
        EdgenasError: a loss is not finite, or memory ran out; the step is named, the last checkpoint is kept.
    """
    processes.check_batch(config.batch_size)
    if takes_pool(config) and config.epochs != 0 and not pool:
        raise ConfigError(
            f"train.recipe {config.recipe} wants a pool of archs: name another recipe where there is none"
        )
    device = compute_device(config.device)
    net.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    if config.zero_last_norm:
        zero_last_norms(net)
    course = Course(net, config, seed, 0, folder=folder, processes=processes, pool=pool)
    header = checkpoint.resume(folder, net, course.optimizer, course.average)
    # All have looked whether there is one, before the first writes any.
    processes.wait()
    schedule = settle(course, dataset, folder, progress, minutes, begun=header is not None)
    course.steps = schedule.steps
    if header is None and course.average is not None:
        course.average = new_average(net)
    log = TrainingLog(
        folder / FILE_NAME,
        schedule.steps,
        len(dataset.train) // config.batch_size,
        config.batch_size,
        config.validations,
        writes=processes.first,
        board=Board(folder, header.step if header else 0) if config.tensorboard and processes.first else None,
    )
    begun = header or Header(0, 0.0, net.space.structure_id, dataset.name, dataset.classes, net.pixels)
    training = _Training(course, dataset, folder, log, begun)
    if 0 < begun.step < schedule.steps:
        log.resumed(begun.step, schedule.differences(device), device)
    # All know what is to be done, before the first writes any of it down.
    processes.wait()
    if schedule.steps:
        training.go_on(progress)
    elif processes.first:
        append_jsonl(folder / FILE_NAME, {"kind": "taken", "init_sha256": schedule.init_sha256})
        training.save()
    processes.wait()
    images = training.taken * config.batch_size
    return TrainResult(num_parameters(net), training.seconds, images / max(training.seconds, 1e-9))


class _Training:
    """What is left of a training, from a checkpoint on.

    Attributes:
        reached: steps that are done.
        seconds: spent in them, over all interruptions.
        taken: steps that the training has, if it does not stop early.
    """

    def __init__(self, course: Course, dataset: Dataset, folder: Path, log: TrainingLog, begun: Header):
        self.course, self.dataset, self.folder, self.log = course, dataset, folder, log
        self.begun, self.reached, self.seconds, self.taken = begun, begun.step, begun.seconds, course.steps
        # A training that was asked to end went without the validation that was due.
        self._owes_validation = 0 < begun.step < course.steps and log.owes_validation(begun.step - 1)
        self._scores: dict[str, float] = {}
        self._told = False
        self._saved = self._began = time.monotonic()

    def go_on(self, progress: Progress) -> None:
        """Do all steps that are left.

        Raises:
            KeyboardInterrupt: a signal asks the process to end; a checkpoint is written first.
        """
        processes, total = self.course.processes, self.course.steps
        self._saved = self._began = time.monotonic()
        with Held() as held:
            started = time.perf_counter()
            for step, batch in self._work():
                if batch is not None:
                    self._step(step, batch, started)
                last = step == total - 1
                # Averages are taken at the end, so the end is not put off.
                if not last and processes.any(held.number is not None):
                    self.save()
                    # None takes the group apart while the first still writes.
                    processes.wait()
                    held.stop()
                stops = self.log.validation_due(step) and self._validated(step, held)
                if last or stops:
                    self._finish(stops)
                elif time.monotonic() - self._saved > CHECKPOINT_SECONDS:
                    self.save()
                progress(self._label(), step + 1, total)
                if stops:
                    self.taken = step + 1
                    break
                started = time.perf_counter()

    def _work(self) -> Iterator[tuple[int, Split | None]]:
        """Steps with their batches; without one where a step is done, and a validation owed."""
        if self._owes_validation:
            yield self.reached - 1, None
        course, steps = self.course, range(self.reached, self.course.steps)
        work = batches(self.dataset, course.config, course.seed, steps, course.processes)
        yield from zip(steps, work, strict=True)

    def _step(self, step: int, batch: Split, started: float) -> None:
        loss = self.course.step(step, batch)
        # Reading images counts; logging, validating and saving do not.
        self.seconds += time.perf_counter() - started
        self.reached = step + 1
        if self.log.due(step):
            self.log.step(step, loss.item(), self.course.optimizer.param_groups[0]["lr"], self.seconds)
        if not self._told and self.course.processes.first and time.monotonic() - self._began > TELL_SECONDS:
            self._tell_duration()

    def _tell_duration(self) -> None:
        self._told = True
        own = (time.monotonic() - self._began) / (self.reached - self.begun.step)
        left = own * (self.course.steps - self.reached)
        LOGGER.warning(
            "note: training takes about %s in all, %s from now on", _about(self.seconds + left), _about(left)
        )

    def _label(self) -> str:
        """How it goes, for the progress display."""
        steps = self.reached - self.begun.step
        speed = self.course.config.batch_size * steps / max(self.seconds - self.begun.seconds, 1e-9)
        scores = [f"{name} {score:.1%}" for name, score in self._scores.items()]
        return f"training: {', '.join([f'{speed:,.0f} images/s', *scores])}"

    def _validated(self, step: int, held: Held) -> bool:
        """Score and tell; keep the best weights where training may stop early. Whether it should stop now."""
        course, patience = self.course, self.course.config.patience
        try:
            # Others of a group would wait for one that ends here.
            with held.passing() if course.processes.count == 1 else nullcontext():
                if course.processes.first:
                    with averaged(course.net, course.average):
                        self._scores = validate(course.net, self.dataset, course.pool)
                        self.log.validation(step, self._scores)
                        self.log.write_table()
                        if patience is not None and self.log.stale(step) == 0:
                            checkpoint.save_best(self.folder, course.net)
        except KeyboardInterrupt:
            if self.reached < course.steps:
                self.save()
            raise
        course.processes.wait()
        return patience is not None and self.log.stale(step) >= patience

    def _finish(self, stopped: bool) -> None:
        """The weights that training ends with: its average, if it keeps one; where it stopped early, the best."""
        course = self.course
        if stopped:
            checkpoint.load_best(self.folder, course.net)
        elif course.average is not None:
            take(course.average, course.net)
        course.average = None
        self.reached = course.steps
        self.save()
        if course.processes.first:
            self.log.write_table()

    def save(self) -> None:
        """Write a checkpoint, if this is the process that writes."""
        if self.course.processes.first:
            header = replace(self.begun, step=self.reached, seconds=self.seconds)
            checkpoint.save(self.folder, self.course.net, self.course.optimizer, header, self.course.average)
        self._saved = time.monotonic()


def _about(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
