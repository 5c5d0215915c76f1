"""The trainer: what each step does to the supernet, its optimiser, its weight average and its frozen teacher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from edgenas.config.train_config import TrainConfig
from edgenas.errors import EdgenasError, is_out_of_memory
from edgenas.space.arch import Arch
from edgenas.supernet.sorting import sort_middle_channels
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data.augment import augment
from edgenas.training.data.dataset import Dataset
from edgenas.training.data.split import Split
from edgenas.training.distributed import SINGLE_PROCESS, Processes
from edgenas.training.frozen_teacher import frozen_teacher, load_teacher, save_teacher
from edgenas.training.materialise import materialise, top1
from edgenas.training.optimizer import Average, make_optimizer, new_average, set_learning_rate, update_average
from edgenas.training.recipe import (
    FROZEN,
    RECIPES,
    PhaseSteps,
    StepPlan,
    Teacher,
    learning_rate_at,
    phase_at,
    phase_steps,
    plan_step,
)
from edgenas.training.schedule import batch_indices
from edgenas.training.training_step import accumulate_gradients, check_finite

VALIDATION_IMAGES = 1000
CALIBRATION_IMAGES = 512


class Trainer:
    """Trains a supernet in `steps` steps.

    Attributes:
        optimizer: the optimiser; a phase that restarts replaces it.
        average: moving average of the weights, if the config has one.
        pool: architectures that recipes with a pool train, the smallest first.
        class_weights: weights of the classes in the loss with labels; None where they weigh alike.
        teacher: the frozen teacher, from the first phase on that has one.
    """

    def __init__(
        self,
        net: SuperNet,
        config: TrainConfig,
        seed: int,
        steps: int,
        *,
        folder: Path | None = None,
        processes: Processes = SINGLE_PROCESS,
        pool: Sequence[Arch] | None = None,
        class_weights: Tensor | None = None,
    ):
        self.net, self.config, self.seed, self.steps = net, config, seed, steps
        self.folder, self.processes, self.pool, self.class_weights = folder, processes, pool, class_weights
        self.optimizer = make_optimizer(net, config)
        self.average: Average | None = new_average(net) if config.average is not None else None
        self.teacher: Subnet | None = None

    def step(self, step: int, batch: Split) -> Tensor:
        """Train one step on this process's share of a batch; return the first architecture's loss over all processes.

        Raises:
            EdgenasError: a loss is not finite; the message names its architecture and the step, and the weights are
                unchanged. Or memory ran out; the message gives a batch size that fits.
        """
        self._enter_phase(phase_at(RECIPES[self.config.recipe], step, self.steps), step)
        set_learning_rate(self.optimizer, learning_rate_at(self.config, step, self.steps))
        self.optimizer.zero_grad()
        losses = self._backward(step, batch)
        self.processes.average_gradients(self.net)
        if self.config.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip_norm)
        self.optimizer.step()
        if self.average is not None:
            assert self.config.average is not None
            update_average(self.average, self.net, self.config.average, step)
        return losses[0]

    def _backward(self, step: int, batch: Split) -> Tensor:
        device = next(self.net.parameters()).device
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        images, labels = augment(
            batch.tensor().to(device),
            batch.labels.to(device),
            self.config.augment,
            self.net.space.num_classes,
            generator,
            self.processes,
        )
        plan = plan_step(self.net.space, self.config, self.seed, step, self.steps, self.pool)
        losses = self._try_gradients(images, labels, plan)
        if losses is None:
            advice = self._batch_advice(images, labels, plan)
            raise EdgenasError(
                f"memory ran out at step {step} with train.batch_size {self.config.batch_size}: {advice} (the last "
                "checkpoint is kept; another batch size needs another --run folder)"
            )
        losses = self.processes.mean(losses)
        check_finite(losses, plan.archs, step)
        return losses

    def _try_gradients(self, images: Tensor, labels: Tensor, plan: StepPlan) -> Tensor | None:
        """Accumulate the gradients of a plan and return its losses; None if memory ran out, which is then released."""
        try:
            return accumulate_gradients(
                self.net,
                images,
                labels,
                plan,
                label_smoothing=self.config.label_smoothing,
                class_weights=None if self.class_weights is None else self.class_weights.to(images.device),
                teacher=self.teacher if plan.teacher in FROZEN else None,
                precision=self.config.precision,
                at_a_time=self.config.at_a_time,
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        self.optimizer.zero_grad()
        if images.is_cuda:
            torch.cuda.empty_cache()
        return None

    def _batch_advice(self, images: Tensor, labels: Tensor, plan: StepPlan) -> str:
        """Halve the batch until a step fits, and return advice; this trainer cannot be used afterwards."""
        size = self.config.batch_size // 2
        # In a group, one process cannot try alone.
        while (
            self.processes.count == 1 and size > 1 and self._try_gradients(images[:size], labels[:size], plan) is None
        ):
            size //= 2
        if size < 2 * self.processes.count:
            return "no batch fits: choose a smaller space, or smaller resolutions"
        certainty = "which fits" if self.processes.count == 1 else "which may fit"
        return f"set it to {size}, {certainty}"

    def _enter_phase(self, current: PhaseSteps, step: int) -> None:
        """Prepare the first step of a phase; where training resumes inside a phase, load what it needs."""
        phase = current.phase
        if step == current.start and current.number:
            if phase.sorts:
                sort_middle_channels(self.net, self._trained_ratios(current.number))
            if phase.restarts:
                self.optimizer = make_optimizer(self.net, self.config)
                self.average = None if self.average is None else new_average(self.net)
        if phase.teacher in FROZEN and self.teacher is None:
            self.teacher = self._frozen_teacher(phase.teacher, step)

    def _trained_ratios(self, number: int) -> int:
        """Return how many of the largest expand ratios were trained before a phase."""
        before = RECIPES[self.config.recipe].phases[number - 1]
        blocks = (block for stage in self.net.space.stages for block in stage.gene_choices)
        largest = max(len(block.get("expand", ())) for block in blocks)
        return min((before.choices or {}).get("expand", largest), largest)

    def _frozen_teacher(self, kind: Teacher, step: int) -> Subnet:
        teacher = frozen_teacher(self.net, kind)
        if step > self._frozen_since():
            assert self.folder is not None
            load_teacher(self.folder, teacher)
        elif self.folder is not None and self.processes.first:
            save_teacher(self.folder, teacher)
        return teacher

    def _frozen_since(self) -> int:
        """Return the first step with a frozen teacher."""
        phases = phase_steps(RECIPES[self.config.recipe], self.steps)
        return next(current.start for current in phases if current.phase.teacher in FROZEN)


def batches(
    dataset: Dataset, config: TrainConfig, seed: int, steps: range, processes: Processes = SINGLE_PROCESS
) -> Iterator[Split]:
    """Yield this process's share of the batch of every step."""
    indices = batch_indices(len(dataset.train), config.batch_size, seed, steps)
    return dataset.train.stream(map(processes.share, indices))


def validate(net: SuperNet, dataset: Dataset, pool: Sequence[Arch] | None = None) -> dict[str, float]:
    """Return the validation top-1 of the smallest, a middle and the largest subnet, or of those of the pool."""
    images = dataset.train.images[:CALIBRATION_IMAGES]
    if pool is None:
        middle = net.space.decode((net.space.n_choices // 2)[None])[0]
        archs = {"smallest": net.space.smallest, "middle": middle, "largest": net.space.largest}
    else:
        archs = {"smallest": pool[0], "middle": pool[len(pool) // 2], "largest": pool[-1]}
    part = dataset.validation.head(VALIDATION_IMAGES)
    scores = {name: top1(materialise(net, arch, images), part) for name, arch in archs.items()}
    net.train()
    return scores
