"""Comparison of strategies on the same objectives and seeds, by hypervolume over evaluations and time.

Hypervolumes are shares of the hypervolume of all trials' merged fronts, with one reference point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgenas.records.strategies import HypervolumeCurve, MedianSpread, StrategiesRecord, StrategyResult, TrialRow
from edgenas.search.front import hypervolume, non_dominated, reference_of
from edgenas.search.result import SearchResult

Floats = npt.NDArray[np.float64]
CURVE_POINTS = 60
MARKS = (0.25, 0.5, 1.0)
"""Shares of the evaluations that the table lists."""


def new_points(result: SearchResult) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Return the objectives of each batch that no earlier point dominates."""
    front, points = result.objectives[:0], []
    for batch in range(len(result.hypervolume)):
        merged = np.vstack([front, result.objectives[result.batches == batch]])
        indices = non_dominated(merged)
        points.append(tuple(map(tuple, merged[indices[indices >= len(front)]].tolist())))
        front = merged[indices]
    return tuple(points)


def hypervolumes(trial: TrialRow, reference: Floats) -> Floats:
    """Return the hypervolume of a trial's front after each batch, shape (batches,)."""
    front, volumes = np.empty((0, len(reference))), []
    for points in trial.points:
        front = np.vstack([front, np.array(points).reshape(-1, len(reference))])
        front = front[non_dominated(front)]
        volumes.append(hypervolume(front, reference))
    return np.array(volumes)


def summarise(trials: Sequence[TrialRow], objectives: Sequence[str]) -> StrategiesRecord:
    """Return curves and figures of every strategy: median, least and greatest over the seeds.

    Args:
        trials: at least one, all with the same objectives.
        objectives: keys of the objectives.
    """
    points = np.array([point for trial in trials for batch in trial.points for point in batch])
    reference = reference_of(points)
    best = hypervolume(points[non_dominated(points)], reference)
    evaluations = max(trial.evaluations[-1] for trial in trials)
    seconds = max(trial.seconds[-1] for trial in trials)
    by_strategy: dict[str, list[_ScoredTrial]] = {}
    for trial in trials:
        by_strategy.setdefault(trial.strategy, []).append((trial, hypervolumes(trial, reference) / best))
    return StrategiesRecord(
        objectives=tuple(objectives),
        asked=trials[0].asked,
        evaluations=evaluations,
        reference_point=tuple(reference.tolist()),
        hypervolume=best,
        strategies={name: _result(scored, evaluations, seconds) for name, scored in by_strategy.items()},
    )


_ScoredTrial = tuple[TrialRow, Floats]
"""A trial, and its shares of the hypervolume after each batch."""


def _result(scored: Sequence[_ScoredTrial], evaluations: int, seconds: float) -> StrategyResult:
    trials = [trial for trial, _ in scored]
    return StrategyResult(
        seeds=tuple(trial.seed for trial in trials),
        at={mark: _spread(_at(scored, _evaluations, mark)) for mark in _marks(evaluations)},
        origins=_summed([trial.origins for trial in trials]),
        seconds=_spread(np.array([trial.seconds[-1] for trial in trials])),
        by_evaluations=_curve(scored, _evaluations, evaluations),
        by_seconds=_curve(scored, _seconds, seconds),
    )


def _marks(evaluations: int) -> list[int]:
    return sorted({max(1, round(share * evaluations)) for share in MARKS})


def _summed(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {name: sum(each[name] for each in counts) for name in counts[0]}


_Axis = Callable[[TrialRow], Sequence[float]]
"""Returns a trial's position on an axis after each batch."""


def _evaluations(trial: TrialRow) -> Sequence[float]:
    return trial.evaluations


def _seconds(trial: TrialRow) -> Sequence[float]:
    return trial.seconds


def _at(scored: Sequence[_ScoredTrial], axis: _Axis, position: float) -> Floats:
    """Return each trial's share at a position of an axis, 0 before its first batch; shape (trials,)."""
    reached = []
    for trial, shares in scored:
        batch = int(np.searchsorted(axis(trial), position, side="right")) - 1
        reached.append(float(shares[batch]) if batch >= 0 else 0.0)
    return np.array(reached)


def _curve(scored: Sequence[_ScoredTrial], axis: _Axis, end: float) -> HypervolumeCurve:
    positions = np.linspace(0, end, CURVE_POINTS + 1)[1:].tolist()
    spreads = [_spread(_at(scored, axis, position)) for position in positions]
    return HypervolumeCurve(
        positions=tuple(positions),
        median=tuple(spread.median for spread in spreads),
        least=tuple(spread.least for spread in spreads),
        greatest=tuple(spread.greatest for spread in spreads),
    )


def _spread(values: Floats) -> MedianSpread:
    return MedianSpread(median=float(np.median(values)), least=float(values.min()), greatest=float(values.max()))
