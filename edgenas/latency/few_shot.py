"""Choice of the few networks to measure when a predictor is transferred from another device."""

from __future__ import annotations

import numpy as np

from edgenas.blas import one_blas_thread
from edgenas.latency.predictor import LatencyPredictor
from edgenas.space.arch import Arch
from edgenas.space.covering_samples import covering

CANDIDATES = 400
AXES = 8
"""Number of principal axes of the features that networks are compared on; the other axes hardly vary."""
EXACT = 1e-9


@one_blas_thread()
def informative_networks(base: LatencyPredictor, count: int, seed: int) -> list[Arch]:
    """Choose networks whose `network_features` differ most, by greedy maximin distance.

    A predictor calibrated on ten of them is more accurate on the other device than one calibrated on ten networks that
    only cover all sizes.

    Args:
        base: predictor that is transferred.
        count: number of networks.
        seed: seed of the candidate networks.
    """
    archs = covering(base.space, max(CANDIDATES, count), seed)
    features = base.features(archs)[:, 2:]
    scale = features.std(axis=0)
    varied = scale > EXACT * np.maximum(np.abs(features).max(axis=0), 1)
    points = (features[:, varied] - features[:, varied].mean(axis=0)) / scale[varied]
    axes, spread, _ = np.linalg.svd(points, full_matrices=False)
    coordinates = axes[:, :AXES] * spread[:AXES]
    chosen = [int((coordinates**2).sum(axis=1).argmax())]
    nearest = np.full(len(coordinates), np.inf)
    while len(chosen) < min(count, len(archs)):
        nearest = np.minimum(nearest, ((coordinates - coordinates[chosen[-1]]) ** 2).sum(axis=1))
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
    return [archs[index] for index in chosen]
