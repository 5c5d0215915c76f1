"""Learning rate, architectures and images of every step. All are functions of the step, so resuming needs no state."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edgenas.space.arch import Arch
from edgenas.space.space import SearchSpace


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Return the rate of a linear warm-up over the fraction `warmup` of all steps, then a cosine to zero.

    Source: SGDR, arXiv 1608.03983.
    """
    warm = max(1, round(steps * warmup))
    if step < warm:
        return peak * (step + 1) / warm
    return peak / 2 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def sandwich(space: SearchSpace, count: int, seed: int, step: int) -> list[Arch]:
    """Return the largest, the smallest and `count - 2` random architectures (sandwich rule, arXiv 1903.05134)."""
    rng = np.random.default_rng((seed, step))
    return [space.largest, space.smallest, *(space.sample(rng) for _ in range(count - 2))]


def batch_indices(images: int, batch_size: int, seed: int, steps: range) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the images of each step, shape (batch_size,).

    Every epoch has its own permutation; images that fill no whole batch are left out of it.
    """
    epoch, order = -1, np.empty(0, dtype=np.int64)
    for step in steps:
        current, batch = divmod(step, images // batch_size)
        if current != epoch:
            epoch, order = current, np.random.default_rng((seed, current, 1)).permutation(images)
        yield order[batch * batch_size : (batch + 1) * batch_size].copy()
