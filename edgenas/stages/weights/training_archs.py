"""The pool of architectures for recipes that train within the budgets: drawn once, kept beside the weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgenas.config.train_config import TrainConfig
from edgenas.errors import ConfigError, RunFolderError
from edgenas.records.train import PoolRecord
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.space.feasible_samples import allowed
from edgenas.space.space import SearchSpace
from edgenas.stages.budgets.limits import Limits, unchecked_limits
from edgenas.training.distributed import SINGLE_PROCESS, Processes
from edgenas.training.initial_weights import init_file
from edgenas.training.recipe import takes_pool

POOL = "pool.json"
FILE = f"supernet/{POOL}"
ARCHS = 4096
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingPool:
    """The pool of architectures that the supernet of a run is trained on.

    Attributes:
        folder: the run folder.
        config: section `train` of the config.
        space: the run's space.
    """

    folder: Path
    config: TrainConfig
    space: SearchSpace

    @property
    def path(self) -> Path:
        """The file of the pool."""
        return self.folder / FILE

    def archs(self) -> tuple[Arch, ...] | None:
        """Return the architectures, cheapest first; None where there is no pool.

        Raises:
            RunFolderError: the file is broken, or missing for a supernet that was trained on a pool.
        """
        remedy = f"delete {self.path.parent} and run `edgenas train {self.folder}`"
        if self.path.exists():
            return PoolRecord.read(self.path, remedy, self.space).archs
        if takes_pool(self.config) and self.config.epochs:
            raise RunFolderError(
                f"{self.path}, the list of subnets that the supernet was trained on, is missing: {remedy}"
            )
        return None

    def take(self) -> None:
        """Keep the pool of the supernet whose weights the run takes, if it had one, and warn that it did."""
        assert self.config.init_path is not None
        source = init_file(self.config.init_path).parent / POOL
        if not source.exists() or self.path.exists():
            return
        pool = PoolRecord.read(source, "name the supernet again, if it was trained on the whole space", self.space)
        pool.write(self.path)
        LOGGER.warning(
            "note: train.init: the supernet of %s was trained on architectures within %s only: others score lower than "
            "they could",
            source.parent,
            ", ".join(map(str, pool.budgets)),
        )

    def drawn(self, limits: Limits | None, seed: int, processes: Processes = SINGLE_PROCESS) -> tuple[Arch, ...] | None:
        """Return the architectures, drawn if there is no pool yet; None where the recipe takes no pool.

        Args:
            limits: budgets that can be met; None where the run is not profiled yet.
            seed: seed of the run.
            processes: processes that train together; the first one draws.

        Raises:
            ConfigError: the run is not profiled yet, or nothing was found within its budgets.
            RunFolderError: the file is broken.
        """
        if not takes_pool(self.config):
            return None
        # All have looked whether there is one, before the first writes it.
        missing = not self.path.exists()
        processes.wait()
        if missing and limits is None:
            raise ConfigError(
                f"{self.folder}: train.recipe {self.config.recipe} needs latencies first: run "
                f"`edgenas profile {self.folder}`, or choose another recipe (train.recipe=all-sizes)"
            )
        if missing and limits is not None and processes.first:
            self._draw(limits, seed)
        processes.wait()
        return self.archs()

    def _draw(self, limits: Limits, seed: int) -> None:
        genes = allowed(self.space, limits.greatest_share, ARCHS, seed)
        if not len(genes):
            budgets = ", ".join(map(str, limits.budgets))
            raise ConfigError(
                f"{self.folder}: no network to train was found within {budgets}: choose another train.recipe"
            )
        PoolRecord(budgets=limits.budgets, archs=tuple(self.space.decode(genes))).write(self.path)


def warn_if_untrained(run: Run, archs: Sequence[Arch]) -> None:
    """Warn if architectures that a user names are over the budgets that the run's supernet was trained within."""
    archs = [arch for arch in archs if not arch.network]
    if not archs or not takes_pool(run.config.training):
        return
    if TrainingPool(run.folder, run.config.training, run.space).archs() is None:
        return
    shares = unchecked_limits(run).greatest_share(archs)
    beyond = [arch.id for arch, share in zip(archs, shares, strict=True) if share > 1]
    if beyond:
        LOGGER.warning(
            "note: the supernet was trained within the budgets only, so these networks score lower than they could: %s",
            ", ".join(beyond),
        )
