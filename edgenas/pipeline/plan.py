"""What a run will do, how long and how much disk it will take. Writes nothing."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgenas.config import RunConfig
from edgenas.pipeline.budgets import check_on_paper
from edgenas.pipeline.run import STAGES
from edgenas.pipeline.start import check_folder, resolve
from edgenas.profiling.plan import make_plan
from edgenas.profiling.reach import Reach
from edgenas.space.cost import cost
from edgenas.space.space import SearchSpace
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data import set_size
from edgenas.training.evaluate import materialise, top1
from edgenas.training.loop import compute_device, count_steps, sandwich_backward
from edgenas.training.schedule import sandwich
from edgenas.training.settled import Schedule
from edgenas.training.split import Split

EXPORT_SECONDS_PER_BLOCK = 0.06
EXPORT_SECONDS_PER_NETWORK = 1.5
"""Of the front, one at a time; networks for timing are stitched from exported blocks."""
VISIT_SECONDS = 0.006
"""One visit of the timer to one model, warm-up and bookkeeping included."""
TIMED_STEPS = 2
TIMED_IMAGES = 256


@dataclass(frozen=True)
class StagePlan:
    """One stage: what it does, how long it is expected to take, and whether it is finished already."""

    stage: str
    what: str
    seconds: float
    disk_bytes: int
    done: bool

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


def plan_run(config: RunConfig, folder: Path, reach: Reach | None = None) -> list[StagePlan]:
    """The stages of a run. A few training steps on noise are timed here, everything else is counted.

    Raises:
        UserError: the run could not be started (see `start_run`); only the pictures are not looked at.
    """
    begun = check_folder(config, folder)
    space = begun.space if begun else resolve(config, reach)[1]
    sizes = set_size(config.data, config.seed)
    check_on_paper(config.budgets, space, sizes.num_classes)
    validation_images = min(sizes.validation, config.search.validation_images or sizes.validation)
    step_seconds, image_seconds = _time_network(config, space, sizes.num_classes)
    schedule = Schedule.read(folder / "supernet")
    steps = schedule.steps if schedule else count_steps(config.train, sizes.train)
    score_seconds = (config.search.calibration_images + validation_images) * image_seconds
    plan = make_plan(space, sizes.num_classes, blocks=config.profile.blocks, networks=config.profile.networks, seed=0)
    weights = cost(space.unroll(space.largest, sizes.num_classes)).weight_bytes
    models, measured, devices = (
        len(plan.blocks) + len(plan.networks),
        config.verify.networks,
        len(config.devices),
    )
    export_seconds = models * EXPORT_SECONDS_PER_BLOCK
    stages = {
        "profile": (
            f"export and time {len(plan.blocks)} blocks and {len(plan.networks)} networks on {devices} device(s)",
            devices * (export_seconds + models * config.profile.rounds * VISIT_SECONDS),
            devices * len(plan.networks) * weights,
        ),
        "train": (
            f"{steps} steps of {config.train.batch_size} pictures through {config.train.subnets_per_step} subnets",
            steps * step_seconds,
            3 * weights,
        ),
        "search": (
            f"score up to {config.search.evaluations} of {space.size:.3g} subnets with {config.search.strategy}",
            config.search.evaluations * score_seconds,
            config.search.evaluations * 500,
        ),
        "verify": (
            f"measure up to {measured} subnets of the front on {devices} device(s)",
            measured * (score_seconds + EXPORT_SECONDS_PER_NETWORK + devices * config.verify.rounds * VISIT_SECONDS),
            measured * weights,
        ),
        "export": ("prove the chosen file equal and bundle it", 5 + sizes.test * image_seconds, weights),
        "report": ("draw the report", 5.0, 10**6),
    }
    return [StagePlan(stage, *stages[stage], done=begun is not None and begun.done(stage)) for stage in STAGES]


def _time_network(config: RunConfig, space: SearchSpace, num_classes: int) -> tuple[float, float]:
    """Seconds of one training step, and of scoring one picture with a subnet of middling size."""
    device = compute_device(config.train.device)
    net = SuperNet(space, num_classes).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    side = space.resolution[-1]
    images = max(config.train.batch_size, TIMED_IMAGES)
    pictures = torch.randint(0, 256, (images, 1, side, side), dtype=torch.uint8)
    split = Split(pictures, torch.zeros(images, dtype=torch.int64))
    batch, labels = (t[: config.train.batch_size].to(device) for t in (pictures, split.labels))
    archs = [sandwich(space, config.train.subnets_per_step, 0, step) for step in range(TIMED_STEPS + 1)]
    sandwich_backward(net, batch, labels, archs[0])
    started = time.perf_counter()
    for step in range(TIMED_STEPS):
        sandwich_backward(net, batch, labels, archs[1 + step])
    step_seconds = (time.perf_counter() - started) / TIMED_STEPS
    middle = space.sample(np.random.default_rng(0))
    started = time.perf_counter()
    top1(materialise(net, middle, pictures), split)
    return step_seconds, (time.perf_counter() - started) / (2 * images)
