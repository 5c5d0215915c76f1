"""Comparison of strategies on the same objectives and seeds, by hypervolume over evaluations and time.

Hypervolumes are shares of the hypervolume of all trials' merged fronts, with one reference point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgenas.records.studies import HypervolumeCurve, MedianSpread, StrategiesRecord, StrategyResult
from edgenas.search.front import hypervolume, non_dominated, reference_of
from edgenas.search.result import SearchResult

Floats = npt.NDArray[np.float64]
CURVE_POINTS = 60
MARKS = (0.25, 0.5, 1.0)
"""Shares of the evaluations that the table lists."""


@dataclass(frozen=True)
class Trial:
    """Search of one strategy with one seed.

    Attributes:
        strategy: name of the strategy.
        seed: seed of all randomness.
        evaluations: number of evaluations after each batch.
        seconds: time after each batch: of the evaluations when they were first made, and of the strategy.
        points: objectives of each batch that no earlier point dominates.
        origins: number of evaluations by the origin of their candidates, if the strategy has several origins.
    """

    strategy: str
    seed: int
    evaluations: tuple[int, ...]
    seconds: tuple[float, ...]
    points: tuple[tuple[tuple[float, ...], ...], ...]
    origins: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, strategy: str, seed: int, result: SearchResult, seconds: Sequence[float]) -> Trial:
        """Return the trial of a search result, with the time after each batch in `seconds`."""
        front, points = result.objectives[:0], []
        for batch in range(len(result.hypervolume)):
            merged = np.vstack([front, result.objectives[result.batches == batch]])
            indices = non_dominated(merged)
            points.append(tuple(map(tuple, merged[indices[indices >= len(front)]].tolist())))
            front = merged[indices]
        evaluations = tuple(result.evaluations_by_batch.tolist())
        return cls(strategy, seed, evaluations, tuple(map(float, seconds)), tuple(points), dict(result.origins))

    def hypervolumes(self, reference: Floats) -> Floats:
        """Return the hypervolume of the front after each batch, shape (batches,)."""
        front, volumes = np.empty((0, len(reference))), []
        for points in self.points:
            front = np.vstack([front, np.array(points).reshape(-1, len(reference))])
            front = front[non_dominated(front)]
            volumes.append(hypervolume(front, reference))
        return np.array(volumes)


def summarise(trials: Sequence[Trial], objectives: Sequence[str], asked: int) -> StrategiesRecord:
    """Return curves and figures of every strategy: median, least and greatest over the seeds.

    Args:
        trials: at least one.
        objectives: keys of their objectives.
        asked: evaluations that each was asked for.
    """
    points = np.array([point for trial in trials for batch in trial.points for point in batch])
    reference = reference_of(points)
    best = hypervolume(points[non_dominated(points)], reference)
    shares = [trial.hypervolumes(reference) / best for trial in trials]
    evaluations = max(trial.evaluations[-1] for trial in trials)
    seconds = max(trial.seconds[-1] for trial in trials)
    names = list(dict.fromkeys(trial.strategy for trial in trials))
    summary = {}
    for name in names:
        scored = [(trial, share) for trial, share in zip(trials, shares, strict=True) if trial.strategy == name]
        summary[name] = StrategyResult(
            seeds=tuple(trial.seed for trial, _ in scored),
            at={mark: _spread(_at(scored, "evaluations", mark)) for mark in _marks(evaluations)},
            origins=_summed([trial.origins for trial, _ in scored]),
            seconds=_spread(np.array([trial.seconds[-1] for trial, _ in scored])),
            by_evaluations=_curve(scored, "evaluations", evaluations),
            by_seconds=_curve(scored, "seconds", seconds),
        )
    return StrategiesRecord(
        objectives=tuple(objectives),
        asked=asked,
        evaluations=evaluations,
        reference_point=tuple(reference.tolist()),
        hypervolume=best,
        strategies=summary,
    )


def _marks(evaluations: int) -> list[int]:
    return sorted({max(1, round(share * evaluations)) for share in MARKS})


def _summed(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {name: sum(each[name] for each in counts) for name in counts[0]}


ScoredTrials = Sequence[tuple[Trial, Floats]]
"""A strategy's trials and their shares of the hypervolume after each batch."""


def _at(scored: ScoredTrials, axis: str, position: float) -> Floats:
    """Return each trial's share at a position of an axis, 0 before its first batch; shape (trials,)."""
    reached = []
    for trial, shares in scored:
        batch = int(np.searchsorted(getattr(trial, axis), position, side="right")) - 1
        reached.append(float(shares[batch]) if batch >= 0 else 0.0)
    return np.array(reached)


def _curve(scored: ScoredTrials, axis: str, end: float) -> HypervolumeCurve:
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
