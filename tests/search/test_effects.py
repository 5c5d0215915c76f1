"""The linear model of what genes add."""

import numpy as np
import pytest

from edgenas.search import optimise
from edgenas.search.front import hypervolume
from edgenas.search.strategies import nsga2
from edgenas.search.strategies.effects import FIRST_ROWS, ROWS, GeneEffects

N_CHOICES = np.array([3, 1, 4, 2, 5])


def table(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(choices, 2)) for choices in N_CHOICES]


def total(worths: list[np.ndarray], genes: np.ndarray) -> np.ndarray:
    return sum(worth[column] for worth, column in zip(worths, genes.T, strict=True)) + [5.0, -3.0]


def drawn(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(0, N_CHOICES, size=(count, len(N_CHOICES)))


def test_sums_are_learnt_but_for_a_constant() -> None:
    rng, worths, effects = np.random.default_rng(0), table(1), GeneEffects(N_CHOICES)
    for _ in range(20):
        told = drawn(rng, 100)
        effects.learn(told, total(worths, told))
    genes = drawn(rng, 50)
    found, true = effects.of(genes), total(worths, genes)
    np.testing.assert_allclose(found - found[0], true - true[0], atol=0.05)


def test_it_knows_nothing_before_enough_was_told_and_follows_what_changes() -> None:
    rng, effects = np.random.default_rng(0), GeneEffects(N_CHOICES)
    assert not effects.known
    few = drawn(rng, FIRST_ROWS - 1)
    effects.learn(few, total(table(1), few))
    assert not effects.known
    one = drawn(rng, 1)
    effects.learn(one, total(table(1), one))
    assert effects.known
    for _ in range(60):
        told = drawn(rng, ROWS)
        effects.learn(told, total(table(2), told))
    genes = drawn(rng, 50)
    found, true = effects.of(genes), total(table(2), genes)
    np.testing.assert_allclose(found - found[0], true - true[0], atol=0.05)


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
