"""A training's steps: what each does to the supernet, its optimiser, its average and its frozen teacher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from edgenas.config.sections import TrainConfig
from edgenas.errors import EdgenasError, RunFolderError, is_out_of_memory
from edgenas.files import write_bytes
from edgenas.space.arch import Arch
from edgenas.supernet.shared_norm import share_norms
from edgenas.supernet.sorting import sort_middle_channels
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.checkpoint import plain
from edgenas.training.data.augment import augment
from edgenas.training.data.dataset import Dataset
from edgenas.training.data.split import Split
from edgenas.training.distributed import ALONE, Processes
from edgenas.training.materialise import materialise, top1
from edgenas.training.optimizer import Average, make_optimizer, new_average, update_average
from edgenas.training.recipe import RECIPES, Lesson, Span, lesson_at, rate_at, span_at, spans
from edgenas.training.schedule import batch_indices
from edgenas.training.training_step import check_finite, lesson_backward

VALIDATION_IMAGES = 1000
CALIBRATION_IMAGES = 512
TEACHER = "teacher.safetensors"
"""The frozen teacher of recipes that have one, beside the checkpoint."""


class Course:
    """A training of `steps` steps.

    Attributes:
        optimizer: replaced where a phase begins anew.
        average: of the weights, where the config asks for it.
        pool: archs that are trained, the smallest first, where the recipe takes a pool.
    """

    def __init__(
        self,
        net: SuperNet,
        config: TrainConfig,
        seed: int,
        steps: int,
        *,
        folder: Path | None = None,
        processes: Processes = ALONE,
        pool: Sequence[Arch] | None = None,
    ):
        self.net, self.config, self.seed, self.steps = net, config, seed, steps
        self.folder, self.processes, self.pool = folder, processes, pool
        self.optimizer = make_optimizer(net, config)
        self.average: Average | None = new_average(net) if config.average is not None else None
        self.teacher: Subnet | None = None

    def step(self, step: int, batch: Split) -> Tensor:
        """One step on this process's share of a batch; the loss of the first arch, over all processes.

        Raises:
            EdgenasError: a loss is no finite number; its arch and the step are named, weights are as before. Or memory
                ran out; the batch that fits is told.
        """
        span = span_at(RECIPES[self.config.recipe], step, self.steps)
        self._begin(span, step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.config, step, self.steps)
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
        images = augment(batch.tensor().to(device), self.config.augment, generator, self.processes)
        labels = batch.labels.to(device)
        lesson = lesson_at(self.net.space, self.config, self.seed, step, self.steps, self.pool)
        losses = self._trained(images, labels, lesson)
        if losses is None:
            fits = self._what_fits(images, labels, lesson)
            raise EdgenasError(
                f"memory ran out at step {step} with train.batch_size {self.config.batch_size}: {fits} (the last "
                "checkpoint is kept; another batch wants another --run folder)"
            )
        losses = self.processes.mean(losses)
        check_finite(losses, lesson.archs, step)
        return losses

    def _trained(self, images: Tensor, labels: Tensor, lesson: Lesson) -> Tensor | None:
        """Losses of a lesson, whose gradients are added up; None if memory ran out, all of it given back."""
        try:
            return lesson_backward(
                self.net,
                images,
                labels,
                lesson,
                label_smoothing=self.config.label_smoothing,
                teacher=self.teacher if lesson.teacher == "frozen" else None,
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

    def _what_fits(self, images: Tensor, labels: Tensor, lesson: Lesson) -> str:
        """Half of the batch, or half of that, and so on, as tried out; what is left of this training is not used."""
        size = self.config.batch_size // 2
        # In a group, the others do not try along.
        while self.processes.count == 1 and size > 1 and self._trained(images[:size], labels[:size], lesson) is None:
            size //= 2
        if size < 2 * self.processes.count:
            return "no batch fits: choose a smaller space, or smaller resolutions"
        tried = "which fits" if self.processes.count == 1 else "which may fit"
        return f"set it to {size}, {tried}"

    def _begin(self, span: Span, step: int) -> None:
        """What is due where a phase begins; and, where training goes on inside it, what it needs."""
        if step == span.start and span.number:
            if span.phase.sorts:
                sort_middle_channels(self.net, self._settled_ratios(span.number))
            if span.phase.restarts:
                self.optimizer = make_optimizer(self.net, self.config)
                self.average = None if self.average is None else new_average(self.net)
        if span.phase.teacher == "frozen" and self.teacher is None:
            self.teacher = self._new_teacher() if self._freezes(step) else self._kept_teacher()

    def _settled_ratios(self, number: int) -> int:
        before = RECIPES[self.config.recipe].phases[number - 1]
        most = max(len(stage.expand) for stage in self.net.space.stages)
        return min((before.choices or {}).get("expand", most), most)

    def _freezes(self, step: int) -> bool:
        first = next(one for one in spans(RECIPES[self.config.recipe], self.steps) if one.phase.teacher == "frozen")
        return step == first.start

    def _largest(self) -> Subnet:
        # Batch norm by the batch's own statistics, as in training: running ones fit no subnet.
        largest = self.net.extract(self.net.space.largest).train().requires_grad_(False)
        share_norms(largest)
        return largest

    def _new_teacher(self) -> Subnet:
        teacher = self._largest()
        if self.folder is not None and self.processes.first:
            write_bytes(self.folder / TEACHER, safetensors.torch.save(plain(teacher.state_dict())))
        return teacher

    def _kept_teacher(self) -> Subnet:
        assert self.folder is not None
        teacher = self._largest()
        try:
            teacher.load_state_dict(safetensors.torch.load_file(self.folder / TEACHER))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise RunFolderError(
                f"{self.folder / TEACHER} is missing or broken ({error}): delete {self.folder} to train anew"
            ) from None
        return teacher


def batches(
    dataset: Dataset, config: TrainConfig, seed: int, steps: range, processes: Processes = ALONE
) -> Iterator[Split]:
    """This process's share of the batch of every step."""
    indices = (batch_indices(len(dataset.train), config.batch_size, seed, step) for step in steps)
    return dataset.train.stream(map(processes.share, indices))


def validate(net: SuperNet, dataset: Dataset, pool: Sequence[Arch] | None = None) -> dict[str, float]:
    """Validation top-1 of the smallest, a middle and the largest subnet, or a pool's, on a part of the split."""
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
