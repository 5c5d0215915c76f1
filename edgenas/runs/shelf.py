"""The shelf of a run: pretrained networks as they are, each in a space of its own at the run's resolutions."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edgenas.config.run_config import RunConfig
from edgenas.errors import ConfigError, RunFolderError, SpaceError, UserError
from edgenas.files import write_yaml
from edgenas.progress import Progress
from edgenas.records.shelf import ShelfNetwork, ShelfNetworks
from edgenas.space.arch import as_file_name
from edgenas.space.loading import load_space
from edgenas.space.narrow import narrow
from edgenas.space.space import SearchSpace

FOLDER = "shelf"
FILE = f"{FOLDER}/networks.json"
NOT_BY_ACCURACY = (
    "the shelf is empty: its networks are compared with others by accuracy, so it needs search.choose: best and error "
    "as the first of search.objectives"
)
REMEDY = "begin the run again in another --run folder"


@dataclass(frozen=True)
class Shelf:
    """The networks of a shelf and their spaces, by the networks' names.

    Attributes:
        networks: facts about each network.
        spaces: its space: the network alone, at every resolution of the run that it accepts.
        notes: networks that are installed but not on the shelf, and why; a sentence each.
    """

    networks: Mapping[str, ShelfNetwork] = field(default_factory=dict)
    spaces: Mapping[str, SearchSpace] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Write the shelf into a run folder, in place of that of a start that was killed."""
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        for name, space in self.spaces.items():
            write_yaml(_space_path(folder, name), space.model_dump(mode="json"))
        ShelfNetworks(networks=tuple(self.networks.values()), notes=self.notes).write(folder / FILE)


def read_shelf(folder: Path) -> Shelf:
    """Read the shelf of a run folder.

    Raises:
        RunFolderError: a file is missing or damaged.
    """
    record = ShelfNetworks.read(folder / FILE, REMEDY)
    networks = {network.weights.name: network for network in record.networks}
    spaces = {name: load_space(_space_path(folder, name)) for name in networks}
    for name, space in spaces.items():
        if space.network != name:
            raise RunFolderError(f"{_space_path(folder, name)} is not the space of {name}: {REMEDY}")
    return Shelf(networks, spaces, record.notes)


def fill_shelf(
    config: RunConfig, space: SearchSpace, unsupported: Iterable[str], *, pretrained: bool, progress: Progress | None
) -> Shelf:
    """Return the shelf that a config asks for: the networks that it names, or for `auto` the installed ones.

    Args:
        config: config of a run that begins.
        space: its space, whose resolutions the networks get.
        unsupported: what some device of the run does not support.
        pretrained: whether the run starts from a pretrained network; else `auto` is an empty shelf.
        progress: called while weights are downloaded.

    Raises:
        ConfigError: a network that the config names cannot be had, or cannot be on the shelf.
    """
    # Networks take torch, which an empty shelf does without.
    if config.shelf == "auto":
        tuned = config.finetune
        if not (pretrained and config.finetunes and tuned.data is None and tuned.start == "inherited"):
            return Shelf()
        if not config.chooses_by_accuracy:
            return Shelf(notes=(NOT_BY_ACCURACY,))
        return _installed(space, unsupported, progress)
    shelved = {}
    for name in config.shelf:
        try:
            shelved[name] = _shelved(name, space, unsupported, progress)
        except UserError as error:
            raise ConfigError(f"shelf: {error}") from None
    return _shelf(shelved)


def _installed(space: SearchSpace, unsupported: Iterable[str], progress: Progress | None) -> Shelf:
    from edgenas.supernet.pretrained.sources import installed_networks

    shelved, notes = {}, []
    for name in installed_networks():
        try:
            shelved[name] = _shelved(name, space, unsupported, progress)
        except UserError as error:
            notes.append(f"{name} is installed but not on the shelf: {error}")
    return _shelf(shelved, notes)


def _shelf(shelved: Mapping[str, tuple[ShelfNetwork, SearchSpace]], notes: Iterable[str] = ()) -> Shelf:
    networks = {name: network for name, (network, _) in shelved.items()}
    return Shelf(networks, {name: space for name, (_, space) in shelved.items()}, tuple(notes))


def _shelved(
    name: str, space: SearchSpace, unsupported: Iterable[str], progress: Progress | None
) -> tuple[ShelfNetwork, SearchSpace]:
    """Return the description and the space of one network.

    Raises:
        WeightsError: the network is unknown, or its weights cannot be had.
        SpaceError: it is of another family, too large for every resolution, or a device lacks an operator of it.
    """
    from edgenas.supernet.pretrained.networks import read
    from edgenas.supernet.pretrained.sources import load_pretrained
    from edgenas.supernet.pretrained.space_alone import network_space

    loaded = load_pretrained(name, progress)
    own = network_space(loaded.module, name, space.resolution)
    if narrowed := narrow(own, unsupported)[1]:
        raise SpaceError(f"a device does not support the network {name}: {narrowed[0]}")
    pixels = asdict(read(loaded.module).pixels)
    return ShelfNetwork(weights=loaded.facts, **pixels), own


def _space_path(folder: Path, name: str) -> Path:
    return folder / FOLDER / f"{as_file_name(name)}.yaml"
