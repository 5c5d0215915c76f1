"""Sample feasible architectures of all sizes, even when few are feasible."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgenas.space.covering_samples import leaning
from edgenas.space.space import Genes, SearchSpace

Need = Callable[[Genes], npt.NDArray[np.float64]]
"""Canonical genes, shape (n, genes), to the share of the budget that each arch needs, shape (n,): feasible up to 1."""
CANDIDATES, ROUNDS = 4096, 64
"""Candidates of a round, and the most rounds."""
CHANGED = 2.0
"""Mean number of genes in which a candidate differs from the feasible arch that it was made from."""


def allowed(space: SearchSpace, need: Need, count: int, seed: int) -> Genes:
    """Return up to `count` distinct canonical genes of feasible archs, shape (n, genes), by ascending need.

    Half of the candidates are drawn at all sizes. Under a tight budget few of these are feasible, so the other half are
    variations of feasible archs, of the smallest arch at first.

    Args:
        space: space of the archs.
        need: see `Need`.
        count: number of archs; fewer are returned where fewer are found.
        seed: seed of the draws.
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
    sample = rng.permutation(found)[:count]
    return sample[np.argsort(need(sample), kind="stable")] if len(sample) else sample


def _beside(space: SearchSpace, found: Genes, rng: np.random.Generator) -> Genes:
    """Return variations of some archs: copies of which a few genes are drawn again."""
    parents = found[rng.integers(0, len(found), CANDIDATES // 2)]
    changed = rng.random(parents.shape) < CHANGED / parents.shape[1]
    return np.where(changed, rng.integers(0, space.n_choices, parents.shape), parents)
