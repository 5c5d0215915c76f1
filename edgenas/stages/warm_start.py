"""Initial architectures of a search: they cover the space, after the front of another run if the config names one.

Where budgets leave next to nothing of the space, archs that are within them come first: draws hardly hit any.
"""

from __future__ import annotations

import logging
from pathlib import Path

from edgenas.errors import RunFolderError, SpaceError
from edgenas.files import user_path
from edgenas.records.search import InitialRecord, SearchRecord
from edgenas.runs.run import Run, open_run
from edgenas.space.arch import Arch
from edgenas.space.covering_samples import covering
from edgenas.space.feasible_samples import allowed
from edgenas.space.space import Genes, SearchSpace
from edgenas.stages.limits import Limits

LOGGER = logging.getLogger(__name__)
FILE = "search/initial.json"
SCARCE = 0.002
"""Of random archs within the budgets: with fewer, a first population may be without any."""


def first_genes(run: Run, population: int, limits: Limits) -> Genes | None:
    """Return canonical genes that are evaluated first, shape (n, genes); None where the strategy begins by itself."""
    config, space = run.config.search, run.space
    given = _given(run)
    # It covers the space by itself, and evenly in what is computed.
    own = [] if config.strategy == "surrogate" else covering(space, population, run.config.seed)
    if limits.feasibility.share < SCARCE:
        own = space.decode(allowed(space, limits.greatest_share, population, run.config.seed))
    archs = [*given, *own]
    return space.encode(archs) if archs else None


def check_initial(initial: Path | None, space: SearchSpace) -> None:
    """Refuse to begin with the front of a run that has none, or none in this space.

    Raises:
        RunFolderError: no run folder, its search is not done, or nothing of its front is in the space.
    """
    if initial is not None:
        _front(initial, space)


def _given(run: Run) -> list[Arch]:
    """Return the other run's front as it was when this search began; that run may have changed since."""
    if run.config.search.initial is None:
        return []
    path = run.folder / FILE
    if not path.exists():
        archs = _front(run.config.search.initial, run.space)
        InitialRecord(run=str(run.config.search.initial), archs=tuple(archs)).write(path)
    remedy = f"run the same command again, which reads the front of {run.config.search.initial}"
    return list(InitialRecord.read(path, remedy, run.space).archs)


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
