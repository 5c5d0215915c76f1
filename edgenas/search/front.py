"""Pareto fronts: non-dominated points, hypervolume, and rules for choosing a point. Everything is minimised."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgenas.errors import ConfigError, InfeasibleError

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

EXACT_OBJECTIVES = 5
SAMPLES = 16_384
"""Samples of an estimated hypervolume."""


def non_dominated(objectives: npt.ArrayLike) -> Indices:
    """Return the indices of the non-dominated rows, ascending; of equal rows only the first.

    Args:
        objectives: shape (n, objectives), finite, to be minimised.
    """
    import moocore

    points = np.asarray(objectives, dtype=np.float64)
    if not len(points):
        return np.empty(0, dtype=np.intp)
    return np.flatnonzero(moocore.is_nondominated(points))


def hypervolume(objectives: npt.ArrayLike, reference_point: npt.ArrayLike) -> float:
    """Return the volume that the rows dominate, up to the reference point; rows beyond it add nothing.

    Zitzler and Thiele, "Multiobjective evolutionary algorithms", IEEE TEC 3(4), 1999.

    Above five objectives it is estimated (Deng and Zhang 2019, deterministic), since the exact value takes seconds.

    Args:
        objectives: shape (n, objectives), finite, to be minimised.
        reference_point: shape (objectives,).
    """
    import moocore

    points = np.asarray(objectives, dtype=np.float64)
    if not len(points):
        return 0.0
    if points.shape[1] > EXACT_OBJECTIVES:
        reference = np.asarray(reference_point, dtype=np.float64)
        return float(moocore.hv_approx(points, ref=reference, nsamples=SAMPLES, method="DZ2019-HW"))
    return float(moocore.hypervolume(points, ref=np.asarray(reference_point, dtype=np.float64)))


def reference_of(objectives: npt.ArrayLike) -> Floats:
    """Return a reference point: the worst value of each objective, plus a tenth of its range.

    An objective whose values are all equal gets a tenth of that value instead (0.1 if it is 0).

    Args:
        objectives: shape (n, objectives), finite, n > 0.
    """
    points = np.asarray(objectives, dtype=np.float64)
    worst, span = points.max(axis=0), np.ptp(points, axis=0)
    span = np.where(span > 0, span, np.where(worst != 0, np.abs(worst), 1.0))
    return np.asarray(worst + 0.1 * span, dtype=np.float64)


def choose_best(objectives: npt.ArrayLike, feasible: npt.ArrayLike | None = None) -> int:
    """Return the index of the best feasible row: lowest first objective, ties by the second, and so on.

    Args:
        objectives: shape (n, objectives), most important first, e.g. error then latency.
        feasible: boolean, shape (n,): rows within every budget; every row if None.

    Raises:
        InfeasibleError: no row is feasible.
    """
    points, candidates = _candidates(objectives, feasible)
    order = np.lexsort(points[candidates].T[::-1])
    return int(candidates[order[0]])


def choose_weighted(objectives: npt.ArrayLike, weights: npt.ArrayLike, feasible: npt.ArrayLike | None = None) -> int:
    """Return the index of the row with the smallest weighted sum; objectives are scaled by their range on the front.

    Args:
        objectives: shape (n, objectives).
        weights: shape (objectives,), non-negative and not all zero.
        feasible: boolean, shape (n,); every row if None.

    Raises:
        InfeasibleError: no row is feasible.
        ConfigError: the weights have another shape or invalid values.
    """
    points, candidates = _candidates(objectives, feasible)
    shares = np.asarray(weights, dtype=np.float64)
    if shares.shape != points.shape[1:] or not np.isfinite(shares).all() or (shares < 0).any() or not shares.any():
        raise ConfigError(f"weights: expected {points.shape[1]}, none below 0 and one above, got {shares.tolist()}")
    front = candidates[non_dominated(points[candidates])]
    span = np.ptp(points[front], axis=0)
    scaled = (points[front] - points[front].min(axis=0)) / np.where(span > 0, span, 1.0)
    return int(front[(scaled @ shares).argmin()])


def choose_knee(objectives: npt.ArrayLike, feasible: npt.ArrayLike | None = None) -> int:
    """Return the index of the knee: the row that is farthest from the plane through the front's ends.

    Away from it, in either direction, the gain in one objective is small against the loss in another. Das, "On
    characterizing the knee of the Pareto curve based on normal-boundary intersection", Structural Optimization 18,
    1999. The plane goes through the ends of every axis, scaled to the front's range.

    Args:
        objectives: shape (n, objectives).
        feasible: boolean, shape (n,); every row if None.

    Raises:
        InfeasibleError: no row is feasible.
    """
    # The distance below the plane that crosses every axis at 1 grows as the sum falls.
    return choose_weighted(objectives, np.ones(np.asarray(objectives).shape[1]), feasible)


def _candidates(objectives: npt.ArrayLike, feasible: npt.ArrayLike | None) -> tuple[Floats, Indices]:
    points = np.asarray(objectives, dtype=np.float64)
    mask = np.ones(len(points), bool) if feasible is None else np.asarray(feasible, dtype=bool)
    candidates = np.flatnonzero(mask)
    if not len(candidates):
        raise InfeasibleError(
            f"none of {len(points)} candidates meets every budget: relax a budget or extend the search"
        )
    return points, candidates
