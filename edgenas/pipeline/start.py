"""Starting a run: all that can be wrong is found before anything is written or costs time."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from edgenas.config import RunConfig, dump_config
from edgenas.errors import RunFolderError
from edgenas.files import write_text, write_yaml
from edgenas.latency.device import Device
from edgenas.pipeline.budgets import check_on_paper
from edgenas.pipeline.data import check_quantiser_images, load_pictures, run_dataset
from edgenas.pipeline.devices import resolve_devices, write_devices
from edgenas.pipeline.lock import LOCK, is_lock, is_temporary, locked
from edgenas.pipeline.run import Progress, Run, difference, open_run
from edgenas.profiling.reach import Reach
from edgenas.space.narrow import narrow
from edgenas.space.space import SearchSpace
from edgenas.training.init import check_init
from edgenas.training.loop import compute_device, count_steps

LOGGER = logging.getLogger(__name__)
SPACE, DEVICES = "space.yaml", "devices"
WRITTEN_AT_START = (SPACE, DEVICES)
"""Before config.yaml, whose presence says that the folder holds a run."""


def start_run(config: RunConfig, folder: Path, progress: Progress | None = None, reach: Reach | None = None) -> Run:
    """Open `folder` for `config`, new or begun before. What the devices lack is taken out of a new run's space.

    Raises:
        RunFolderError: the folder holds another config's run (what differs is named), or something that is no
            run, or another process uses it.
        ConfigError, SpaceError, DataError, TableError: what the config names is missing or does not fit.
        OSError: nothing can be written there.
    """
    reach = reach or Reach()
    begun = check_folder(config, folder, reach)
    if begun:
        return begun
    devices, space = resolve(config, reach)
    run = Run(folder, config, space, reach)
    dataset, _ = load_pictures(run, progress)
    count_steps(config.train, len(dataset.train))
    if "int8" in {config.export.precision, *(device.run.precision for device in devices)}:
        check_quantiser_images(config, len(dataset.train))
    check_on_paper(config.budgets, run.space, dataset.num_classes)
    with locked(folder):
        # Again, since another process may have been quicker.
        return check_folder(config, folder, reach) or _begin(run, devices)


def check_folder(config: RunConfig, folder: Path, reach: Reach | None = None) -> Run | None:
    """The run that was begun in `folder` with this very config; None where a new one may begin.

    Raises:
        RunFolderError: the folder holds another config's run (what differs is named), or something that is no run.
    """
    if (folder / "config.yaml").exists():
        run = open_run(folder, reach)
        if run.config != config:
            changed = difference(run.config, config)
            raise RunFolderError(f"{folder} holds a run of another config: {changed}; choose another --run folder")
        return run
    if folder.exists() and not (folder.is_dir() and _may_begin(folder)):
        raise RunFolderError(f"{folder} exists and is no run folder: choose another --run folder")
    return None


def _may_begin(folder: Path) -> bool:
    """Whether a folder holds nothing, or only what a start writes that was killed before its end."""
    inside = list(folder.iterdir())
    # Without the lock, which a start makes first, files of these names are somebody else's.
    return not inside or (
        any(path.name == LOCK for path in inside)
        and all(is_lock(path) or is_temporary(path) or path.name in WRITTEN_AT_START for path in inside)
    )


def resolve(config: RunConfig, reach: Reach | None = None) -> tuple[list[Device], SearchSpace]:
    """The devices of a config, and its space without what they lack, once all is known to fit what is there.

    Raises:
        ConfigError, TableError: a device, a budget's device or a training device that is not there.
        SpaceError: nothing would be left of a part of the space, which is named.
        RunFolderError: what `train.init` names cannot be started from.
    """
    devices = resolve_devices(config.devices, reach)
    space = _narrowed(devices, config.load_space())
    _check_fits(config, devices, space)
    return devices, space


def _narrowed(devices: Sequence[Device], space: SearchSpace) -> SearchSpace:
    """The space without what any of the devices lacks; what was taken away is told."""
    narrowed, said = narrow(space, [entry for device in devices for entry in device.unsupported])
    for words in said:
        LOGGER.warning("note: space %s: %s", space.name, words)
    return narrowed


def _check_fits(config: RunConfig, devices: Sequence[Device], space: SearchSpace) -> None:
    for budget in config.budgets:
        budget.on([device.name for device in devices])
    compute_device(config.train.device)
    if config.train.init is not None:
        check_init(config.train.init, space, kernel_transforms=config.train.kernel_transforms)


def _begin(run: Run, devices: Sequence[Device]) -> Run:
    # Of a start that was killed, perhaps one with other devices.
    shutil.rmtree(run.folder / DEVICES, ignore_errors=True)
    write_yaml(run.folder / SPACE, run.space.model_dump(mode="json"))
    write_devices(run, devices)
    # From here on the folder holds a run; whatever is still missing, a stage makes.
    write_text(run.folder / "config.yaml", dump_config(run.config))
    run_dataset(run)
    return run
