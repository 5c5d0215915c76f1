"""What races make of searches."""

import numpy as np
import pytest

from edgenas.records.strategies import TrialRow
from edgenas.search import optimise
from edgenas.search.front import hypervolume, non_dominated, reference_of
from edgenas.search.strategy_comparison import hypervolumes, new_points, summarise

N_CHOICES = np.full(6, 4)
OBJECTIVES = ("error", "size")


def evaluate(genes: np.ndarray) -> np.ndarray:
    share = genes / 3
    return np.column_stack([np.exp(-share @ np.linspace(0.2, 1, 6)), share.sum(axis=1)])


def trial(strategy: str, seed: int, evaluations: int = 60) -> tuple[TrialRow, np.ndarray]:
    result = optimise(N_CHOICES, evaluate, strategy=strategy, evaluations=evaluations, population=10, seed=seed)
    seconds = np.arange(1, len(result.hypervolume) + 1) * 0.5
    row = TrialRow(
        problem="",
        asked=evaluations,
        strategy=strategy,
        seed=seed,
        evaluations=tuple(result.evaluations_by_batch.tolist()),
        seconds=tuple(seconds.tolist()),
        points=new_points(result),
        origins=dict(result.origins),
    )
    return row, result.objectives


def test_a_trial_keeps_enough_to_tell_every_hypervolume_from() -> None:
    kept, objectives = trial("nsga2", 0)
    reference = reference_of(objectives)
    expected = [hypervolume(objectives[:n], reference) for n in kept.evaluations]
    np.testing.assert_allclose(hypervolumes(kept, reference), expected)
    assert sum(map(len, kept.points)) < len(objectives)


def test_shares_are_of_all_trials_together() -> None:
    drawn = [trial(strategy, seed) for strategy in ("nsga2", "random") for seed in range(3)]
    found = summarise([kept for kept, _ in drawn], OBJECTIVES)
    objectives = np.vstack([values for _, values in drawn])
    best = objectives[non_dominated(objectives)]
    reference = np.array(found.reference_point)
    assert found.hypervolume == pytest.approx(hypervolume(best, reference))
    for strategy, first in (("nsga2", 0), ("random", 3)):
        own = found.strategies[strategy]
        shares = [hypervolume(values, reference) / found.hypervolume for _, values in drawn[first : first + 3]]
        assert own.at[60].median == pytest.approx(np.median(shares))
        assert own.at[60].least == pytest.approx(min(shares))
        assert own.seeds == (0, 1, 2)
        assert own.seconds.median == pytest.approx(3.0)
        for curve in (own.by_evaluations, own.by_seconds):
            assert list(curve.median) == sorted(curve.median)
            assert curve.median[-1] == pytest.approx(np.median(shares))
            bands = zip(curve.least, curve.median, curve.greatest, strict=True)
            assert all(low <= middle <= high for low, middle, high in bands)
    assert found.strategies["nsga2"].at[15].median <= found.strategies["nsga2"].at[30].median


def test_offspring_of_all_seeds_is_counted_by_what_made_it() -> None:
    trials = [trial(strategy, seed)[0] for strategy in ("nsga2", "random") for seed in range(2)]
    found = summarise(trials, OBJECTIVES).strategies
    assert found["random"].origins == {}
    expected = {name: sum(one.origins[name] for one in trials[:2]) for name in ("archive", "population", "first")}
    assert found["nsga2"].origins == expected
    assert sum(expected.values()) == 120


def test_before_its_first_batch_a_trial_has_found_nothing() -> None:
    kept = TrialRow(
        problem="",
        asked=20,
        strategy="random",
        seed=0,
        evaluations=(10, 20),
        seconds=(5.0, 9.0),
        points=(((1.0, 2.0),), ((0.5, 1.0),)),
        origins={},
    )
    curve = summarise([kept], OBJECTIVES).strategies["random"].by_seconds
    assert [share for share, second in zip(curve.median, curve.positions, strict=True) if second < 5] == [0] * 33
    assert curve.median[-1] == pytest.approx(1)
