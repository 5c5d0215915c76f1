"""Races: several strategies on the same objectives and seeds, compared by the hypervolume of what they had found when.

Hypervolumes are shares of that of all trials' fronts put together, up to one reference point, so 1 is all that any
of them found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.search.front import hypervolume, non_dominated, reference_of
from edgenas.search.result import SearchResult

Floats = npt.NDArray[np.float64]
CURVE_POINTS = 60
MARKS = (0.25, 0.5, 1.0)
"""Shares of the evaluations that the table tells of."""


@dataclass(frozen=True)
class Trial:
    """What one strategy found from one seed.

    Attributes:
        strategy: its name.
        seed: of all randomness.
        evaluations: after each batch.
        seconds: after each batch: what evaluating took when it was done first, and the strategy's own time.
        points: of each batch the objectives that nothing before it dominated.
        origins: how many evaluations each way of making candidates gave, where the strategy has several.
    """

    strategy: str
    seed: int
    evaluations: tuple[int, ...]
    seconds: tuple[float, ...]
    points: tuple[tuple[tuple[float, ...], ...], ...]
    origins: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, strategy: str, seed: int, result: SearchResult, seconds: Sequence[float]) -> Trial:
        """What a search left, `seconds` after each of its batches."""
        front, points = result.objectives[:0], []
        for batch in range(len(result.hypervolume)):
            merged = np.vstack([front, result.objectives[result.batches == batch]])
            kept = non_dominated(merged)
            points.append(tuple(map(tuple, merged[kept[kept >= len(front)]].tolist())))
            front = merged[kept]
        evaluations = tuple(result.evaluations_by_batch.tolist())
        return cls(strategy, seed, evaluations, tuple(map(float, seconds)), tuple(points), dict(result.origins))

    def hypervolumes(self, reference: Floats) -> Floats:
        """Of the front after each batch, shape (batches,)."""
        front, found = np.empty((0, len(reference))), []
        for points in self.points:
            front = np.vstack([front, np.array(points).reshape(-1, len(reference))])
            front = front[non_dominated(front)]
            found.append(hypervolume(front, reference))
        return np.array(found)


def summarise(trials: Sequence[Trial]) -> dict[str, Any]:
    """Curves and figures of every strategy: medians over the seeds, least and greatest.

    Args:
        trials: at least one, all of the same objectives.
    """
    points = np.array([point for trial in trials for batch in trial.points for point in batch])
    reference = reference_of(points)
    best = hypervolume(points[non_dominated(points)], reference)
    shares = [trial.hypervolumes(reference) / best for trial in trials]
    evaluations = max(trial.evaluations[-1] for trial in trials)
    seconds = max(trial.seconds[-1] for trial in trials)
    names = list(dict.fromkeys(trial.strategy for trial in trials))
    found = {}
    for name in names:
        own = [(trial, share) for trial, share in zip(trials, shares, strict=True) if trial.strategy == name]
        found[name] = {
            "seeds": [trial.seed for trial, _ in own],
            "at": {str(mark): _spread(_at(own, "evaluations", mark)) for mark in _marks(evaluations)},
            "origins": _summed([trial.origins for trial, _ in own]),
            "seconds": _spread(np.array([trial.seconds[-1] for trial, _ in own])),
            "by_evaluations": _curve(own, "evaluations", np.linspace(0, evaluations, CURVE_POINTS + 1)[1:]),
            "by_seconds": _curve(own, "seconds", np.linspace(0, seconds, CURVE_POINTS + 1)[1:]),
        }
    return {"evaluations": evaluations, "reference_point": reference.tolist(), "hypervolume": best, "strategies": found}


def _marks(evaluations: int) -> list[int]:
    return sorted({max(1, round(share * evaluations)) for share in MARKS})


def _summed(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {name: sum(each[name] for each in counts) for name in counts[0]}


Own = Sequence[tuple[Trial, Floats]]
"""A strategy's trials and their shares of the hypervolume after each batch."""


def _at(own: Own, axis: str, place: float) -> Floats:
    """Share that each trial had reached at a place of an axis; 0 before its first batch. Shape (trials,)."""
    reached = []
    for trial, shares in own:
        batch = int(np.searchsorted(getattr(trial, axis), place, side="right")) - 1
        reached.append(float(shares[batch]) if batch >= 0 else 0.0)
    return np.array(reached)


def _curve(own: Own, axis: str, places: Floats) -> dict[str, list[float]]:
    spreads: list[Mapping[str, float]] = [_spread(_at(own, axis, place)) for place in places]
    return {axis: places.tolist(), **{key: [spread[key] for spread in spreads] for key in spreads[0]}}


def _spread(values: Floats) -> dict[str, float]:
    return {"median": float(np.median(values)), "least": float(values.min()), "greatest": float(values.max())}
