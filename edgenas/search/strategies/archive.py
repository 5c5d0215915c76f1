"""Archive of non-dominated and nearly non-dominated candidates: parents of a search along the front.

Schütze et al., "Approximating the ε-efficient set of an MOP with stochastic search algorithms", MICAI 2007.
"""

from __future__ import annotations

import numpy as np

from edgenas.search.front import non_dominated
from edgenas.search.strategies.protocol import Floats, Genes

NEAR = 0.005
"""Largest distance of dominated members behind the front, in units of its range."""
MEMBERS = 600
"""Largest number of members with the nearest dominated ones; all non-dominated candidates are members."""
LANDMARKS = 64
"""Largest number of points of the front that others are compared with."""


class Archive:
    """The front so far, and candidates so close behind it that their offspring may be ahead.

    Attributes:
        genes: genes of all members, shape (members, genes).
        objectives: objectives of all members, shape (members, objectives).
    """

    def __init__(self, n_genes: int) -> None:
        """Create an empty archive."""
        self.genes: Genes = np.empty((0, n_genes), dtype=np.int64)
        self.objectives: Floats = np.empty((0, 0))
        self._orders: list[Genes] = []
        self._marks: Floats = np.empty((0, 0))
        self._span: Floats = np.empty(0)

    def __len__(self) -> int:
        """Return the number of members."""
        return len(self.genes)

    def add(self, genes: Genes, objectives: Floats) -> None:
        """Add candidates, shapes (n, genes) and (n, objectives), and remove members now far behind the front."""
        objectives = np.vstack([self.objectives.reshape(-1, objectives.shape[1]), objectives])
        genes = np.vstack([self.genes, genes])
        front = non_dominated(objectives)
        self._mark(objectives[front])
        dominated = np.ones(len(genes), dtype=bool)
        dominated[front] = False
        rest = np.flatnonzero(dominated)
        behind = self.behind(objectives[rest])
        room = min(max(MEMBERS - len(front), 0), int((behind <= NEAR).sum()))
        nearest = np.argsort(behind, kind="stable")[:room]
        members = np.sort(np.concatenate([front, rest[nearest]]))
        self.genes, self.objectives = genes[members], objectives[members]
        self._orders = [np.argsort(column, kind="stable") for column in self.objectives.T]

    def _mark(self, front: Floats) -> None:
        order = np.argsort(front[:, 0], kind="stable")
        self._marks = front[order[:: len(order) // LANDMARKS + 1]]
        self._span = np.ptp(front, axis=0)

    def behind(self, objectives: Floats) -> Floats:
        """Return the distance of points behind the front, in units of its range, negative ahead of it; shape (n,).

        It is the additive epsilon indicator (Zitzler et al., IEEE TEC 7(2), 2003): the decrease of all objectives after
        which no point of the front (of `LANDMARKS` along it) is better in all of them. Objectives that are equal along
        the front do not count. With a front of one point, every distance is infinite.
        """
        # One objective at a time: numpy is slow along an axis of two.
        least = np.full((len(objectives), len(self._marks)), np.inf)
        for column in np.flatnonzero(self._span > 0):
            beyond = objectives[:, [column]] - self._marks[:, column]
            np.minimum(least, beyond / self._span[column], out=least)
        behind: Floats = least.max(axis=1, initial=-np.inf)
        return behind

    def along(self, rng: np.random.Generator, count: int) -> Genes:
        """Return indices of members, uniform along the range of a random objective, shape (count,)."""
        columns = rng.integers(0, len(self._orders), size=count)
        level = rng.random(count)
        chosen = np.zeros(count, dtype=np.int64)
        for column, order in enumerate(self._orders):
            rows = columns == column
            values = self.objectives[order, column]
            level_of = values[0] + level[rows] * (values[-1] - values[0])
            chosen[rows] = order[np.searchsorted(values, np.minimum(level_of, values[-1]))]
        return chosen
