"""Samples that cover a space, for calibration networks and for first populations."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from edgenas.space.arch import Arch
from edgenas.space.cost import cost
from edgenas.space.space import ClassifierSpace, Genes, SearchSpace

CANDIDATES_PER_SAMPLE = 32
LOOSENESS, STRENGTH = 0.3, 2.5
"""Parameters of the Beta distribution that genes are drawn from, see `leaning`."""
Floats = npt.NDArray[np.float64]
NEAR_SAMPLES, NEAR_ROUNDS = 64, 8
"""`near_in_macs` draws the candidates of 64 samples in each of at most 8 rounds."""


def covering(space: SearchSpace, count: int, seed: int) -> list[Arch]:
    """Return `count` distinct archs that cover the space: the smallest, the largest, then archs of all sizes.

    Latency follows size, and independent draws of every gene would nearly all be of middling size. So the range of the
    logarithm of MACs is divided into equal steps. From each step comes the candidate whose genes are farthest from
    those chosen so far (maximin design: Johnson et al. 1990). A space with fewer archs gives fewer.
    """
    if count < 1:
        return []
    genes = _candidates(space, count, np.random.default_rng(seed))
    points = genes / np.maximum(space.n_choices - 1, 1)
    step = _steps(space, genes, count)
    chosen: list[int] = []
    distance = np.full(len(points), np.inf)
    for number in range(min(count, len(points))):
        # The ends of the space are the first two candidates.
        row = number if number < 2 else _farthest(distance, step == number - 2)
        chosen.append(row)
        distance = np.minimum(distance, np.linalg.norm(points - points[row], axis=1))
        distance[row] = -1.0
    return space.decode(genes[chosen])


def leaning(rng: np.random.Generator, n_choices: Genes, leans: Floats) -> Genes:
    """Draw random genes of all sizes, not always canonical, shape (n, genes).

    Choices are ordered by size, and the sum of independent draws would nearly always be of middling size. Here all
    genes of a sample tend to small or to large choices together.

    Args:
        rng: random generator.
        n_choices: number of choices of each gene, shape (genes,).
        leans: tendency of each sample, from 0 (small choices) to 1 (large choices); shape (n,).
    """
    lean = leans[:, None]
    level = rng.beta(LOOSENESS + STRENGTH * lean, LOOSENESS + STRENGTH * (1 - lean), (len(leans), len(n_choices)))
    return np.minimum((level * n_choices).astype(np.int64), n_choices - 1)


def near_in_macs(
    space: SearchSpace, centre: Arch, share: float, count: int, seed: int, *, but: Collection[Arch] = ()
) -> list[Arch]:
    """Return up to `count` distinct random archs whose MACs are within `share` of the centre's, 0.1 for ±10 %.

    Fewer are returned where the draws find fewer.

    Args:
        space: space of the archs.
        centre: arch to compare with; it is not returned.
        share: greatest difference, as a share of the centre's MACs.
        count: number of archs.
        seed: seed of the draw.
        but: further archs that are not returned.
    """
    rng = np.random.default_rng((seed, count))
    found = dict.fromkeys([centre, *but])
    target = len(found) + count
    for _ in range(NEAR_ROUNDS):
        archs = space.decode(rng.permutation(_candidates(space, NEAR_SAMPLES, rng)))
        found |= dict.fromkeys(beside(space, centre, share, archs))
        if len(found) >= target:
            break
    return [arch for arch in found if arch != centre and arch not in but][:count]


def beside(space: SearchSpace, centre: Arch, share: float, archs: Sequence[Arch]) -> list[Arch]:
    """Return those of `archs` whose MACs are within `share` of the centre's."""
    near = np.abs(macs_of(space, archs) / macs_of(space, [centre])[0] - 1) <= share
    return [arch for arch, fits in zip(archs, near, strict=True) if fits]


def macs_of(space: SearchSpace, archs: Sequence[Arch]) -> npt.NDArray[np.float64]:
    """Return the multiply-accumulates of archs, shape (n,); of one class where the space has no number of classes."""
    classifiers = space if isinstance(space, ClassifierSpace) else space.with_classes(1)
    return np.array([cost(classifiers.unroll(arch)).macs for arch in archs], dtype=np.float64)


def _farthest(distance: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_]) -> int:
    """Return the farthest candidate inside a step; the farthest of all where the step has none left."""
    among = np.where(inside & (distance > 0), distance, -1.0)
    return int((among if among.max() > 0 else distance).argmax())


def _candidates(space: SearchSpace, count: int, rng: np.random.Generator) -> Genes:
    drawn = leaning(rng, space.n_choices, rng.random(count * CANDIDATES_PER_SAMPLE))
    ends = space.encode([space.smallest, space.largest])
    unique, first = np.unique(np.vstack([ends, space.canonical(drawn)]), axis=0, return_index=True)
    return unique[np.argsort(first)]


def _steps(space: SearchSpace, genes: Genes, count: int) -> npt.NDArray[np.int64]:
    """Return which of the `count` - 2 steps between the ends each candidate's MACs lie in."""
    # The same archs cover a space for every number of classes.
    logs = np.log(macs_of(space.with_classes(1), space.decode(genes)))
    spread = max(float(np.ptp(logs)), 1e-12)
    steps = max(count - 2, 1)
    index: npt.NDArray[np.int64] = np.minimum((logs - logs.min()) / spread * steps, steps - 1).astype(np.int64)
    return index
