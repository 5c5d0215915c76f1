"""Starting a run: all that can be wrong is found before anything is written or costs time."""

from __future__ import annotations

from pathlib import Path

from edgenas.config import RunConfig, dump_config
from edgenas.errors import RunFolderError
from edgenas.files import write_text, write_yaml
from edgenas.latency.device import Device
from edgenas.pipeline.data import run_dataset
from edgenas.pipeline.devices import resolve_devices, write_devices
from edgenas.pipeline.run import Run, difference, open_run
from edgenas.training.data import load_dataset
from edgenas.training.loop import compute_device, count_steps


def start_run(config: RunConfig, folder: Path) -> Run:
    """Open `folder` for `config`, new or begun before.

    Raises:
        RunFolderError: the folder holds another config's run (what differs is named), something that is no
            run, or cannot be written.
        ConfigError, SpaceError, DataError, TableError: what the config names is missing or does not fit.
    """
    begun = check_folder(config, folder)
    return begun or _begin(config, folder)


def check_folder(config: RunConfig, folder: Path) -> Run | None:
    """The run that was begun in `folder` with this very config; None where a new one may begin.

    Raises:
        RunFolderError: the folder holds another config's run (what differs is named), or something that is no run.
    """
    if (folder / "config.yaml").exists():
        run = open_run(folder)
        if run.config != config:
            changed = difference(run.config, config)
            raise RunFolderError(f"{folder} holds a run of another config: {changed}; choose another --run folder")
        return run
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunFolderError(f"{folder} exists and is no run folder: choose another --run folder")
    return None


def resolve_all(config: RunConfig) -> list[Device]:
    """The devices of a config, once it is known that its budgets and its training fit what is there.

    Raises:
        ConfigError, TableError: a device, budget or training device that is not there.
    """
    devices = resolve_devices(config.devices)
    for budget in config.budgets:
        budget.on([device.name for device in devices])
    compute_device(config.train.device)
    return devices


def _begin(config: RunConfig, folder: Path) -> Run:
    run = Run(folder, config, config.load_space())
    devices = resolve_all(config)
    count_steps(config.train, len(load_dataset(config.data, config.seed).train))
    try:
        write_yaml(folder / "space.yaml", run.space.model_dump(mode="json"))
        write_devices(run, devices)
        run_dataset(run)
        # Last: its presence says that the folder holds a run.
        write_text(folder / "config.yaml", dump_config(config))
    except OSError as error:
        raise RunFolderError(f"cannot write into {folder}: {error.strerror or error}") from None
    return run
