"""Grid search: every setting of the genes once, in an order that covers the whole space early."""

from __future__ import annotations

import math
import random
from itertools import count as count_from

import numpy as np

from edgenas.search.strategies.protocol import Floats, Genes, GenesFunction, Repair, Strategy


class GridStrategy(Strategy):
    """Walk over all settings with a stride of about the golden ratio of their number.

    The stride is coprime to the number of settings, so each comes once before any repeats, and any part of the walk is
    spread over the grid. The seed sets the start.
    """

    def __init__(
        self,
        n_choices: Genes,
        *,
        seed: int,
        population: int,
        initial: Genes | None = None,
        repair: Repair | None = None,
        exact: GenesFunction | None = None,
    ) -> None:
        self._choices: list[int] = n_choices.tolist()
        # Python integers: large spaces have more settings than 64 bits can count.
        self._size = math.prod(self._choices)
        golden = (math.isqrt(5 * self._size**2) - self._size) // 2
        self._stride = next(s for s in count_from(max(1, golden)) if math.gcd(s, self._size) == 1)
        self._position = random.Random(seed).randrange(self._size)

    def ask(self, count: int) -> Genes:
        """Propose the next settings, shape (count, genes)."""
        positions = [(self._position + number * self._stride) % self._size for number in range(count)]
        self._position = (self._position + count * self._stride) % self._size
        rows = [self._setting(position) for position in positions]
        return np.array(rows, dtype=np.int64).reshape(count, len(self._choices))

    def tell(self, genes: Genes, objectives: Floats, violations: Floats) -> None:
        """Ignore the evaluations."""

    def _setting(self, position: int) -> list[int]:
        digits = []
        for choices in self._choices:
            position, digit = divmod(position, choices)
            digits.append(digit)
        return digits
