"""Grid search: every setting of the genes once, in an order that is spread over the whole space from the start."""

from __future__ import annotations

import math
import random
from itertools import count as count_from

import numpy as np

from edgenas.search.strategies.protocol import Floats, Genes, GenesFunction, Repair, Strategy


class GridStrategy(Strategy):
    """Walks over all settings with a stride of about the golden ratio of their number, and learns nothing.

    The stride shares no factor with the number of settings, so each comes once before any comes again, and
    any stretch of the walk is spread over the grid. The seed is where it begins.
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
        # Whole numbers of any size: large spaces have more settings than 64 bits can count.
        self._size = math.prod(self._choices)
        golden = (math.isqrt(5 * self._size**2) - self._size) // 2
        self._stride = next(s for s in count_from(max(1, golden)) if math.gcd(s, self._size) == 1)
        self._place = random.Random(seed).randrange(self._size)

    def ask(self, count: int) -> Genes:
        """The next settings, shape (count, genes)."""
        places = [(self._place + number * self._stride) % self._size for number in range(count)]
        self._place = (self._place + count * self._stride) % self._size
        rows = [self._setting(place) for place in places]
        return np.array(rows, dtype=np.int64).reshape(count, len(self._choices))

    def tell(self, genes: Genes, objectives: Floats, violations: Floats) -> None:
        """Nothing to learn."""

    def _setting(self, place: int) -> list[int]:
        digits = []
        for choices in self._choices:
            place, digit = divmod(place, choices)
            digits.append(digit)
        return digits
