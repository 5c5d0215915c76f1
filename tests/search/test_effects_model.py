"""The linear model of what genes add, and what it is for: telling offspring apart."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import OneHotEncoder

from edgenas.search import optimise
from edgenas.search.front import hypervolume
from edgenas.search.strategies import nsga2
from edgenas.search.strategies.effects_model import DECAY, FIRST_ROWS, RIDGE, ROWS, EffectsModel

N_CHOICES = np.array([3, 1, 4, 2, 5])


def drawn(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(0, N_CHOICES, size=(count, len(N_CHOICES)))


def worths(seed: int) -> list[np.ndarray]:
    """What each choice of each gene adds to two objectives."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(choices, 2)) for choices in N_CHOICES]


def total(worth: list[np.ndarray], genes: np.ndarray) -> np.ndarray:
    return np.sum([of_gene[column] for of_gene, column in zip(worth, genes.T, strict=True)], axis=0)


def differences(effects: EffectsModel, genes: np.ndarray) -> np.ndarray:
    found = effects.predict(genes)
    return found - found[0]


def test_it_is_ridge_regression_in_which_earlier_rows_weigh_less_at_each_fit() -> None:
    rng, effects = np.random.default_rng(0), EffectsModel(N_CHOICES)
    sizes = [FIRST_ROWS, ROWS, ROWS]
    genes = drawn(rng, sum(sizes))
    objectives = np.column_stack([genes[:, 0] * genes[:, 2], np.exp(genes[:, 4]) + rng.normal(size=len(genes))])
    for part, values in zip(np.split(genes, len(genes) // 50), np.split(objectives, len(genes) // 50), strict=True):
        effects.add(part, values)
    hot = OneHotEncoder(categories=[np.arange(choices) for choices in N_CHOICES], sparse_output=False)
    rows = hot.fit_transform(genes)
    age = np.repeat([2, 1, 0], sizes)
    ridge = Ridge(alpha=RIDGE, fit_intercept=False)
    ridge.fit(rows, objectives - objectives[:FIRST_ROWS].mean(axis=0), sample_weight=DECAY**age)
    unseen = drawn(rng, 50)
    np.testing.assert_allclose(effects.predict(unseen), ridge.predict(hot.transform(unseen)), rtol=1e-9, atol=1e-9)


def test_sums_are_fitted_but_for_a_constant() -> None:
    rng, worth, effects = np.random.default_rng(0), worths(1), EffectsModel(N_CHOICES)
    for _ in range(20):
        rows = drawn(rng, 100)
        effects.add(rows, total(worth, rows))
    genes = drawn(rng, 50)
    true = total(worth, genes)
    np.testing.assert_allclose(differences(effects, genes), true - true[0], atol=0.05)


def test_it_predicts_nothing_before_enough_rows_were_added() -> None:
    rng, effects = np.random.default_rng(0), EffectsModel(N_CHOICES)
    few, one = drawn(rng, FIRST_ROWS - 1), drawn(rng, 1)
    effects.add(few, total(worths(1), few))
    assert not effects.is_fitted
    effects.add(one, total(worths(1), one))
    assert effects.is_fitted


def test_it_follows_where_the_search_goes() -> None:
    rng, effects = np.random.default_rng(0), EffectsModel(N_CHOICES)
    for world, fits in ((1, 5), (2, 60)):
        for _ in range(fits):
            rows = drawn(rng, ROWS)
            effects.add(rows, total(worths(world), rows))
    genes = drawn(rng, 50)
    true = total(worths(2), genes)
    np.testing.assert_allclose(differences(effects, genes), true - true[0], atol=0.05)


def test_a_choice_that_nobody_had_adds_nothing() -> None:
    effects = EffectsModel(np.array([3, 2]))
    rows = np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (FIRST_ROWS // 4, 1))
    effects.add(rows, 7.0 * rows[:, :1] - rows[:, 1:] + 100)
    low, high, never = effects.predict(np.array([[0, 0], [1, 0], [2, 0]]))[:, 0]
    assert high - low == pytest.approx(7.0, abs=0.1)
    assert never == pytest.approx((low + high) / 2)


def test_offspring_that_promise_most_find_more_of_the_front(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = np.full(24, 4)
    gain = np.random.default_rng(0).uniform(0.2, 1, size=24)

    def evaluate(genes: np.ndarray) -> np.ndarray:
        return np.column_stack([-np.sqrt(genes) @ gain, genes @ gain**2])

    def found(seed: int) -> float:
        result = optimise(choices, evaluate, evaluations=3000, population=50, seed=seed)
        return hypervolume(result.objectives, [0.0, 3 * float((gain**2).sum())])

    informed = [found(seed) for seed in range(3)]
    monkeypatch.setattr(nsga2, "LITTER", 1)
    assert min(informed) > max(found(seed) for seed in range(3))
