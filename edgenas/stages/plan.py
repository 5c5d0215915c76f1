"""The plan of a run: its stages, their time and their disk space. Nothing is written."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from edgenas.accuracy.source import open_source
from edgenas.config.run_config import RunConfig
from edgenas.profiling.transport_registry import TransportRegistry, mounted_transports
from edgenas.progress import Progress
from edgenas.records.train import FixedSettings
from edgenas.runs.images import check_quantiser_images
from edgenas.runs.run import Run
from edgenas.space.space import ClassifierSpace, SearchSpace
from edgenas.stages.budgets.computed_budgets import check_computed_budgets, used_precisions, weight_bytes_notes
from edgenas.stages.budgets.feasibility_notes import feasibility_lines
from edgenas.stages.budgets.limits import find_limits
from edgenas.stages.devices.device_latencies import read_latencies
from edgenas.stages.planning.plan_timing import time_network
from edgenas.stages.planning.stage_plans import RunPlan, StagePlan, SupernetPlan
from edgenas.stages.start import Resolved, as_begun, check_folder, resolve
from edgenas.stages.time_shares import training_minutes
from edgenas.training.data.dataset import SetSize, set_size
from edgenas.training.fixed_settings import load_fixed_settings
from edgenas.training.setup import count_steps


def plan_run(
    config: RunConfig,
    folder: Path,
    reach: TransportRegistry | None = None,
    minutes: float | None = None,
    progress: Progress = lambda *_: None,
) -> list[StagePlan]:
    """Return the stages of a run. A few training steps on noise are timed, everything else is counted.

    Args:
        config: config of the run.
        folder: folder of the run, which need not exist.
        reach: transports of devices.
        minutes: training time, instead of `train.epochs`; ignored once training has begun.
        progress: called with what is being timed, parts done and in all.

    Raises:
        UserError: the run could not be started (see `start_run`); only the images are not looked at.
    """
    reach = reach or mounted_transports()
    begun = check_folder(config, folder)
    resolved = _resolved(config, begun, reach, progress)
    devices, sizes, config = resolved.devices, _sizes(config), as_begun(config, resolved.init)
    networks = _networks(config, resolved.space, sizes)
    check_computed_budgets(config.budgets, networks, devices)
    measured = [device for device in devices if device.is_measured]
    plan = RunPlan(config, networks, measured, reach, resolved.init, resolved.shelf.spaces)
    if sizes is not None:
        plan = _supernet_plan(plan, sizes, load_fixed_settings(folder / "supernet"), minutes, progress)
    finished = begun.finished(config.search.evaluations) if begun else ()
    return [replace(stage, done=stage.stage in finished) for stage in plan.stages()]


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
    resolved = _resolved(config, begun, reach or mounted_transports())
    networks = _networks(config, resolved.space, _sizes(config))
    if begun is not None and begun.done("profile"):
        limits = find_limits(begun.config, networks, begun.devices, read_latencies(begun))
        limits.require_feasible()
        used = used_precisions(begun.devices.all.values())
        return feasibility_lines(limits.feasibility, limits.budgets) + weight_bytes_notes(limits.budgets, used)
    measured = [budget for budget in config.budgets if budget.quantity.per_device]
    notes = [f"budget {budget}: checked once the device is profiled" for budget in measured]
    return check_computed_budgets(config.budgets, networks, resolved.devices) + notes


def _resolved(
    config: RunConfig, begun: Run | None, reach: TransportRegistry, progress: Progress | None = None
) -> Resolved:
    """Return the space, devices and images that a config names, in a run that was begun or would be."""
    if begun is not None:
        return Resolved(list(begun.devices.all.values()), begun.space, begun.init, begun.shelf)
    return resolve(config, reach, progress)


def _sizes(config: RunConfig) -> SetSize | None:
    """Return the numbers of images that a supernet is trained and scored on; None in a run that trains none."""
    if config.accuracy is not None or config.num_classes is not None:
        return None
    return set_size(config.images, config.seed)


def _networks(config: RunConfig, space: SearchSpace, sizes: SetSize | None) -> ClassifierSpace:
    """Return a space with the number of classes of the images, of the source of accuracies or of the config."""
    if sizes is not None:
        return space.with_classes(sizes.num_classes)
    if config.accuracy is not None:
        return space.with_classes(open_source(config.accuracy, space).num_classes)
    assert config.num_classes is not None
    return space.with_classes(config.num_classes)


def _supernet_plan(
    plan: RunPlan, sizes: SetSize, settings: FixedSettings | None, minutes: float | None, progress: Progress
) -> SupernetPlan:
    """Return the plan of a run that trains a supernet, whose steps are timed now.

    Args:
        plan: plan of the other stages.
        sizes: numbers of images.
        settings: settings of a training that has begun, which keep its number of steps.
        minutes: training time, instead of `train.epochs`.
        progress: called with what is being timed, parts done and in all.
    """
    config = plan.config
    if "int8" in {config.export.precision, *(device.run.precision for device in plan.devices)}:
        check_quantiser_images(config, sizes.train)
    steps = settings.steps if settings else count_steps(config.training, sizes.train)
    training = config.training.for_images(sizes.train, sizes.num_classes)
    timed = config.model_copy(update={"train": training})
    times = time_network(timed, plan.networks, max(1, steps), progress)
    if settings is not None:
        minutes = None
    elif minutes is None and config.minutes is not None:
        minutes = training_minutes(config.minutes, {"profile": plan.profile().seconds})
    if minutes is not None:
        steps = max(1, round(60 * minutes / times.step))
    others = {field.name: getattr(plan, field.name) for field in fields(plan)}
    return SupernetPlan(**others, sizes=sizes, steps=steps, minutes=minutes, times=times)
