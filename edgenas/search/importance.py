"""Effects of genes on a quantity: over the whole space, and by single steps from one candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgenas.search.strategies.protocol import Floats, Genes, Repair

SAMPLES = 1000


@dataclass(frozen=True)
class GroupEffect:
    """Effect of a group of genes on a quantity."""

    change: float
    """Change from the first to the last choice of all genes of the group, averaged over all other genes."""
    share: float
    """Share of the quantity's variance due to the group, by itself or in interactions (total-effect index: 0 without
    effect; the shares of all groups sum to 1, or to more if groups interact)."""


def group_effects(
    function: Callable[[Genes], Floats],
    n_choices: npt.ArrayLike,
    groups: Mapping[str, Sequence[int]],
    *,
    repair: Repair | None = None,
    seed: int,
    samples: int = SAMPLES,
) -> dict[str, GroupEffect]:
    """Return the effect of each group of genes on a quantity, with all other genes drawn uniformly.

    Shares are estimated as in Jansen, "Analysis of variance designs for model output", Computer Physics
    Communications 117, 1999: from the change of values when only the group is drawn again.

    Args:
        function: function from canonical genes, shape (n, genes), to values, shape (n,).
        n_choices: number of choices of each gene, shape (genes,).
        groups: columns of genes by the name of their group.
        repair: function from genes to their canonical form.
        seed: seed of all randomness.
        samples: number of candidates drawn.
    """
    choices, rng = np.asarray(n_choices, dtype=np.int64), np.random.default_rng(seed)
    drawn, again = (rng.integers(0, choices, size=(samples, len(choices))) for _ in range(2))

    def values(columns: Sequence[int], genes: Genes) -> Floats:
        changed = drawn.copy()
        changed[:, columns] = np.broadcast_to(genes, drawn.shape)[:, columns]
        return np.asarray(function(changed if repair is None else repair(changed)), dtype=np.float64)

    baseline = values([], drawn)
    variance = float(baseline.var())
    return {
        name: GroupEffect(
            change=float((values(columns, choices - 1) - values(columns, np.zeros_like(choices))).mean()),
            share=float(((values(columns, again) - baseline) ** 2).mean() / 2 / variance) if variance > 0 else 0.0,
        )
        for name, columns in groups.items()
    }


@dataclass(frozen=True, eq=False)
class Move:
    """A step of one gene of a candidate, up or down."""

    gene: int
    before: int
    after: int
    genes: Genes
    """Canonical genes of the new candidate, shape (genes,)."""


def single_moves(n_choices: npt.ArrayLike, genes: Genes, repair: Repair | None = None) -> list[Move]:
    """Return all candidates one step of one gene away from a canonical one; inactive genes are skipped.

    Args:
        n_choices: number of choices of each gene, shape (genes,).
        genes: shape (genes,).
        repair: function from genes to their canonical form.
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
