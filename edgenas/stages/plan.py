"""The plan of a run: its stages, their time and their disk space. Nothing is written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from edgenas.accuracy.source import open_source
from edgenas.config.run_config import RunConfig
from edgenas.deploy.int8.quantiser_recipe import Method
from edgenas.latency.device import Device
from edgenas.profiling.device_time import REPETITION_SECONDS, TIMER_SECONDS, guessed_seconds
from edgenas.profiling.measurement import PROCESSES
from edgenas.profiling.timing_plan import Plan, make_plan
from edgenas.profiling.transport_registry import TransportRegistry, mounted_transports
from edgenas.progress import Progress
from edgenas.runs.devices import resolve_devices
from edgenas.runs.images import check_quantiser_images
from edgenas.runs.run import ORDER, Run
from edgenas.space.cost import cost
from edgenas.space.graph_variant import GRAPH_VARIANTS
from edgenas.space.space import SearchSpace
from edgenas.stages.computed_budgets import check_computed_budgets, used_precisions, weight_bytes_notes
from edgenas.stages.fastest_variant import NETWORKS as VARIANT_NETWORKS
from edgenas.stages.feasibility_notes import feasibility_lines
from edgenas.stages.limits import run_limits
from edgenas.stages.plan_timing import time_network
from edgenas.stages.start import check_folder, resolve
from edgenas.stages.training_length import too_few_steps
from edgenas.training.data.dataset import set_size
from edgenas.training.fixed_settings import FixedSettings
from edgenas.training.recipe import takes_pool
from edgenas.training.setup import count_steps
from edgenas.training.standalone import epochs_of

EXPORT_SECONDS_PER_BLOCK = 0.06
QUANTISE_SECONDS_PER_MODEL = 0.1
"""Of blocks and networks to be timed in int8."""
FRONT_INT8_SECONDS = 4.0
"""To quantise a network of the front by every method, beside scoring what comes of it."""
EXPORT_SECONDS_PER_NETWORK = 1.5
"""Of the front, one at a time; networks for timing are stitched from exported blocks."""
QUANTISE_SECONDS = 1.0
"""Of one recipe, beside looking at images."""
QUANTISE_TIMES = 6
"""How many times as long a recipe takes to look at an image as scoring one does: it keeps all activations."""
FINETUNE_TIMES = 5
"""How many times as long an image takes to be trained as to be scored: forward and backward; a teacher adds little."""
SOURCE_SECONDS, LOOKUP_SECONDS = 8.0, 0.001
"""To fit a model of a table's accuracies, and to predict the accuracy of a subnet."""


