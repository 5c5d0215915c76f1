"""Ways to make new genes from known ones, for strategies. Genes are categorical, but their choices are ordered."""

from __future__ import annotations

import numpy as np

from edgenas.search.strategies.protocol import Floats, Genes

STEP_SHARE = 0.5
"""Share of changes that go to a neighbouring choice; the rest go to any other."""
SWAP_SHARE = 0.5
"""Share of moves that change one more gene the other way."""
MOST_SWAPS = 4
NEAR_SHARE = 0.1
MOST_DRAWN = 32
"""A mate is the nearest of this share of the candidates, or of so many where they are more."""


def changed(rng: np.random.Generator, n_choices: Genes, values: Genes) -> Genes:
    """Other choices than `values`: as often a neighbouring one as any; a gene of one choice stays.

    Args:
        rng: of all randomness.
        n_choices: number of choices of each value's gene, of a shape that fits `values`.
        values: of any shape.
    """
    step = rng.choice([-1, 1], size=values.shape)
    # At either end the one neighbour is inwards.
    step = np.where((values + step < 0) | (values + step >= n_choices), -step, step)
    reset = rng.integers(1, np.maximum(n_choices, 2), size=values.shape)
    near = rng.random(values.shape) < STEP_SHARE
    return np.where(n_choices > 1, (values + np.where(near, step, reset)) % n_choices, values)


def mutated(rng: np.random.Generator, n_choices: Genes, genes: Genes) -> Genes:
    """Genes of which one in each row is changed on average, shape (n, genes)."""
    rate = 1 / max(1, int((n_choices > 1).sum()))
    result, hit = genes.copy(), np.nonzero(rng.random(genes.shape) < rate)
    result[hit] = changed(rng, n_choices[hit[1]], genes[hit])
    return result


def moved(rng: np.random.Generator, n_choices: Genes, genes: Genes) -> Genes:
    """Genes of which one in each row is changed and, in half of the rows, others by a step the other way.

    These keep a candidate about where it stands along the front: one block larger, another smaller; a greater
    resolution, several blocks smaller. After each comes one more in half of the rows, up to `MOST_SWAPS`.

    Args:
        rng: of all randomness.
        n_choices: number of choices of each gene, shape (genes,).
        genes: shape (n, genes).
    """
    free = np.flatnonzero(n_choices > 1)
    result, rows = genes.copy(), np.arange(len(genes))
    if not len(free):
        return result
    first = free[rng.integers(0, len(free), size=len(genes))]
    result[rows, first] = changed(rng, n_choices[first], genes[rows, first])
    opposite = np.sign(genes[rows, first] - result[rows, first])
    for _ in range(MOST_SWAPS):
        rows = rows[rng.random(len(rows)) < SWAP_SHARE]
        columns = free[rng.integers(0, len(free), size=len(rows))]
        result[rows, columns] = np.clip(result[rows, columns] + opposite[rows], 0, n_choices[columns] - 1)
    return result


def mixed(rng: np.random.Generator, first: Genes, second: Genes) -> Genes:
    """Uniform crossover: every gene from either parent, shape (n, genes)."""
    return np.where(rng.random(first.shape) < 0.5, first, second)


def near_mates(rng: np.random.Generator, objectives: Floats, first: Genes) -> Genes:
    """For each of `first` another index whose objectives are near, shape (n,).

    What parents of equal size do well can be combined; between a small and a large one there is little to
    learn. The nearest of some drawn at random, so that any number of objectives will do.

    Args:
        rng: of all randomness.
        objectives: shape (candidates, objectives).
        first: indices into `objectives`, shape (n,).
    """
    span = np.ptp(objectives, axis=0)
    places = objectives / np.where(span > 0, span, 1.0)
    drawn = min(max(2, int(NEAR_SHARE * len(places))), MOST_DRAWN)
    among = rng.integers(0, len(places), size=(len(first), drawn))
    distance = np.zeros(among.shape)
    # Objective by objective: numpy is slow along an axis of two.
    for column in places.T:
        distance += np.abs(column[among] - column[first][:, None])
    distance[among == first[:, None]] = np.inf
    nearest: Genes = among[np.arange(len(first)), distance.argmin(axis=1)]
    return nearest
