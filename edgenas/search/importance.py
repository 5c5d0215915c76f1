"""What genes do to a quantity: over the whole space, and one step from a single candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgenas.search.strategies.protocol import Floats, Genes, Repair

SAMPLES = 1000


@dataclass(frozen=True)
class GroupEffect:
    """What a group of genes does to a quantity."""

    change: float
    """From all of the group's genes at their first choice to all at their last, on average over all other genes."""
    share: float
    """Of the quantity's variance, how much is due to the group, by itself or together with others (total-effect
    index: 0 where it does nothing; the shares of all groups sum to 1, or to more where groups interact)."""


def group_effects(
    function: Callable[[Genes], Floats],
    n_choices: npt.ArrayLike,
    groups: Mapping[str, Sequence[int]],
    *,
    repair: Repair | None = None,
    seed: int,
    samples: int = SAMPLES,
) -> dict[str, GroupEffect]:
    """What each group of genes does to a quantity, with all other genes drawn uniformly.

    Shares are estimated as by Jansen, "Analysis of variance designs for model output", Computer Physics
    Communications 117, 1999: by how much values differ where the group alone is drawn again.

    Args:
        function: canonical genes, shape (n, genes), to values, shape (n,).
        n_choices: number of choices of each gene, shape (genes,).
        groups: columns of genes that are looked at together, by name.
        repair: genes to their canonical form.
        seed: of all randomness.
        samples: candidates drawn.
    """
    choices, rng = np.asarray(n_choices, dtype=np.int64), np.random.default_rng(seed)
    drawn, again = (rng.integers(0, choices, size=(samples, len(choices))) for _ in range(2))

    def values(columns: Sequence[int], genes: Genes) -> Floats:
        changed = drawn.copy()
        changed[:, columns] = np.broadcast_to(genes, drawn.shape)[:, columns]
        return np.asarray(function(changed if repair is None else repair(changed)), dtype=np.float64)

    known = values([], drawn)
    variance = float(known.var())
    return {
        name: GroupEffect(
            change=float((values(columns, choices - 1) - values(columns, np.zeros_like(choices))).mean()),
            share=float(((values(columns, again) - known) ** 2).mean() / 2 / variance) if variance > 0 else 0.0,
        )
        for name, columns in groups.items()
    }


@dataclass(frozen=True, eq=False)
class Move:
    """One gene of a candidate, a step up or down."""

    gene: int
    before: int
    after: int
    genes: Genes
    """Of the candidate that comes of it, canonical, shape (genes,)."""


def single_moves(n_choices: npt.ArrayLike, genes: Genes, repair: Repair | None = None) -> list[Move]:
    """All candidates one step of one gene away from a canonical one; genes without a say do not move.

    Args:
        n_choices: number of choices of each gene, shape (genes,).
        genes: shape (genes,).
        repair: genes to their canonical form.
    """
    moves = []
    for gene, choices in enumerate(np.asarray(n_choices).tolist()):
        before = int(genes[gene])
        for after in (before - 1, before + 1):
            moved = genes.copy()
            moved[gene] = after
            if not 0 <= after < choices:
                continue
            canonical = moved if repair is None else repair(moved[None])[0]
            if not np.array_equal(canonical, genes):
                moves.append(Move(gene, before, after, canonical))
    return moves
