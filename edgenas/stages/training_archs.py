"""The pool of architectures for recipes that train within the budgets: drawn once, kept beside the weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from edgenas.errors import ConfigError, RunFolderError
from edgenas.records.train import PoolRecord
from edgenas.runs.run import Run
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
    """Return the run's pool, drawn if there is none yet; None where its recipe takes none.

    Args:
        run: profiled, with budgets that can be met.
        num_classes: number of classes of its images.
        processes: that train together; the first one draws.

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
            f"{run.folder}: train.recipe {run.config.training.recipe} needs latencies first: run "
            f"`edgenas profile {run.folder}`, or choose another recipe (train.recipe=all-sizes)"
        )
    if missing and processes.first:
        _draw(run, unchecked_limits(run, num_classes))
    processes.wait()
    return known_pool(run)


def known_pool(run: Run) -> tuple[Arch, ...] | None:
    """Return the pool that the run's supernet was trained on, cheapest first; None where there is none.

    Raises:
        RunFolderError: the file is broken, or missing for a supernet that was trained on a pool.
    """
    path = run.folder / FILE
    remedy = f"delete {path.parent} and run `edgenas train {run.folder}`"
    if not path.exists():
        if takes_pool(run.config.training) and run.config.training.epochs:
            raise RunFolderError(f"{path}, the list of subnets that the supernet was trained on, is missing: {remedy}")
        return None
    return PoolRecord.read(path, remedy, run.space).archs


def take_pool(run: Run) -> None:
    """Keep the pool of the supernet whose weights the run takes, if it had one, and warn that it did."""
    init = run.config.training.init
    assert init is not None
    theirs = init_file(init).parent / POOL
    if theirs.exists() and not (run.folder / FILE).exists():
        pool = PoolRecord.read(theirs, "name the supernet again, if it was trained on the whole space", run.space)
        pool.write(run.folder / FILE)
        LOGGER.warning(
            "note: train.init: the supernet of %s was trained on architectures within %s only: others score lower than "
            "they could",
            theirs.parent,
            ", ".join(map(str, pool.budgets)),
        )


def warn_if_untrained(run: Run, archs: Sequence[Arch]) -> None:
    """Warn if architectures that a user names are over the budgets that the run's supernet was trained within."""
    if not takes_pool(run.config.training) or known_pool(run) is None:
        return
    shares = unchecked_limits(run, run.num_classes).greatest_share(archs)
    beyond = [arch.id for arch, share in zip(archs, shares, strict=True) if share > 1]
    if beyond:
        LOGGER.warning(
            "note: the supernet was trained within the budgets only, so these networks score lower than they could: %s",
            ", ".join(beyond),
        )


def _draw(run: Run, limits: Limits) -> None:
    genes = allowed(run.space, limits.greatest_share, ARCHS, run.config.seed)
    if not len(genes):
        budgets = ", ".join(map(str, limits.budgets))
        raise ConfigError(f"{run.folder}: no network to train was found within {budgets}: choose another train.recipe")
    PoolRecord(budgets=limits.budgets, archs=tuple(run.space.decode(genes))).write(run.folder / FILE)
