"""Samples that cover a space: for calibration networks and for first populations."""

from __future__ import annotations

import numpy as np

from edgenas.space.arch import Arch
from edgenas.space.cost import cost
from edgenas.space.space import Genes, SearchSpace

CANDIDATES_PER_SAMPLE = 32


def covering(space: SearchSpace, count: int, seed: int) -> list[Arch]:
    """`count` distinct archs that cover the space: smallest and largest first, then the remotest remaining.

    Candidates are drawn at all sizes alike (independent draws of every gene would all be of middling size),
    then chosen one by one, each the farthest from those chosen so far (maximin design: Johnson et al. 1990)
    in normalised genes and the logarithm of MACs. Fewer come back where the space holds fewer.
    """
    if count < 1:
        return []
    genes = _candidates(space, count, np.random.default_rng(seed))
    points = _coordinates(space, genes)
    chosen = [0]
    distance = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
        distance[chosen] = -1.0
        # The largest subnet, candidate 1, comes second whatever its distance.
        chosen.append(1 if len(chosen) == 1 else int(distance.argmax()))
    return space.decode(genes[chosen])


def _candidates(space: SearchSpace, count: int, rng: np.random.Generator) -> Genes:
    n_choices = space.n_choices
    shape = (count * CANDIDATES_PER_SAMPLE, len(n_choices))
    size = rng.random((shape[0], 1))
    # A Beta(1 + 2u, 3 - 2u) leans to small choices at u = 0, to large ones at u = 1, and covers all at any u.
    level = rng.beta(1 + 2 * size, 3 - 2 * size, shape)
    drawn = np.minimum((level * n_choices).astype(np.int64), n_choices - 1)
    ends = space.encode([space.smallest, space.largest])
    unique, first = np.unique(np.vstack([ends, space.canonical(drawn)]), axis=0, return_index=True)
    return unique[np.argsort(first)]


def _coordinates(space: SearchSpace, genes: Genes) -> np.ndarray:
    scaled = genes / np.maximum(space.n_choices - 1, 1)
    macs = np.array([cost(space.unroll(arch, num_classes=1)).macs for arch in space.decode(genes)])
    logs = np.log(macs)
    spread = max(float(np.ptp(logs)), 1e-12)
    # MACs are what latency follows first, so their axis weighs as much as a quarter of all genes.
    weight = np.sqrt(genes.shape[1]) / 2
    return np.column_stack([scaled, weight * (logs - logs.min()) / spread])
