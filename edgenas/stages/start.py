"""Start a run; all errors in its config are found before anything is written or takes time."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edgenas.accuracy.scores import StatedAccuracy
from edgenas.accuracy.source import open_source
from edgenas.config.differences import difference
from edgenas.config.reading import dump_config, parse_config
from edgenas.config.run_config import RunConfig
from edgenas.config.sections import FinetuneConfig
from edgenas.errors import DataError, RunFolderError
from edgenas.files import prove_writable, write_text, write_yaml
from edgenas.latency.device import Device
from edgenas.objective import resolve_objectives
from edgenas.profiling.timing_plan import check_blocks
from edgenas.profiling.transport_registry import TransportRegistry, mounted_transports
from edgenas.progress import Progress
from edgenas.records.init import InitRecord
from edgenas.runs.devices import resolve_devices, write_devices
from edgenas.runs.images import RunImages, check_quantiser_images, check_unchanged, load_images
from edgenas.runs.lock import LOCK, is_lock, is_temporary, locked
from edgenas.runs.run import INIT, Run, open_run
from edgenas.runs.shelf import FOLDER as SHELF
from edgenas.runs.shelf import Shelf, fill_shelf
from edgenas.search.strategies.by_name import check_strategy
from edgenas.space.narrow import narrow
from edgenas.space.space import SearchSpace
from edgenas.stages.budgets.computed_budgets import check_computed_budgets, used_precisions, weight_bytes_notes
from edgenas.stages.front.choice import check_weights
from edgenas.stages.front.warm_start import check_initial
from edgenas.stages.weights.initial_network import resolve_init
from edgenas.supernet.pixels import Pixels
from edgenas.training.data.dataset import set_size, stated_pixels
from edgenas.training.initial_weights import check_init, normalisation_note
from edgenas.training.setup import compute_device, count_steps
from edgenas.training.tensorboard import load_tensorboard

LOGGER = logging.getLogger(__name__)
SPACE, DEVICES = "space.yaml", "devices"
WRITTEN_AT_START = (SPACE, DEVICES, INIT, SHELF)
"""Before config.yaml, whose presence says that the folder holds a run."""


def start_run(
    config: RunConfig, folder: Path, progress: Progress | None = None, reach: TransportRegistry | None = None
) -> Run:
    """Open `folder` for `config`, new or begun before. A new run's space is narrowed to what all devices support.

    The search of a run that was begun with fewer `search.evaluations` is extended. A run with more keeps them, and a
    warning states that.

    Raises:
        RunFolderError: the folder holds another config's run (what differs is named), or something that is no
            run, or another process uses it.
        ConfigError, SpaceError, DataError, TableError: a file or name in the config is missing or does not fit.
        OSError: nothing can be written there.
    """
    reach = reach or mounted_transports()
    begun = check_folder(config, folder, reach)
    if begun:
        return extend_search(begun, config.search.evaluations)
    # Before images are read, which may take minutes.
    prove_writable(folder / LOCK)
    resolved = resolve(config, reach, progress)
    devices, space, config = resolved.devices, resolved.space, as_begun(config, resolved.init)
    source = None if config.accuracy is None else open_source(config.accuracy, space)
    images = None if config.data is None else load_images(folder, config, space, resolved.init, progress)
    networks = space.with_classes(_checked_classes(config, devices, images, source))
    check_computed_budgets(config.budgets, networks, devices)
    if config.profile.base is None and any(device.is_measured for device in devices):
        check_blocks(networks, config.profile.blocks)
    random_weights = [resolved.init.note] if resolved.init and resolved.init.note else []
    for note in (*random_weights, *weight_bytes_notes(config.budgets, used_precisions(devices))):
        LOGGER.warning("note: %s", note)
    with locked(folder):
        # Again, since another process may have been quicker.
        begun = check_folder(config, folder, reach)
        if begun:
            return begun
        _write(folder, config, resolved)
        if images is not None:
            check_unchanged(folder, images)
    return Run(folder, config, space, reach, images)


def _checked_classes(
    config: RunConfig, devices: Sequence[Device], images: RunImages | None, source: StatedAccuracy | None
) -> int:
    """Return the number of classes, after checking the images and the source of accuracies."""
    if config.num_classes is not None:
        return config.num_classes
    if images is None:
        assert source is not None
        return source.num_classes
    dataset = images.dataset
    if source is None:
        count_steps(config.training, len(dataset.train))
    elif source.num_classes != dataset.num_classes:
        raise DataError(
            f"accuracies are of {source.num_classes} classes ({source.dataset}), data has {dataset.num_classes}: "
            "expected images of the same classes, which the exported network tells apart"
        )
    if "int8" in {config.export.precision, *(device.run.precision for device in devices)}:
        check_quantiser_images(config, len(dataset.train))
    return dataset.num_classes


def check_folder(config: RunConfig, folder: Path, reach: TransportRegistry | None = None) -> Run | None:
    """Return the run that was begun in `folder` with this config; None where a new one may begin.

    Only `search.evaluations` may differ: the length of a search does not change its earlier evaluations.

    Raises:
        RunFolderError: the folder holds another config's run (what differs is named), or something that is no run.
    """
    if (folder / "config.yaml").exists():
        run = open_run(folder, reach)
        asked = as_begun(config, run.init)
        if _with_evaluations(run.config, config.search.evaluations) != asked:
            changed = difference(run.config, asked)
            raise RunFolderError(f"{folder} holds a run of another config: {changed}; choose another --run folder")
        return run
    if folder.exists() and not (folder.is_dir() and _may_begin(folder)):
        raise RunFolderError(f"{folder} exists and is no run folder: choose another --run folder")
    return None


def as_begun(config: RunConfig, init: InitRecord | None) -> RunConfig:
    """Return the config of a run that begins with this choice of a pretrained network; see `from_random_weights`."""
    return config.from_random_weights() if init is not None and init.network is None else config


def extend_search(run: Run, evaluations: int) -> Run:
    """Write and return the run with more `search.evaluations`; its search is no longer finished then.

    Fewer than the run has already change nothing, and a warning states that.

    Raises:
        RunFolderError: another process uses the folder.
    """
    current = run.config.search.evaluations
    if evaluations < current:
        LOGGER.warning("note: %s: search.evaluations stays at %d, since %d are fewer", run.folder, current, evaluations)
    if evaluations <= current:
        return run
    longer = replace(run, config=_with_evaluations(run.config, evaluations))
    with locked(run.folder):
        write_text(run.folder / "config.yaml", dump_config(longer.config))
        # A kill before this line does no harm: the result also states the length of its search.
        run.result_path("search").unlink(missing_ok=True)
    return longer


def change_finetuning(run: Run, finetune: FinetuneConfig) -> Run:
    """Write and return the run with other settings of fine-tuning; fine-tuning and export are no longer finished then.

    Other images are for the network that the run chose until now. Networks of the shelf are not fine-tuned on them, but
    those that the run has are kept, since the chosen one may be among them.

    Raises:
        ConfigError: the run has no weights, or its other settings do not fit.
        RunFolderError: another process uses the folder, or a result is damaged.
    """
    changes: dict[str, object] = {"finetune": finetune.model_dump(mode="json")}
    if finetune.epochs is not None or finetune.data is not None:
        # The time of the run is over; its training keeps the steps that were fixed.
        changes["minutes"] = None
    if finetune.data is not None:
        if finetune.data != run.config.finetune.data and run.done("verify"):
            changes["finetune"] = finetune.model_copy(update={"arch": run.chosen.id}).model_dump(mode="json")
        changes["shelf"] = run.config.shelf and "auto"
    changed = replace(run, config=parse_config(run.config.model_dump(mode="json") | changes, str(run.folder)))
    changed.require("finetune")
    if changed.config == run.config:
        return run
    with locked(run.folder):
        for stage in ("finetune", "export", "report"):
            run.result_path(stage).unlink(missing_ok=True)
        write_text(run.folder / "config.yaml", dump_config(changed.config))
    return changed


def _with_evaluations(config: RunConfig, evaluations: int) -> RunConfig:
    return config.model_copy(update={"search": config.search.model_copy(update={"evaluations": evaluations})})


def _may_begin(folder: Path) -> bool:
    """Return whether a folder is empty, or has only the files of a start that was killed."""
    inside = list(folder.iterdir())
    # Without the lock, which a start makes first, files of these names are somebody else's.
    return not inside or (
        any(path.name == LOCK for path in inside)
        and all(is_lock(path) or is_temporary(path) or path.name in WRITTEN_AT_START for path in inside)
    )


@dataclass(frozen=True)
class Resolved:
    """What the names in a config stand for.

    Attributes:
        devices: the devices.
        space: the space, without operators that a device lacks.
        init: the pretrained network; None where `train.init` is left out or a path.
        shelf: pretrained networks beside those of the space.
    """

    devices: list[Device]
    space: SearchSpace
    init: InitRecord | None
    shelf: Shelf


def resolve(config: RunConfig, reach: TransportRegistry | None = None, progress: Progress | None = None) -> Resolved:
    """Return the devices, the space and the pretrained network of a config, after checking the config.

    Args:
        config: the config.
        reach: transports of devices.
        progress: called while weights are downloaded.

    Raises:
        ConfigError, TableError: a device is missing (of the run, of a budget or an objective, or to train on),
            objectives or weights do not fit, or the package of the strategy is not installed.
        SpaceError: nothing would be left of a part of the space, which is named.
        RunFolderError: the run that `train.init` or `search.initial` names cannot be used.
        WeightsError: the pretrained network that `train.init` names cannot be had.
    """
    devices = resolve_devices(config.devices, reach)
    space, init = resolve_init(config, partial(_narrowed, devices), progress)
    _check_fits(config, devices, space)
    pretrained = init is not None and init.network is not None
    return Resolved(devices, space, init, _shelf(config, devices, space, pretrained, progress))


def _narrowed(devices: Sequence[Device], space: SearchSpace) -> SearchSpace:
    """Return the space without choices that some device does not support, and warn of each that is removed."""
    narrowed, notes = narrow(space, [entry for device in devices for entry in device.unsupported])
    for note in notes:
        LOGGER.warning("note: space %s: %s", space.name, note)
    return narrowed


def _shelf(
    config: RunConfig, devices: Sequence[Device], space: SearchSpace, pretrained: bool, progress: Progress | None
) -> Shelf:
    """Return the shelf of a config, and warn of installed networks that cannot be on it."""
    unsupported = [entry for device in devices for entry in device.unsupported]
    shelf = fill_shelf(config, space, unsupported, pretrained=pretrained, progress=progress)
    for note in shelf.notes:
        LOGGER.warning("note: %s", note)
    return shelf


def _check_fits(config: RunConfig, devices: Sequence[Device], space: SearchSpace) -> None:
    for budget in config.budgets:
        budget.on([device.name for device in devices])
    resolve_objectives(config.search.objectives, [device.name for device in devices])
    check_weights(config, [device.name for device in devices])
    check_strategy(config.search.strategy)
    check_initial(config.search.initial, space)
    if config.finetune.arch is not None:
        space.parse(config.finetune.arch)
    if config.train is not None:
        compute_device(config.train.device)
        if config.train.tensorboard:
            load_tensorboard()
        if config.finetune.data is not None:
            set_size(config.finetune.data, config.seed)
        if config.train.init_path is not None:
            check_init(config.train.init_path, space, kernel_transforms=config.train.kernel_transforms)
            pixels = stated_pixels(config.images, Pixels())
            if config.train.epochs and (note := normalisation_note(config.train.init_path, space, pixels)):
                LOGGER.warning("note: %s", note)


def _write(folder: Path, config: RunConfig, resolved: Resolved) -> None:
    # Of a start that was killed, perhaps one with other devices.
    shutil.rmtree(folder / DEVICES, ignore_errors=True)
    write_yaml(folder / SPACE, resolved.space.model_dump(mode="json"))
    write_devices(folder, resolved.devices)
    (folder / INIT).unlink(missing_ok=True)
    if resolved.init is not None:
        resolved.init.write(folder / INIT)
    resolved.shelf.write(folder)
    # From here on the folder holds a run; whatever is still missing, a stage makes.
    write_text(folder / "config.yaml", dump_config(config))
