"""Random archs of all sizes that are allowed, however few of a space are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgenas.space.covering_samples import leaning
from edgenas.space.space import Genes, SearchSpace

Need = Callable[[Genes], npt.NDArray[np.float64]]
"""What canonical genes, shape (n, genes), take of what is allowed, shape (n,): up to 1 is allowed."""
CANDIDATES, ROUNDS = 4096, 64
"""Of a round, and rounds before fewer archs come back than were asked for."""
CHANGED = 2.0
"""Genes of an allowed arch that are drawn anew, on average, to look for another one beside it."""


def allowed(space: SearchSpace, need: Need, count: int, seed: int) -> Genes:
    """Up to `count` distinct canonical genes that are allowed, shape (n, genes), those first that need least.

    Draws lean to small and to large choices alike. Where a budget leaves a space little, few draws are allowed: half
    of the candidates then lie beside those that are, the smallest arch at first.

    Args:
        space: of the archs.
        need: see `Need`.
        count: of archs; fewer come back where the space seems to hold fewer, none where none was found.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    start = space.encode([space.smallest])
    found = start[need(start) <= 1]
    for _ in range(ROUNDS):
        beside = _beside(space, found if len(found) else start, rng)
        drawn = leaning(rng, space.n_choices, rng.random(CANDIDATES - len(beside)))
        candidates = np.unique(space.canonical(np.vstack([beside, drawn])), axis=0)
        found = np.unique(np.vstack([found, candidates[need(candidates) <= 1]]), axis=0)
        if len(found) >= 2 * count:
            break
    kept = rng.permutation(found)[:count]
    return kept[np.argsort(need(kept), kind="stable")] if len(kept) else kept


def _beside(space: SearchSpace, found: Genes, rng: np.random.Generator) -> Genes:
    """Copies of some archs, of which a few genes are drawn anew."""
    parents = found[rng.integers(0, len(found), CANDIDATES // 2)]
    anew = rng.random(parents.shape) < CHANGED / parents.shape[1]
    return np.where(anew, rng.integers(0, space.n_choices, parents.shape), parents)
