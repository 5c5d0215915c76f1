"""Train standalone networks on a run's images, by its recipe without the supernet's sampling and teacher.

They start from random weights, or in a run from a pretrained network from their part of it, as the supernet did.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from torch import Tensor

from edgenas.config.train_config import TrainConfig
from edgenas.progress import StepProgress
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.space.blocks.spec import BlockSpec
from edgenas.stages.weights.run_supernet import starting_supernet
from edgenas.stages.weights.starting_network import with_new_classifier
from edgenas.supernet.pixels import Pixels
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data.split import Split
from edgenas.training.fixed_settings import load_fixed_settings
from edgenas.training.materialise import recalibrate
from edgenas.training.standalone import (
    ROUNDS,
    epochs_of,
    fresh_subnet,
    from_scratch,
    step_seconds,
    steps_of,
    train_network,
)
from edgenas.training.training_log import steps_taken

SUPERNET_ONLY = {
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
    "checkpoint_seconds",
}
"""Keys of a training config that do not affect a standalone network."""
TIMED_TOGETHER = 8
"""Networks whose steps are timed in turns: each has its weights and the images of its next steps in memory."""


@dataclass(frozen=True)
class StandaloneTrainer:
    """Trains standalone networks with a run's settings.

    Attributes:
        dataset: name of the data set.
        train: training images.
        config: the run's training config.
        pixels: meaning of input values.
        calibration: training images that recalibrate batch norm at the end.
        setting: digest of all settings that a network's weights depend on, except its architecture, steps and seed.
        pretrained: name of the pretrained network that the run starts from; None where it starts from other weights.
        supernet: returns the supernet as its training began.
    """

    dataset: str
    train: Split
    config: TrainConfig
    pixels: Pixels
    calibration: Tensor
    setting: str
    pretrained: str | None
    supernet: Callable[[], SuperNet]

    @classmethod
    def of(cls, run: Run) -> StandaloneTrainer:
        """Return the trainer of a run.

        Raises:
            RunFolderError: see `Run.init` and `Run.images`.
        """
        config, dataset, calibration = run.config.training, run.images.dataset, run.images.calibration
        network = None if run.init is None else run.init.network
        setting = {
            "train": config.model_dump(mode="json", exclude=SUPERNET_ONLY),
            "images": run.images.digest,
            "calibration_images": len(calibration),
            "pretrained": None if network is None else network.sha256,
        }
        return cls(
            dataset=dataset.name,
            train=dataset.train,
            config=config,
            pixels=dataset.pixels,
            calibration=calibration,
            setting=setting_id(setting),
            pretrained=None if network is None else network.name,
            supernet=cache(partial(starting_supernet, run)),
        )

    @property
    def supernet_from(self) -> str | None:
        """Return the weights that the supernet started from; None for random ones."""
        return self.pretrained or (None if self.config.init_path is None else str(self.config.init_path))

    def steps(self, epochs: float) -> int:
        """Return the optimiser steps of so many epochs."""
        return steps_of(self.config, len(self.train), epochs)

    def step_seconds(self, networks: Mapping[str, Sequence[BlockSpec]], rounds: int = ROUNDS) -> dict[str, float]:
        """Return the seconds of a training step of each network, timed in turns; divide many `in_groups`."""
        nets = [self.fresh(specs, 0) for specs in networks.values()]
        seconds = step_seconds(nets, self.train, self.config, 0, rounds=rounds)
        return dict(zip(networks, seconds, strict=True))

    def fresh(self, specs: Sequence[BlockSpec], seed: int) -> Subnet:
        """Return a network with seeded random weights."""
        return fresh_subnet(specs, self.config, seed, pixels=self.pixels)

    def initial(self, arch: Arch, specs: Sequence[BlockSpec], seed: int) -> Subnet:
        """Return a network of the run's space as its training begins.

        Args:
            arch: its architecture.
            specs: the same with the run's classes.
            seed: seed of random weights; with pretrained ones, those of the classifier.
        """
        if self.pretrained is None:
            return fresh_subnet(specs, self.config, seed, arch=arch, pixels=self.pixels)
        return with_new_classifier(self.supernet().extract(arch), specs[-1].out_channels, seed)

    @contextmanager
    def trained(
        self, subnet: Subnet, steps: int, seed: int, folder: Path, progress: StepProgress
    ) -> Iterator[tuple[Subnet, float]]:
        """Yield the network after training, on the CPU, with training's batch-norm statistics; and seconds.

        Checkpoints are saved in `folder`, which is removed when the block ends. Networks with pretrained weights are
        trained like those of the run: those of the shelf, and those of its space where it starts from such weights.
        """
        is_pretrained = subnet.arch is not None and (subnet.arch.network or self.pretrained is not None)
        seconds = train_network(
            subnet,
            self.train,
            self.config if is_pretrained else from_scratch(self.config),
            steps=steps,
            seed=seed,
            progress=progress,
            average=self.config.average,
            folder=folder,
        )
        yield subnet.cpu().eval(), seconds
        shutil.rmtree(folder, ignore_errors=True)

    def calibrated(self, subnet: Subnet) -> Subnet:
        """Recalibrate batch norm in place and return the network."""
        return recalibrate(subnet, self.calibration)


def supernet_epochs(run: Run) -> float:
    """Return the epochs of the run's supernet training, done or planned; 0 if its weights were imported.

    A training that stopped early counts the epochs that it took.
    """
    folder, config = run.result_path("train").parent, run.config.training
    schedule = load_fixed_settings(folder)
    if schedule is None:
        return config.epochs or 0.0
    taken = steps_taken(folder) if run.done("train") else None
    steps = schedule.steps if taken is None else min(schedule.steps, taken)
    return epochs_of(config, len(run.images.dataset.train), steps)


def in_groups(
    networks: Mapping[str, Sequence[BlockSpec]], most: int = TIMED_TOGETHER
) -> Iterator[dict[str, Sequence[BlockSpec]]]:
    """Yield groups of at most so many networks, in their order."""
    names = list(networks)
    for start in range(0, len(names), most):
        yield {name: networks[name] for name in names[start : start + most]}


def setting_id(setting: object) -> str:
    """Return a digest of JSON values; other values count as their text."""
    return hashlib.sha256(json.dumps(setting, sort_keys=True, default=str).encode()).hexdigest()[:16]
