"""Records of the study strategies, in the folder study/strategies/ of a run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edgenas.records.record import Count, NotNegative, Record


class TrialRow(Record):
    """A row of study/strategies/trials.jsonl: the search of one strategy with one seed.

    Attributes:
        problem: digest of the scorer, the predictors and the budgets, which compared trials share.
        asked: evaluations that were asked for.
        strategy: name of the strategy.
        seed: seed of all randomness.
        evaluations: number of evaluations after each batch.
        seconds: time after each batch: of the evaluations when they were first made, and of the strategy.
        points: objectives of each batch that no earlier point dominates.
        origins: number of evaluations by the origin of their candidates, if the strategy has several origins.
    """

    problem: str
    asked: Count
    strategy: str
    seed: int
    evaluations: Annotated[tuple[Count, ...], Field(min_length=1)]
    seconds: tuple[NotNegative, ...]
    points: tuple[tuple[tuple[float, ...], ...], ...]
    origins: dict[str, Count]

    @property
    def key(self) -> tuple[object, ...]:
        """The values that the trial depends on."""
        return self.problem, self.asked, self.strategy, self.seed


class MedianSpread(Record):
    """Median, least and greatest value over seeds."""

    median: float
    least: float
    greatest: float


class HypervolumeCurve(Record):
    """Shares of the hypervolume over seeds, at `positions` of an axis: numbers of evaluations, or seconds."""

    positions: tuple[NotNegative, ...]
    median: tuple[float, ...]
    least: tuple[float, ...]
    greatest: tuple[float, ...]


class StrategyResult(Record):
    """A search strategy over its seeds.

    Attributes:
        seeds: seeds of its searches.
        at: share of the hypervolume by number of evaluations.
        origins: evaluations by the way that the candidate was proposed, where the strategy has several.
        seconds: time of a search, its evaluations included.
        by_evaluations: share of the hypervolume over evaluations.
        by_seconds: share of the hypervolume over time.
    """

    seeds: tuple[int, ...]
    at: dict[int, MedianSpread]
    origins: dict[str, Count]
    seconds: MedianSpread
    by_evaluations: HypervolumeCurve
    by_seconds: HypervolumeCurve


class StrategiesRecord(Record):
    """study/strategies/strategies.json: search strategies on the objectives of a run.

    Attributes:
        objectives: keys of the objectives, in order.
        asked: evaluations that each search was asked for.
        evaluations: most evaluations of a search.
        reference_point: reference point of the hypervolume, one value per objective.
        hypervolume: hypervolume of the merged fronts of all searches.
        strategies: results by the strategy's name.
    """

    objectives: tuple[str, ...]
    asked: Count
    evaluations: Count
    reference_point: tuple[float, ...]
    hypervolume: NotNegative
    strategies: Annotated[dict[str, StrategyResult], Field(min_length=1)]
