"""Spaces of 3^8 archs of which every objective is known, drawn at random by structure: tabular benchmarks."""

from __future__ import annotations

import numpy as np

from edgenas.search.strategies.protocol import Floats, Genes

GENES, CHOICES = 8, 3
STRUCTURES = ("width", "depth", "interactions", "nominal", "noise")


def every_arch() -> Genes:
    """Return all genes in the order of a table's rows, shape (3^8, 8)."""
    rows = np.indices((CHOICES,) * GENES).reshape(GENES, -1).T
    return np.ascontiguousarray(rows, dtype=np.int64)


def row_of(genes: Genes) -> Genes:
    """Rows of a table, shape (n, 8) to (n,)."""
    rows: Genes = genes @ (CHOICES ** np.arange(GENES - 1, -1, -1))
    return rows


def table(structure: str, number: int) -> Floats:
    """Error and cost of every arch, shape (3^8, 2), drawn by `number`.

    width: each gene raises accuracy with falling returns, at a unit cost of its own.
    depth: the first gene of each four is the number of the other three that count.
    interactions: pairs of genes help or hinder each other, and the cost is a product of widths.
    nominal: choices without order, such as operators.
    noise: as width, with 3 % of the error's standard deviation as noise, as of training.
    """
    rng = np.random.default_rng([number, *structure.encode()])
    genes = every_arch()
    unit_cost = rng.uniform(0.2, 1.0, GENES)
    worth = rng.uniform(0.2, 1.0, GENES)
    bend = rng.uniform(0.3, 1.0, GENES)
    share = genes / (CHOICES - 1)
    if structure == "nominal":
        gain = rng.normal(size=(GENES, CHOICES))[np.arange(GENES), genes].sum(axis=1)
        gain += 0.3 * _pairs(rng, genes)
        cost = rng.uniform(0.2, 1.0, (GENES, CHOICES))[np.arange(GENES), genes].sum(axis=1)
    elif structure == "depth":
        counts = np.column_stack([genes[:, [4 * (g // 4)]] >= g % 4 for g in range(GENES)])
        active = np.where(np.arange(GENES) % 4 == 0, True, counts[:, :GENES])
        gain = (worth * (0.5 + 0.5 * share**bend) * active).sum(axis=1)
        cost = (unit_cost * (0.3 + 0.7 * share) * active).sum(axis=1)
    else:
        gain = (worth * share**bend).sum(axis=1)
        cost = (unit_cost * share).sum(axis=1)
        if structure == "interactions":
            gain += 0.3 * _pairs(rng, genes)
            cost = ((1 + genes[:, :-1]) * (1 + genes[:, 1:]) * unit_cost[1:]).sum(axis=1)
    error = 1 - np.tanh(gain / gain.std() / 3 - gain.mean() / gain.std() / 3)
    if structure == "noise":
        error += 0.03 * error.std() * rng.normal(size=len(error))
    return np.column_stack([error, cost])


def _pairs(rng: np.random.Generator, genes: Genes) -> Floats:
    """A random worth of every setting of every pair of genes in eight pairs, standard deviation about 1."""
    total = np.zeros(len(genes))
    for _ in range(8):
        first, second = rng.choice(GENES, 2, replace=False)
        total += rng.normal(size=(CHOICES, CHOICES))[genes[:, first], genes[:, second]]
    return total / np.sqrt(8)
