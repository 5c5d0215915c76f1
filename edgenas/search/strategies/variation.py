"""Variation operators of strategies. Genes are categorical, but their choices are ordered."""

from __future__ import annotations

import numpy as np

from edgenas.search.strategies.protocol import Floats, Genes

STEP_SHARE = 0.5
"""Share of changes that go to a neighbouring choice; the rest go to any other."""
SWAP_SHARE = 0.5
"""Share of moves that change one more gene the other way."""
MAX_SWAPS = 4
NEAR_SHARE = 0.1
MAX_MATES = 32
"""A mate is the nearest of a random share of the candidates, at most this many."""


def changed(rng: np.random.Generator, n_choices: Genes, values: Genes) -> Genes:
    """Return other choices than `values`, half of them neighbouring ones; a gene with one choice stays.

    Args:
        rng: source of randomness.
        n_choices: number of choices of each value's gene, of a shape that broadcasts to `values`.
        values: choices, of any shape.
    """
    step = rng.choice([-1, 1], size=values.shape)
    # The first and the last choice have one neighbour.
    step = np.where((values + step < 0) | (values + step >= n_choices), -step, step)
    reset = rng.integers(1, np.maximum(n_choices, 2), size=values.shape)
    near = rng.random(values.shape) < STEP_SHARE
    return np.where(n_choices > 1, (values + np.where(near, step, reset)) % n_choices, values)


def mutated(rng: np.random.Generator, n_choices: Genes, genes: Genes) -> Genes:
    """Return genes with one change per row on average, shape (n, genes)."""
    rate = 1 / max(1, int((n_choices > 1).sum()))
    result, hit = genes.copy(), np.nonzero(rng.random(genes.shape) < rate)
    result[hit] = changed(rng, n_choices[hit[1]], genes[hit])
    return result


def moved(rng: np.random.Generator, n_choices: Genes, genes: Genes) -> Genes:
    """Return genes with one change per row and, in half of the rows, opposite steps of other genes.

    Opposite steps keep a candidate's position along the front: one block larger, another smaller; a greater resolution,
    several smaller blocks. Half of the rows get a first such step, half of these a second, up to `MAX_SWAPS`.

    Args:
        rng: source of randomness.
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
    for _ in range(MAX_SWAPS):
        rows = rows[rng.random(len(rows)) < SWAP_SHARE]
        columns = free[rng.integers(0, len(free), size=len(rows))]
        result[rows, columns] = np.clip(result[rows, columns] + opposite[rows], 0, n_choices[columns] - 1)
    return result


def mixed(rng: np.random.Generator, first: Genes, second: Genes) -> Genes:
    """Return the uniform crossover of parents: every gene from either one, shape (n, genes)."""
    return np.where(rng.random(first.shape) < 0.5, first, second)


def near_mates(rng: np.random.Generator, objectives: Floats, first: Genes) -> Genes:
    """Return for each of `first` another index with similar objectives, shape (n,).

    Strengths of parents of similar size can be combined, those of a small and a large parent rarely. The mate is the
    nearest of a random sample, which works for any number of objectives.

    Args:
        rng: source of randomness.
        objectives: shape (candidates, objectives).
        first: indices into `objectives`, shape (n,).
    """
    span = np.ptp(objectives, axis=0)
    points = objectives / np.where(span > 0, span, 1.0)
    drawn = min(max(2, int(NEAR_SHARE * len(points))), MAX_MATES)
    sample = rng.integers(0, len(points), size=(len(first), drawn))
    distance = np.zeros(sample.shape)
    # One objective at a time: numpy is slow along an axis of two.
    for column in points.T:
        distance += np.abs(column[sample] - column[first][:, None])
    distance[sample == first[:, None]] = np.inf
    nearest: Genes = sample[np.arange(len(first)), distance.argmin(axis=1)]
    return nearest
