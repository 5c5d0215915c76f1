"""What happens at which step: learning rate, images, archs. Functions of the step, so resuming needs no state."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edgenas.space.arch import Arch
from edgenas.space.space import SearchSpace


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Linear warm-up over the share `warmup` of all steps, then a cosine to zero (SGDR, arXiv 1608.03983)."""
    warm = max(1, round(steps * warmup))
    if step < warm:
        return peak * (step + 1) / warm
    return peak / 2 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def sandwich(space: SearchSpace, count: int, seed: int, step: int) -> list[Arch]:
    """The archs of a step: largest, smallest, and `count - 2` random ones (sandwich rule, arXiv 1903.05134)."""
    rng = np.random.default_rng((seed, step))
    return [space.largest, space.smallest, *(space.sample(rng) for _ in range(count - 2))]


def batch_indices(images: int, batch_size: int, seed: int, step: int) -> npt.NDArray[np.int64]:
    """Images of a step, shape (batch_size,): every epoch its own permutation, the odd rest left out."""
    per_epoch = images // batch_size
    epoch, batch = divmod(step, per_epoch)
    return epoch_order(images, seed, epoch)[batch * batch_size : (batch + 1) * batch_size].copy()


@lru_cache(maxsize=2)
def epoch_order(images: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the order of an epoch's images, shape (images,). Kept, since every step of the epoch asks for it."""
    return np.random.default_rng((seed, epoch, 1)).permutation(images)
