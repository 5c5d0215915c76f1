"""What a run will do, how long and how much disk it will take. Writes nothing."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from edgenas.config import RunConfig
from edgenas.deploy.recipe import Method
from edgenas.pipeline.budgets import check_on_paper
from edgenas.pipeline.data import check_quantiser_images
from edgenas.pipeline.devices import run_devices
from edgenas.pipeline.form import NETWORKS as FORM_NETWORKS
from edgenas.pipeline.run import STAGES
from edgenas.pipeline.start import check_folder, resolve
from edgenas.profiling.plan import make_plan
from edgenas.profiling.reach import Reach
from edgenas.profiling.record import PROCESSES
from edgenas.space.cost import cost
from edgenas.space.form import EXPORT_FORMS
from edgenas.space.space import SearchSpace
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data import set_size
from edgenas.training.evaluate import materialise, top1
from edgenas.training.loop import compute_device, count_steps, sandwich_backward
from edgenas.training.schedule import sandwich
from edgenas.training.settled import Schedule
from edgenas.training.split import Split

EXPORT_SECONDS_PER_BLOCK = 0.06
QUANTISE_SECONDS_PER_MODEL = 0.1
"""Of blocks and networks to be timed in int8."""
FRONT_INT8_SECONDS = 4.0
"""To quantise a network of the front by every method, beside scoring what comes of it."""
EXPORT_SECONDS_PER_NETWORK = 1.5
"""Of the front, one at a time; networks for timing are stitched from exported blocks."""
VISIT_SECONDS = 0.006
"""One visit of the timer to one model, warm-up and bookkeeping included."""
TIMER_SECONDS = 0.7
"""To start one process of the timer."""
QUANTISE_SECONDS = 1.0
"""Of one recipe, beside looking at pictures."""
QUANTISE_TIMES = 6
"""How many times as long a recipe takes to look at a picture as scoring one does: it keeps all activations."""
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
    described, space = (list(run_devices(begun).values()), begun.space) if begun else resolve(config, reach)
    sizes = set_size(config.data, config.seed)
    check_on_paper(config.budgets, space, sizes.num_classes)
    in_int8 = sum(device.run.precision == "int8" for device in described)
    if in_int8 or config.export.precision == "int8":
        check_quantiser_images(config, sizes.train)
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
        len(described),
    )
    # Every method's file and the fp32 one are scored.
    scored = (len(get_args(Method)) + 1) * validation_images * image_seconds
    network_seconds = score_seconds + EXPORT_SECONDS_PER_NETWORK + (FRONT_INT8_SECONDS + scored) * (in_int8 > 0)
    export_seconds = models * EXPORT_SECONDS_PER_BLOCK
    comparing = config.export.form == "auto"
    forms = "compare forms of the graph, " if comparing else ""
    # Three files a network; what a process of the timer costs before it times counts most.
    form_models = len(EXPORT_FORMS) * FORM_NETWORKS * comparing
    form_seconds = form_models * config.profile.rounds * VISIT_SECONDS + comparing * PROCESSES * TIMER_SECONDS
    stages = {
        "profile": (
            f"{forms}export and time {len(plan.blocks)} blocks and {len(plan.networks)} networks on "
            f"{_told(devices, in_int8)}",
            devices * (export_seconds + models * config.profile.rounds * VISIT_SECONDS + form_seconds)
            + in_int8 * models * QUANTISE_SECONDS_PER_MODEL,
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
            f"measure up to {measured} subnets of the front on {_told(devices, in_int8)}",
            measured * (network_seconds + devices * config.verify.rounds * VISIT_SECONDS),
            # A byte a weight instead of four.
            measured * weights + measured * weights // 4 * (in_int8 > 0),
        ),
        "export": _export_stage(config, in_int8 > 0, validation_images, sizes.test, image_seconds, weights),
        "report": ("draw the report", 5.0, 10**6),
    }
    return [StagePlan(stage, *stages[stage], done=begun is not None and begun.done(stage)) for stage in STAGES]


def _export_stage(
    config: RunConfig,
    in_int8: bool,
    validation_images: int,
    test_images: int,
    image_seconds: float,
    weights: int,
) -> tuple[str, float, int]:
    """What it does, seconds, bytes; fine-tuning for int8, which is rarely due, is not counted."""
    seconds = 5 + test_images * image_seconds
    if config.export.precision == "fp32" and not in_int8:
        return "prove the chosen file equal and bundle it", seconds, weights
    recipes, images, devices = len(get_args(Method)), config.export.calibration_images, len(config.devices)
    quantising = recipes * (QUANTISE_SECONDS + images * QUANTISE_TIMES * image_seconds)
    # Every recipe's file; fp32's; and for the gate the subnet and the chosen file.
    scoring = (recipes + 3) * validation_images * image_seconds + test_images * image_seconds
    # Both files, and the two that the timer always has among them.
    timing = devices * (PROCESSES * TIMER_SECONDS + 4 * config.verify.rounds * VISIT_SECONDS)
    what = (
        f"prove the chosen file equal, quantise it by {recipes} recipes on {images} pictures, score each on "
        f"{validation_images} validation pictures, time int8 beside fp32 on {devices} device(s), and bundle both"
    )
    return what, seconds + quantising + scoring + timing, 2 * weights


def _told(devices: int, in_int8: int) -> str:
    return f"{devices} device(s)" + (f", {in_int8} in int8" if in_int8 else "")


def _time_network(config: RunConfig, space: SearchSpace, num_classes: int) -> tuple[float, float]:
    """Seconds of one training step, and of scoring one picture with a subnet of middling size."""
    device = compute_device(config.train.device)
    net = SuperNet(space, num_classes, kernel_transforms=config.train.kernel_transforms)
    net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
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
