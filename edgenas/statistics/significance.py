"""What chance alone does: sampling errors, and which of many differences are beyond it."""

from __future__ import annotations

from collections.abc import Sequence

ERROR = 0.05
"""Chance that any of all the differences is called one, where there is none at all."""


def standard_error(rate: float, images: int) -> float:
    """What drawing other images would change about a share of so many of them; 0 of none."""
    return float(rate * (1 - rate) / images) ** 0.5 if images else 0.0


def chance_of_more(more: int, fewer: int) -> float:
    """Chance that of images which just one of two equal networks gets right, at least `more` are the one's.

    The exact variant of McNemar's test, one-sided (McNemar 1947): a fair coin for each of the `more` + `fewer` images.
    """
    thrown = more + fewer
    ways, term = 0, 1
    # From all of them downwards: whole numbers, since a class may have thousands of images.
    for fewer_now in range(fewer + 1):
        ways += term
        term = term * (thrown - fewer_now) // (fewer_now + 1)
    return ways / (1 << thrown)


def beyond_chance(chances: Sequence[float]) -> list[bool]:
    """Which of many tests tell of a difference, where their number is allowed for (Holm 1979).

    The least chance is held against `ERROR` over all tests, the next against that over the others, up to the first
    that is greater. Nothing is asked of how tests depend on each other.
    """
    found = [False] * len(chances)
    for rank, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        if chances[place] > ERROR / (len(chances) - rank):
            break
        found[place] = True
    return found
