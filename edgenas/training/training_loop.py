"""The training loop: one step of the recipe after another, resumable, with log rows and validations."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from edgenas.config.train_config import AugmentLevel, TrainConfig
from edgenas.errors import ConfigError
from edgenas.progress import Progress
from edgenas.space.arch import Arch
from edgenas.supernet.layers import num_parameters
from edgenas.supernet.supernet import SuperNet
from edgenas.training import checkpoint
from edgenas.training.checkpoint import Header
from edgenas.training.class_weights import class_weights
from edgenas.training.data.dataset import Dataset
from edgenas.training.data.split import Split
from edgenas.training.distributed import SINGLE_PROCESS, Processes
from edgenas.training.fixed_settings import differences
from edgenas.training.interruption import DeferredSignals
from edgenas.training.optimizer import averaged, load_average, new_average, zero_last_norms
from edgenas.training.recipe import takes_pool
from edgenas.training.setup import compute_device, fix_settings
from edgenas.training.tensorboard import TensorBoardWriter
from edgenas.training.trainer import Trainer, batches, validate
from edgenas.training.training_log import FILE_NAME, TrainingLog

LOGGER = logging.getLogger(__name__)
ESTIMATE_AFTER_SECONDS = 60.0
"""Seconds after which the duration of the whole training is logged."""


@dataclass(frozen=True)
class TrainResult:
    """The outcome of a training.

    Attributes:
        params: parameters of the supernet.
        train_seconds: seconds spent in steps, over all interruptions.
        images_per_second: images a second; each goes through all subnets of a step.
        augmentation: level of the augmentation.
        class_weights: weights of the classes in the loss; None where they weigh alike.
    """

    params: int
    train_seconds: float
    images_per_second: float
    augmentation: AugmentLevel | None
    class_weights: tuple[float, ...] | None


def train(
    net: SuperNet,
    dataset: Dataset,
    config: TrainConfig,
    *,
    seed: int,
    folder: Path,
    progress: Progress,
    minutes: float | None = None,
    processes: Processes = SINGLE_PROCESS,
    pool: Sequence[Arch] | None = None,
) -> TrainResult:
    """Train the supernet in place; write checkpoints and `training.jsonl` into `folder`, and resume from them.

    A signal that asks the process to end is deferred to the end of a step, and a checkpoint is written first. On a CPU,
    a resumed training gives the bits of an undisturbed one if versions and threads are the same; a warning says where
    they are not.

    Args:
        net: the supernet; a checkpoint that `config.init` names, or one in `folder`, replaces its weights.
        dataset: the data set.
        config: settings of the training.
        seed: seed of the order of images, of their augmentation and of the architectures.
        folder: folder of the checkpoint, the log, and the fixed settings.
        progress: called with `training`, the steps done and all steps.
        minutes: approximate duration, instead of `config.epochs`; only the first call for a folder uses it.
        processes: the group of processes that train together; the first one writes.
        pool: architectures that recipes with a pool train, the smallest first.

    Raises:
        DataError: the training split is smaller than a batch.
        ConfigError: a batch cannot be shared by the processes, or the recipe lacks its pool.
        RunFolderError: a file in `folder` or the file of `config.init` is broken or belongs to something else.
        EdgenasError: a loss is not finite, or memory ran out; the message names the step, the last checkpoint is kept.
    """
    processes.check_batch(config.batch_size)
    config = config.for_images(len(dataset.train), dataset.num_classes)
    if takes_pool(config) and config.epochs != 0 and not pool:
        raise ConfigError(
            f"train.recipe {config.recipe} needs a pool of architectures: choose another recipe where there is none"
        )
    device = compute_device(config.device)
    net.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    if config.zero_last_norm:
        zero_last_norms(net)
    weights = class_weights(config.class_weights, dataset.train.counts(dataset.num_classes))
    trainer = Trainer(net, config, seed, 0, folder=folder, processes=processes, pool=pool, class_weights=weights)
    header = checkpoint.resume(folder, net, trainer.optimizer, trainer.average)
    # Every process has looked for a checkpoint before the first one writes any.
    processes.wait()
    settings = fix_settings(trainer, dataset, folder, progress, minutes, resumed=header is not None)
    trainer.steps = settings.steps
    if header is None and trainer.average is not None:
        trainer.average = new_average(net)
    log = TrainingLog(
        folder / FILE_NAME,
        settings.steps,
        len(dataset.train) // config.batch_size,
        config.batch_size,
        config.validations,
        writes=processes.first,
        board=TensorBoardWriter(folder, header.step if header else 0)
        if config.tensorboard and processes.first
        else None,
    )
    begun = header or Header(0, 0.0, net.space.structure_id, dataset.name, dataset.classes, net.pixels)
    loop = _Loop(trainer, dataset, folder, log, begun)
    if 0 < begun.step < settings.steps:
        log.add_resume(begun.step, differences(settings, device), device)
    # Every process has read the log before the first one writes.
    processes.wait()
    if settings.steps:
        loop.run(progress)
    elif processes.first:
        log.add_initial_weights(settings.init_sha256)
        loop.save()
    processes.wait()
    images = loop.steps_taken * config.batch_size
    return TrainResult(
        num_parameters(net),
        loop.seconds,
        images / max(loop.seconds, 1e-9),
        config.augment.level,
        None if weights is None else tuple(weights.tolist()),
    )


class _Loop:
    """The steps of a training that are left after its checkpoint.

    Attributes:
        done: steps done.
        seconds: seconds spent in them, over all interruptions.
        steps_taken: steps of the whole training, fewer if it stops early.
    """

    def __init__(self, trainer: Trainer, dataset: Dataset, folder: Path, log: TrainingLog, begun: Header):
        self.trainer, self.dataset, self.folder, self.log = trainer, dataset, folder, log
        self.begun, self.done, self.seconds, self.steps_taken = begun, begun.step, begun.seconds, trainer.steps
        # A training that a signal ended skipped the validation that was due.
        self._validation_missing = 0 < begun.step < trainer.steps and log.validation_missing(begun.step - 1)
        self._scores: dict[str, float] = {}
        self._duration_logged = False
        self._saved = self._began = time.monotonic()

    def run(self, progress: Progress) -> None:
        """Do all steps that are left.

        Raises:
            KeyboardInterrupt: a signal asks the process to end; a checkpoint is written first.
        """
        processes, total = self.trainer.processes, self.trainer.steps
        self._saved = self._began = time.monotonic()
        with DeferredSignals() as signals:
            started = time.perf_counter()
            for step, batch in self._batches():
                if batch is not None:
                    self._step(step, batch, started)
                last = step == total - 1
                # At the last step, the averaged weights are loaded first.
                if not last and processes.any(signals.number is not None):
                    self.save()
                    # No process leaves the group while the first one still writes.
                    processes.wait()
                    signals.stop()
                stops = self.log.validation_due(step) and self._validate(step, signals)
                if last or stops:
                    self._finish(stops)
                elif time.monotonic() - self._saved >= self.trainer.config.checkpoint_seconds:
                    self.save()
                progress(self._label(), step + 1, total)
                if stops:
                    self.steps_taken = step + 1
                    break
                started = time.perf_counter()

    def _batches(self) -> Iterator[tuple[int, Split | None]]:
        """Yield the steps with their batches; None where the step is done and only its validation is missing."""
        if self._validation_missing:
            yield self.done - 1, None
        trainer, steps = self.trainer, range(self.done, self.trainer.steps)
        yield from zip(
            steps, batches(self.dataset, trainer.config, trainer.seed, steps, trainer.processes), strict=True
        )

    def _step(self, step: int, batch: Split, started: float) -> None:
        loss = self.trainer.step(step, batch)
        # Reading images counts; logging, validating and saving do not.
        self.seconds += time.perf_counter() - started
        self.done = step + 1
        if self.log.due(step):
            self.log.add_step(step, loss.item(), self.trainer.optimizer.param_groups[-1]["lr"], self.seconds)
        elapsed = time.monotonic() - self._began
        if not self._duration_logged and self.trainer.processes.first and elapsed > ESTIMATE_AFTER_SECONDS:
            self._log_duration(elapsed)

    def _log_duration(self, elapsed: float) -> None:
        self._duration_logged = True
        left = elapsed / (self.done - self.begun.step) * (self.trainer.steps - self.done)
        LOGGER.warning(
            "note: training takes about %s in all, %s from now on",
            _duration_text(self.seconds + left),
            _duration_text(left),
        )

    def _label(self) -> str:
        """Return the label for the progress display: speed and latest scores."""
        steps = self.done - self.begun.step
        speed = self.trainer.config.batch_size * steps / max(self.seconds - self.begun.seconds, 1e-9)
        scores = [f"{name} {score:.1%}" for name, score in self._scores.items()]
        return f"training: {', '.join([f'{speed:,.0f} images/s', *scores])}"

    def _validate(self, step: int, signals: DeferredSignals) -> bool:
        """Score and log, and save the best weights where training may stop early; return whether it stops now."""
        trainer, patience = self.trainer, self.trainer.config.patience
        try:
            # In a group, the other processes would wait for one that ends in this place.
            with signals.delivered() if trainer.processes.count == 1 else nullcontext():
                if trainer.processes.first:
                    with averaged(trainer.net, trainer.average):
                        self._scores = validate(trainer.net, self.dataset, trainer.pool)
                        self.log.add_validation(step, self._scores)
                        self.log.write_table()
                        if patience is not None and self.log.validations_since_best(step) == 0:
                            checkpoint.save_best(self.folder, trainer.net)
        except KeyboardInterrupt:
            if self.done < trainer.steps:
                self.save()
            raise
        trainer.processes.wait()
        return patience is not None and self.log.validations_since_best(step) >= patience

    def _finish(self, stopped: bool) -> None:
        """Load the final weights: the best ones after an early stop, else the average, if there is one."""
        trainer = self.trainer
        if stopped:
            checkpoint.load_best(self.folder, trainer.net)
        elif trainer.average is not None:
            load_average(trainer.average, trainer.net)
        trainer.average = None
        self.done = trainer.steps
        self.save()
        if trainer.processes.first:
            self.log.write_table()

    def save(self) -> None:
        """Write a checkpoint, if this is the process that writes."""
        if self.trainer.processes.first:
            header = replace(self.begun, step=self.done, seconds=self.seconds)
            checkpoint.save(self.folder, self.trainer.net, self.trainer.optimizer, header, self.trainer.average)
        self._saved = time.monotonic()


def _duration_text(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
