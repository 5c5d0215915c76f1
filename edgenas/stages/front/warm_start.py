"""Initial architectures of a search: they cover the space, after the front of another run if the config names one.

Where budgets leave next to nothing of the space, archs that are within them come first: draws hardly hit any.
"""

from __future__ import annotations

import logging
from pathlib import Path

from edgenas.config.sections import SearchConfig
from edgenas.errors import RunFolderError, SpaceError
from edgenas.files import user_path
from edgenas.records.search import InitialRecord, SearchRecord
from edgenas.runs.run import open_run
from edgenas.space.arch import Arch
from edgenas.space.covering_samples import covering
from edgenas.space.feasible_samples import allowed
from edgenas.space.space import Genes, SearchSpace
from edgenas.stages.budgets.limits import Limits

LOGGER = logging.getLogger(__name__)
FILE = "search/initial.json"
SCARCE = 0.002
"""Of random archs within the budgets: with fewer, a first population may be without any."""


def first_genes(config: SearchConfig, limits: Limits, population: int, folder: Path) -> Genes | None:
    """Return canonical genes that are evaluated first, shape (n, genes); None where the strategy begins by itself.

    Args:
        config: section `search` of the config.
        limits: the budgets; its space is searched.
        population: number of networks that cover the space.
        folder: the run folder, which keeps the front that the search begins with.
    """
    space, seed = limits.space, limits.seed
    # Surrogate search covers the space by itself, and evenly in what is computed.
    archs = [] if config.strategy == "surrogate" else covering(space, population, seed)
    if limits.feasibility.share < SCARCE:
        archs = space.decode(allowed(space, limits.greatest_share, population, seed))
    if config.initial is not None:
        archs = [*_initial_front(config.initial, space, folder), *archs]
    return space.encode(archs) if archs else None


def check_initial(initial: Path | None, space: SearchSpace) -> None:
    """Refuse to begin with the front of a run that has none, or none in this space.

    Raises:
        RunFolderError: no run folder, its search is not done, or nothing of its front is in the space.
    """
    if initial is not None:
        _front(initial, space)


def _initial_front(initial: Path, space: SearchSpace, folder: Path) -> tuple[Arch, ...]:
    """Return the other run's front as it was when this search began; that run may have changed since."""
    path = folder / FILE
    if not path.exists():
        InitialRecord(run=str(initial), archs=tuple(_front(initial, space))).write(path)
    remedy = f"run the same command again, which reads the front of {initial}"
    return InitialRecord.read(path, remedy, space).archs


def _front(folder: Path, space: SearchSpace) -> list[Arch]:
    other = open_run(user_path(folder))
    front = [network.arch for network in other.result(SearchRecord).front]
    inside = [arch for arch in front if _holds(space, arch)]
    if not inside:
        raise RunFolderError(
            f"search.initial {folder}: none of the {len(front)} networks of its front is in the space {space.name}: "
            "name a run of this space, or leave search.initial out"
        )
    if len(inside) < len(front):
        LOGGER.warning(
            "note: search.initial %s: %d of %d networks are not in this space",
            folder,
            len(front) - len(inside),
            len(front),
        )
    return inside


def _holds(space: SearchSpace, arch: Arch) -> bool:
    try:
        space.parse(arch.id)
    except SpaceError:
        return False
    return True
