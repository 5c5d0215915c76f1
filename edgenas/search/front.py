"""Fronts: non-dominated points, their hypervolume, and the point to choose. Everything is minimised."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgenas.errors import InfeasibleError

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


def non_dominated(objectives: npt.ArrayLike) -> Indices:
    """Indices of the non-dominated rows, ascending; of equal rows the first stands.

    Args:
        objectives: shape (n, objectives), finite, to be minimised.
    """
    import moocore

    points = np.asarray(objectives, dtype=np.float64)
    if not len(points):
        return np.empty(0, dtype=np.intp)
    return np.flatnonzero(moocore.is_nondominated(points))


def hypervolume(objectives: npt.ArrayLike, reference_point: npt.ArrayLike) -> float:
    """Volume that the rows dominate, up to the reference point; rows beyond it add nothing.

    Zitzler and Thiele, "Multiobjective evolutionary algorithms", IEEE TEC 3(4), 1999.

    Args:
        objectives: shape (n, objectives), finite, to be minimised.
        reference_point: shape (objectives,).
    """
    import moocore

    points = np.asarray(objectives, dtype=np.float64)
    if not len(points):
        return 0.0
    return float(moocore.hypervolume(points, ref=np.asarray(reference_point, dtype=np.float64)))


def reference_of(objectives: npt.ArrayLike) -> Floats:
    """A reference point: the worst value of each objective, plus a tenth of its range.

    An objective whose values are all equal gets a tenth of that value instead (0.1 if it is 0).

    Args:
        objectives: shape (n, objectives), finite, n > 0.
    """
    points = np.asarray(objectives, dtype=np.float64)
    worst, span = points.max(axis=0), np.ptp(points, axis=0)
    span = np.where(span > 0, span, np.where(worst != 0, np.abs(worst), 1.0))
    return np.asarray(worst + 0.1 * span, dtype=np.float64)


def choose_best(objectives: npt.ArrayLike, feasible: npt.ArrayLike | None = None) -> int:
    """Index of the best feasible row: lowest first objective, ties by the second, and so on.

    Args:
        objectives: shape (n, objectives), most important first, e.g. error then latency.
        feasible: boolean, shape (n,); every row if None.

    Raises:
        InfeasibleError: no row is feasible.
    """
    points = np.asarray(objectives, dtype=np.float64)
    allowed = np.ones(len(points), bool) if feasible is None else np.asarray(feasible, dtype=bool)
    candidates = np.flatnonzero(allowed)
    if not len(candidates):
        raise InfeasibleError(f"none of {len(points)} candidates meets every budget: loosen a budget or search on")
    order = np.lexsort(points[candidates].T[::-1])
    return int(candidates[order[0]])
