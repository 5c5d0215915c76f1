"""Where a search begins: archs that cover the space, after the front of another run where the config names one.

Where budgets leave next to nothing of the space, archs that are within them come first: draws hardly hit any.
"""

from __future__ import annotations

import logging
from pathlib import Path

from edgenas.errors import RunFolderError, SpaceError
from edgenas.files import read_json, user_path, write_json
from edgenas.runs.folder import Run, open_run
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
    """Canonical genes that are evaluated first, shape (n, genes); None where the strategy begins by itself."""
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
    """The other run's front, as it was when this search began: that run may go on since."""
    if run.config.search.initial is None:
        return []
    path = run.folder / FILE
    if not path.exists():
        archs = _front(run.config.search.initial, run.space)
        write_json(path, {"run": str(run.config.search.initial), "archs": [arch.id for arch in archs]})
    again = f"delete it, and the front of {run.config.search.initial} is read again"
    try:
        return [run.space.parse(str(arch)) for arch in read_json(path, again)["archs"]]
    except (KeyError, TypeError, SpaceError) as error:
        raise RunFolderError(f"{path} is damaged ({error}): {again}") from None


def _front(folder: Path, space: SearchSpace) -> list[Arch]:
    other = open_run(user_path(folder))
    found = [entry["arch"] for entry in other.result("search")["front"]]
    inside = [arch for arch in (_parsed(text, space) for text in found) if arch is not None]
    if not inside:
        raise RunFolderError(
            f"search.initial {folder}: none of the {len(found)} networks of its front is in the space {space.name}: "
            "name a run of this space, or leave search.initial out"
        )
    if len(inside) < len(found):
        LOGGER.warning(
            "note: search.initial %s: %d of %d networks are not in this space",
            folder,
            len(found) - len(inside),
            len(found),
        )
    return inside


def _parsed(text: str, space: SearchSpace) -> Arch | None:
    try:
        return space.parse(text)
    except SpaceError:
        return None