@dataclass(frozen=True)
class StagePlan:
    """One stage: what it does, how long it is expected to take, and whether it is finished already."""

    stage: str
    what: str
    seconds: float
    disk_bytes: int
    done: bool
    warning: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the stage as `--json` prints it."""
        return asdict(self)


def plan_run(
    config: RunConfig,
    folder: Path,
    reach: TransportRegistry | None = None,
    minutes: float | None = None,
    progress: Progress = lambda *_: None,
) -> list[StagePlan]:
    """Return the stages of a run. A few training steps on noise are timed here, everything else is counted.

    Args:
        config: config of the run.
        folder: folder of the run, which need not exist.
        reach: transports of devices.
        minutes: training time, instead of `train.epochs`; ignored once training has begun.
        progress: called with what is being timed, parts done and in all.

    Raises:
        UserError: the run could not be started (see `start_run`); only the images are not looked at.
    """
    begun = check_folder(config, folder)
    described, space = (list(begun.devices.all.values()), begun.space) if begun else resolve(config, reach)
    if config.num_classes is not None:
        return _plan_profile(config, described, space, begun)
    if config.accuracy is not None:
        return _plan_with_source(config, described, space, begun)
    sizes = set_size(config.images, config.seed)
    check_computed_budgets(config.budgets, space, sizes.num_classes, described)
    in_int8 = sum(device.run.precision == "int8" for device in described)
    if in_int8 or config.export.precision == "int8":
        check_quantiser_images(config, sizes.train)
    validation_images = min(sizes.validation, config.search.validation_images or sizes.validation)
    schedule = FixedSettings.load(folder / "supernet")
    training = config.training
    steps = schedule.steps if schedule else count_steps(training, sizes.train)
    step_seconds, image_seconds = time_network(config, space, sizes.num_classes, max(1, steps), progress)
    what = f"{steps} steps of {training.batch_size} images through {training.subnets_per_step} subnets"
    if takes_pool(training):
        what += " that the budgets allow; timed as if they allowed all: at most"
    train_seconds = steps * step_seconds
    if minutes is not None and schedule is None:
        what, train_seconds = f"as many steps as {minutes:g} minutes hold", 60 * minutes
        steps = max(1, round(train_seconds / step_seconds))
    score_seconds = (min(config.search.calibration_images, sizes.train) + validation_images) * image_seconds
    plan = make_plan(
        space.with_classes(sizes.num_classes), blocks=config.profile.blocks, networks=config.profile.networks, seed=0
    )
    weights = cost(space.with_classes(sizes.num_classes).unroll(space.largest)).weight_bytes
    measured, devices = config.verify.networks, len(described)
    # Every method's file and the fp32 one are scored.
    scored = (len(get_args(Method)) + 1) * validation_images * image_seconds
    network_seconds = score_seconds + EXPORT_SECONDS_PER_NETWORK + (FRONT_INT8_SECONDS + scored) * (in_int8 > 0)
    kinds = map((reach or mounted_transports()).stated_kind, filter(lambda device: device.is_measured, described))
    start_seconds = PROCESSES * sum(kind.start_seconds for kind in kinds)
    timed_what, timed_seconds, timed_bytes = _profile_stage(config, space, plan, sizes.num_classes, devices, in_int8)
    times = 1 + (config.export.graph_variant == "auto")
    stages = {
        "profile": (timed_what, timed_seconds + start_seconds * times, timed_bytes),
        "train": (what, train_seconds, 3 * weights),
        "search": (
            f"score up to {config.search.evaluations} of {space.size:.3g} subnets with {config.search.strategy}",
            config.search.evaluations * score_seconds / config.search.workers,
            config.search.evaluations * (500 + _statistics_bytes(space, sizes.num_classes)),
        ),
        "verify": (
            f"measure up to {measured} subnets of the front on {_device_count(devices, in_int8)}",
            measured * (network_seconds + devices * config.verify.rounds * REPETITION_SECONDS) + start_seconds,
            # A byte a weight instead of four.
            measured * weights + measured * weights // 4 * (in_int8 > 0),
        ),
        "export": _export_stage(config, in_int8 > 0, validation_images, sizes.test, image_seconds, weights),
        "report": ("draw the report", 5.0, 10**6),
    }
    if config.finetunes:
        asked = config.finetune.epochs
        epochs = epochs_of(training, sizes.train, steps) if asked is None else asked
        stages["finetune"] = _finetune_stage(epochs, sizes.train, image_seconds, weights)
    # An extended search is not finished yet, and neither are the stages after it.
    longer = begun is not None and config.search.evaluations > begun.config.search.evaluations
    redone = ORDER[ORDER.index("search") :] if longer else ()
    warnings = {"train": too_few_steps(training, space, steps)}
    return [
        StagePlan(
            stage,
            *stages[stage],
            done=begun is not None and begun.done(stage) and stage not in redone,
            warning=warnings.get(stage),
        )
        for stage in ORDER
        if stage in stages
    ]


def plan_budgets(config: RunConfig, folder: Path, reach: TransportRegistry | None = None) -> list[str]:
    """Return how much of the space is within the budgets, in lines; latencies are known once a run is profiled.

    Args:
        config: config of the run.
        folder: folder of the run, which need not exist.
        reach: transports of devices.

    Raises:
        ConfigError: no network of the space is within them; the message gives the nearest that can be met, and which
            contradict.
    """
    begun = check_folder(config, folder)
    if config.num_classes is not None:
        classes = config.num_classes
    elif config.accuracy is not None:
        classes = open_source(config.accuracy, config.load_space()).num_classes
    else:
        classes = set_size(config.images, config.seed).num_classes
    if begun is not None and begun.done("profile"):
        limits = run_limits(begun, classes)
        used = used_precisions(begun.devices.all.values())
        return feasibility_lines(limits.feasibility, limits.budgets) + weight_bytes_notes(limits.budgets, used)
    space = begun.space if begun else config.load_space()
    timed = [
        f"budget {budget}: checked once the device is profiled"
        for budget in config.budgets
        if budget.quantity.per_device
    ]
    devices = list(begun.devices.all.values()) if begun else resolve_devices(config.devices, reach)
    return check_computed_budgets(config.budgets, space, classes, devices) + timed


def _plan_profile(config: RunConfig, described: list[Device], space: SearchSpace, begun: Run | None) -> list[StagePlan]:
    """Return the only stage of a run without images."""
    classes = config.num_classes or 0
    check_computed_budgets(config.budgets, space, classes, described)
    plan = make_plan(
        space.with_classes(classes), blocks=config.profile.blocks, networks=config.profile.networks, seed=0
    )
    in_int8 = sum(device.run.precision == "int8" for device in described)
    stage = _profile_stage(config, space, plan, classes, len(described), in_int8)
    return [StagePlan("profile", *stage, done=begun is not None and begun.done("profile"))]


def _plan_with_source(
    config: RunConfig, described: list[Device], space: SearchSpace, begun: Run | None
) -> list[StagePlan]:
    """Return the stages of a run that takes accuracies from a source; only the export needs images."""
    assert config.accuracy is not None
    source = open_source(config.accuracy, space)
    check_computed_budgets(config.budgets, space, source.num_classes, described)
    devices = sum(device.is_measured for device in described)
    weights = cost(space.with_classes(source.num_classes).unroll(space.largest)).weight_bytes
    measured = config.verify.networks if devices else 0
    plan = make_plan(
        space.with_classes(source.num_classes), blocks=config.profile.blocks, networks=config.profile.networks, seed=0
    )
    stages = {
        "profile": _profile_stage(config, space, plan, source.num_classes, devices, 0)
        if devices
        else ("read latency tables; no device is measured", 5.0, 10**6),
        "search": (
            f"look at up to {config.search.evaluations} of {space.size:.3g} subnets with {config.search.strategy}",
            SOURCE_SECONDS + config.search.evaluations * LOOKUP_SECONDS,
            config.search.evaluations * 500,
        ),
        "verify": (
            f"measure up to {measured} subnets of the front on {_device_count(devices, 0)}",
            measured * (EXPORT_SECONDS_PER_NETWORK + devices * config.verify.rounds * REPETITION_SECONDS),
            measured * weights,
        ),
        "report": ("draw the report", 5.0, 10**6),
    }
    if config.has_weights:
        if config.finetunes:
            stages["finetune"] = (f"{config.finetune.epochs:g} epochs of the chosen subnet on its own", 60.0, weights)
        stages["train"] = ("take the weights of train.init", 5.0, 3 * weights)
        stages["export"] = ("prove the chosen file equal and bundle it", 60.0, weights)
    planned = [stage for stage in ORDER if stage in stages]
    return [StagePlan(stage, *stages[stage], done=begun is not None and begun.done(stage)) for stage in planned]


def _profile_stage(
    config: RunConfig, space: SearchSpace, plan: Plan, num_classes: int, devices: int, in_int8: int
) -> tuple[str, float, int]:
    """Return the stage's description, seconds and bytes."""
    models = len(plan.blocks) + len(plan.networks)
    comparing = config.export.graph_variant == "auto"
    variants = "compare graph variants, " if comparing else ""
    # Three files a network; what a process of the timer costs before it times counts most.
    variant_models = len(GRAPH_VARIANTS) * VARIANT_NETWORKS * comparing
    variant_seconds = (
        variant_models * config.profile.rounds * REPETITION_SECONDS + comparing * PROCESSES * TIMER_SECONDS
    )
    timing_seconds = guessed_seconds(space.with_classes(num_classes), plan, config.profile.rounds)
    if config.profile.minutes is not None:
        timing_seconds = min(timing_seconds, 60 * config.profile.minutes)
    each_seconds = models * EXPORT_SECONDS_PER_BLOCK + timing_seconds + variant_seconds
    weights = cost(space.with_classes(num_classes).unroll(space.largest)).weight_bytes
    return (
        f"{variants}export and time {len(plan.blocks)} blocks and {len(plan.networks)} networks on "
        f"{_device_count(devices, in_int8)}",
        devices * each_seconds + in_int8 * models * QUANTISE_SECONDS_PER_MODEL,
        devices * len(plan.networks) * weights,
    )


