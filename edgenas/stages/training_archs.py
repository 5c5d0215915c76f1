"""The archs that a supernet is trained where its recipe keeps to the budgets: drawn once, kept beside its weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from edgenas.errors import ConfigError, RunFolderError
from edgenas.records.train import PoolRecord
from edgenas.runs.folder import Run
from edgenas.runs.run_data import run_classes
from edgenas.space.arch import Arch
from edgenas.space.feasible_samples import allowed
from edgenas.stages.limits import Limits, unchecked_limits
from edgenas.training.distributed import SINGLE_PROCESS, Processes
from edgenas.training.initial_weights import init_file
from edgenas.training.recipe import takes_pool

POOL = "pool.json"
FILE = f"supernet/{POOL}"
ARCHS = 4096
LOGGER = logging.getLogger(__name__)


def run_pool(run: Run, num_classes: int, processes: Processes = SINGLE_PROCESS) -> tuple[Arch, ...] | None:
    """The run's pool, drawn if there is none yet; None where its recipe takes none.

    Args:
        run: profiled, its budgets known to leave something.
        num_classes: of its images.
        processes: who trains along; the first one draws.

    Raises:
        ConfigError: the run is not profiled yet, or nothing was found within its budgets.
        RunFolderError: the file is broken.
    """
    if not takes_pool(run.config.training):
        return None
    path = run.folder / FILE
    # All have looked whether there is one, before the first writes it.
    missing = not path.exists()
    processes.wait()
    if missing and not run.done("profile"):
        raise ConfigError(
            f"{run.folder}: train.recipe {run.config.training.recipe} wants to know latencies first: run "
            f"`edgenas profile {run.folder}`, or choose another recipe (train.recipe=all-sizes)"
        )
    if missing and processes.first:
        _draw(run, unchecked_limits(run, num_classes))
    processes.wait()
    return known_pool(run)


def known_pool(run: Run) -> tuple[Arch, ...] | None:
    """The pool that the run's supernet was trained, those first that need least; None where there is none.

    Raises:
        RunFolderError: the file is broken; or lost, of a supernet that had one.
    """
    path = run.folder / FILE
    remedy = f"delete {path.parent} and run `edgenas train {run.folder}`"
    if not path.exists():
        if takes_pool(run.config.training) and run.config.training.epochs:
            raise RunFolderError(f"{path}, the list of subnets that the supernet was trained on, is missing: {remedy}")
        return None
    return PoolRecord.read(path, remedy, run.space).archs


def take_pool(run: Run) -> None:
    """Keep the pool of the supernet whose weights the run takes as they are, if it had one, and say so."""
    init = run.config.training.init
    assert init is not None
    theirs = init_file(init).parent / POOL
    if theirs.exists() and not (run.folder / FILE).exists():
        pool = PoolRecord.read(theirs, "name the supernet again, if it was trained on the whole space", run.space)
        pool.write(run.folder / FILE)
        LOGGER.warning(
            "note: train.init: the supernet of %s was trained only archs within %s: others score lower than they could",
            theirs.parent,
            ", ".join(map(str, pool.budgets)),
        )


def tell_untrained(run: Run, archs: Sequence[Arch]) -> None:
    """Say so if archs that a user names are beyond the budgets that the run's supernet kept to."""
    if not takes_pool(run.config.training) or known_pool(run) is None:
        return
    shares = unchecked_limits(run, run_classes(run)).greatest_share(archs)
    beyond = [arch.id for arch, share in zip(archs, shares, strict=True) if share > 1]
    if beyond:
        LOGGER.warning(
            "note: the supernet was trained only what is within the budgets, so these score lower than they could: %s",
            ", ".join(beyond),
        )


def _draw(run: Run, limits: Limits) -> None:
    genes = allowed(run.space, limits.greatest_share, ARCHS, run.config.seed)
    said = ", ".join(map(str, limits.budgets))
    if not len(genes):
        raise ConfigError(f"{run.folder}: nothing to train was found within {said}: choose another train.recipe")
    PoolRecord(budgets=limits.budgets, archs=tuple(run.space.decode(genes))).write(run.folder / FILE)
