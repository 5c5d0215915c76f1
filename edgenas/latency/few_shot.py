"""Which few networks train most about a device when a predictor is carried over from another."""

from __future__ import annotations

import numpy as np

from edgenas.blas import one_blas_thread
from edgenas.latency.predictor import LatencyPredictor
from edgenas.space.arch import Arch
from edgenas.space.covering_samples import covering

CANDIDATES = 400
AXES = 8
"""Principal axes of what the ratio of two devices' latencies may depend on; the rest hardly varies."""
EXACT = 1e-9


@one_blas_thread()
def informative_networks(base: LatencyPredictor, count: int, seed: int) -> list[Arch]:
    """Networks that differ most in what `network_features` sees of them: maximin, one by one.

    Ten of them leave a predictor closer to the other device than ten that merely cover all sizes.

    Args:
        base: the predictor that is carried over.
        count: how many.
        seed: of the candidates.
    """
    archs = covering(base.space, max(CANDIDATES, count), seed)
    features = base.features(archs)[:, 2:]
    scale = features.std(axis=0)
    varied = scale > EXACT * np.maximum(np.abs(features).max(axis=0), 1)
    points = (features[:, varied] - features[:, varied].mean(axis=0)) / scale[varied]
    axes, spread, _ = np.linalg.svd(points, full_matrices=False)
    places = axes[:, :AXES] * spread[:AXES]
    chosen = [int((places**2).sum(axis=1).argmax())]
    nearest = np.full(len(places), np.inf)
    while len(chosen) < min(count, len(archs)):
        nearest = np.minimum(nearest, ((places - places[chosen[-1]]) ** 2).sum(axis=1))
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
    return [archs[place] for place in chosen]