def _finetune_stage(epochs: float, train_images: int, image_seconds: float, weights: int) -> tuple[str, float, int]:
    """Return the stage's description, seconds and bytes; other images are taken to be as many as the run's."""
    images = epochs * train_images
    what = f"{epochs:.3g} epochs of the chosen subnet on its own"
    return what, FINETUNE_TIMES * images * image_seconds, weights


def _statistics_bytes(space: SearchSpace, num_classes: int) -> int:
    """Return the size of a subnet's batch-norm statistics: a mean and a variance a channel, and their names."""
    specs = space.with_classes(num_classes).unroll(space.largest)
    widths = [conv.out_channels for spec in specs for conv in spec.convs() if conv.norm]
    return 8 * sum(widths) + 250 * len(widths)


def _export_stage(
    config: RunConfig,
    in_int8: bool,
    validation_images: int,
    test_images: int,
    image_seconds: float,
    weights: int,
) -> tuple[str, float, int]:
    """Return the stage's description, seconds and bytes; fine-tuning for int8, which is rarely due, is not counted."""
    # The front, the chosen file twice, the largest subnet.
    seconds = 5 + (config.verify.networks + 3) * test_images * image_seconds
    if config.export.precision == "fp32" and not in_int8:
        return "prove the chosen file equal, bundle it, and look at test images", seconds, weights
    recipes, images, devices = len(get_args(Method)), config.export.calibration_images, len(config.devices)
    quantising = recipes * (QUANTISE_SECONDS + images * QUANTISE_TIMES * image_seconds)
    # Every recipe's file; fp32's; and for the gate the subnet and the chosen file.
    scoring = (recipes + 3) * validation_images * image_seconds + test_images * image_seconds
    # Both files, and the two that the timer always has among them.
    timing = devices * (PROCESSES * TIMER_SECONDS + 4 * config.verify.rounds * REPETITION_SECONDS)
    what = (
        f"prove the chosen file equal, quantise it by {recipes} recipes on {images} images, score each on "
        f"{validation_images} validation images, time int8 beside fp32 on {devices} device(s), and bundle both"
    )
    return what, seconds + quantising + scoring + timing, 2 * weights


def _device_count(devices: int, in_int8: int) -> str:
    return f"{devices} device(s)" + (f", {in_int8} in int8" if in_int8 else "")
