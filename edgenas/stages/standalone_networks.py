"""Networks trained from scratch on a run's images, by its recipe but for the supernet's sampling and teacher."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from edgenas.config.sections import TrainConfig
from edgenas.runs.folder import Run
from edgenas.runs.run_data import calibration_split, data_record
from edgenas.space.arch import Arch
from edgenas.space.blocks.spec import BlockSpec
from edgenas.supernet.pixels import Pixels
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.dataset import Dataset
from edgenas.training.data.split import Split
from edgenas.training.fixed_settings import FixedSettings
from edgenas.training.materialise import recalibrate
from edgenas.training.progress import StepProgress
from edgenas.training.standalone import ROUNDS, epochs_of, fresh_subnet, step_seconds, steps_of, train_network
from edgenas.training.training_log import steps_taken

SUPERNETS_OWN = {
    "recipe",
    "init",
    "kernel_transforms",
    "epochs",
    "subnets_per_step",
    "at_a_time",
    "validations",
    "patience",
    "device",
    "tensorboard",
}
"""Keys of a training config that do not bear on a network trained from scratch."""
TIMED_TOGETHER = 8
"""Networks whose steps are timed in turns: each has its weights and the images of its next steps in memory."""


@dataclass(frozen=True)
class Lone:
    """How networks are trained from scratch.

    Attributes:
        dataset: name of the set.
        train: what they learn from.
        config: of the run's training.
        pixels: what input values mean.
        calibration: training images that recalibrate batch norm in the end.
        setting: digest of all that a network's weights depend on, beside its own shape, steps and seed.
    """

    dataset: str
    train: Split
    config: TrainConfig
    pixels: Pixels
    calibration: Tensor
    setting: str

    @classmethod
    def of(cls, run: Run, dataset: Dataset) -> Lone:
        """As a run has it."""
        config, calibration = run.config.training, calibration_split(run, dataset)
        said = config.model_dump(mode="json", exclude=SUPERNETS_OWN)
        images = data_record(run.folder).digest
        setting = setting_id({"train": said, "images": images, "calibration_images": len(calibration)})
        return cls(dataset.name, dataset.train, config, dataset.pixels, calibration, setting)

    @property
    def supernet_from(self) -> str | None:
        """Weights the supernet started from. Standalone networks start from random weights, without that advantage."""
        return None if self.config.init is None else str(self.config.init)

    def steps(self, epochs: float) -> int:
        """Optimiser steps of so many passes over the images."""
        return steps_of(self.config, len(self.train), epochs)

    def step_seconds(self, networks: Mapping[str, Sequence[BlockSpec]], rounds: int = ROUNDS) -> dict[str, float]:
        """Of one step of training each network, by its name; some are timed, in turns. Of many, `in_groups`."""
        nets = [fresh_subnet(specs, self.config, 0, pixels=self.pixels) for specs in networks.values()]
        took = step_seconds(nets, self.train, self.config, 0, rounds=rounds)
        return dict(zip(networks, took, strict=True))

    @contextmanager
    def trained(
        self,
        specs: Sequence[BlockSpec],
        steps: int,
        seed: int,
        folder: Path,
        progress: StepProgress,
        arch: Arch | None = None,
    ) -> Iterator[tuple[Subnet, float]]:
        """A network trained from fresh weights, on the CPU, with its training's own statistics; and the seconds.

        While it is trained, checkpoints lie in `folder`; once the caller is done with it, that is removed.
        """
        subnet = fresh_subnet(specs, self.config, seed, arch=arch, pixels=self.pixels)
        seconds = train_network(
            subnet,
            self.train,
            self.config,
            steps=steps,
            seed=seed,
            progress=progress,
            average=self.config.average,
            folder=folder,
        )
        yield subnet.cpu().eval(), seconds
        shutil.rmtree(folder, ignore_errors=True)

    def calibrated(self, subnet: Subnet) -> Subnet:
        """The network with recalibrated batch norm, in place."""
        return recalibrate(subnet, self.calibration)


def supernet_epochs(run: Run, dataset: Dataset) -> float:
    """Passes over the images that the run's supernet was trained, or is to be; 0 where its weights were taken.

    Of a training that stopped early, those that it took.
    """
    folder, config = run.result_path("train").parent, run.config.training
    schedule = FixedSettings.load(folder)
    if schedule is None:
        return config.epochs or 0.0
    taken = steps_taken(folder) if run.done("train") else None
    steps = schedule.steps if taken is None else min(schedule.steps, taken)
    return epochs_of(config, len(dataset.train), steps)


def in_groups(
    networks: Mapping[str, Sequence[BlockSpec]], most: int = TIMED_TOGETHER
) -> Iterator[dict[str, Sequence[BlockSpec]]]:
    """Networks by name, at most so many at a time, in their order."""
    names = list(networks)
    for place in range(0, len(names), most):
        yield {name: networks[name] for name in names[place : place + most]}


def setting_id(said: Mapping[str, Any]) -> str:
    """A digest of plain values."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
