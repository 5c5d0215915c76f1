"""What is particular to a strategy; what all promise is in test_strategy_conformance."""

import itertools
import sys

import numpy as np
import pytest

from edgenas.errors import ConfigError
from edgenas.search import SearchResult, optimise
from edgenas.search.front import hypervolume
from edgenas.search.strategies import nsga2
from edgenas.search.strategies.by_name import STRATEGIES, strategy_class
from edgenas.search.strategies.gradient import Perceptron
from edgenas.search.strategies.grid import GridStrategy
from edgenas.search.strategies.regularized_evolution import RegularizedEvolutionStrategy

N_CHOICES = np.full(16, 3)


def known_front(genes: np.ndarray) -> np.ndarray:
    """Error falls and latency rises with every gene; those that gain much for their cost form the front."""
    share = genes / 2
    gain, cost = np.linspace(0.2, 1.0, genes.shape[1]), np.linspace(1.0, 0.2, genes.shape[1])
    return np.column_stack([np.exp(-(np.sqrt(share) * gain).sum(axis=1) / 4), 1 + (share * cost).sum(axis=1)])


@pytest.mark.parametrize("name", ["gradient", "nsga2", "regularized-evolution", "reinforce"])
def test_what_learns_beats_random(name: str) -> None:
    def found(strategy: str) -> list[float]:
        results = [
            optimise(N_CHOICES, known_front, strategy=strategy, evaluations=200, population=20, seed=seed)
            for seed in range(3)
        ]
        return [hypervolume(result.objectives, [1.0, 12.0]) for result in results]

    assert np.mean(found(name)) > np.mean(found("random"))


@pytest.mark.parametrize("seed", [0, 7])
def test_grid_proposes_every_setting_once_before_any_again(seed: int) -> None:
    strategy = GridStrategy(np.array([3, 1, 5, 2]), seed=seed, population=4)
    walk = np.vstack([strategy.ask(7), strategy.ask(23)])
    assert sorted(map(tuple, walk.tolist())) == list(itertools.product(range(3), range(1), range(5), range(2)))
    np.testing.assert_array_equal(strategy.ask(30), walk)


def test_grid_is_spread_from_the_start_even_over_spaces_too_large_to_count_in_64_bits() -> None:
    n_choices = np.array([4] * 60)
    genes = GridStrategy(n_choices, seed=0, population=4).ask(200)
    counts = np.array([np.bincount(column, minlength=4) for column in genes.T])
    assert counts.min() >= 20
    assert len(np.unique(genes, axis=0)) == 200


def test_evolution_lets_the_oldest_die_however_good() -> None:
    strategy = RegularizedEvolutionStrategy(N_CHOICES, seed=0, population=4)
    best = np.zeros((1, 16), dtype=np.int64)
    strategy.tell(best, np.array([[0.0]]), np.empty((1, 0)))
    worse = np.full((4, 16), 2)
    strategy.tell(worse, np.arange(1.0, 5.0)[:, None], np.empty((4, 0)))
    children = strategy.ask(50)
    # Each child is one change away from a living parent, and the best lives no more.
    assert ((children != 2).sum(axis=1) == 1).all()


def test_evolution_evaluates_a_population_and_then_one_child_a_cycle() -> None:
    sizes: list[int] = []

    def counted(genes: np.ndarray) -> np.ndarray:
        sizes.append(len(genes))
        return known_front(genes)

    result = optimise(N_CHOICES, counted, strategy="regularized-evolution", evaluations=30, population=8, seed=0)
    assert sizes == [8, *[1] * 22]
    for place in range(8, 30):
        # Its parent is one of the eight youngest, one changed gene away.
        apart = (result.genes[place - 8 : place] != result.genes[place]).sum(axis=1)
        assert 1 in apart


def test_parents_of_evolution_are_the_best_of_samples_drawn_with_replacement() -> None:
    """The r-th worst of P is the best of S draws with probability (r^S - (r-1)^S) / P^S."""
    population, sample, children = 12, 3, 20_000
    strategy = RegularizedEvolutionStrategy(np.full(45, 2), seed=0, population=population)
    # Member r has r whole triples of ones: no child of one can be taken for a child of another.
    members = np.repeat(np.arange(15) < np.arange(population)[:, None], 3, axis=1).astype(np.int64)
    strategy.tell(members, np.arange(population, 0, -1.0)[:, None], np.empty((population, 0)))
    apart = (strategy.ask(children)[:, None] != members).sum(axis=2)
    parents = np.bincount(apart.argmin(axis=1), minlength=population) / children
    ranks = np.arange(1, population + 1)
    expected = (ranks**sample - (ranks - 1) ** sample) / population**sample
    np.testing.assert_allclose(parents, expected, atol=4 * np.sqrt(0.25 / children))


def test_evolution_outlives_more_failures_in_a_row_than_batches_may_have() -> None:
    done = []

    def fragile(genes: np.ndarray) -> np.ndarray:
        done.extend(genes)
        objectives = known_front(genes)
        return np.where(8 < len(done) <= 20, np.nan, 1.0) * objectives

    arguments = {"strategy": "regularized-evolution", "population": 8, "seed": 0}
    result = optimise(N_CHOICES, fragile, evaluations=40, **arguments)
    assert (len(result.genes), len(result.failures)) == (28, 12)


def made(result: SearchResult) -> int:
    return result.origins["archive"] + result.origins["population"]


def test_nsga2_counts_what_its_archive_makes() -> None:
    result = optimise(N_CHOICES, known_front, evaluations=400, population=20, seed=0)
    assert sum(result.origins.values()) == 400
    assert result.origins["first"] >= 20
    # Nine in ten are asked of the archive; what was proposed before is left out, of either kind.
    assert 0.8 < result.origins["archive"] / made(result) < 1
    again = optimise(N_CHOICES, known_front, evaluations=400, population=20, seed=0)
    assert again.origins == result.origins


def test_without_its_archive_none_of_nsga2s_offspring_comes_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nsga2, "MATING_SHARE", 0.0)
    monkeypatch.setattr(nsga2, "MOVE_SHARE", 0.0)
    result = optimise(N_CHOICES, known_front, evaluations=200, population=20, seed=0)
    assert result.origins["archive"] == 0
    assert made(result) > 0


def test_slope_of_the_perceptron_is_that_of_small_differences() -> None:
    rng = np.random.default_rng(0)
    model = Perceptron(6, 2, rng)
    inputs, weights = rng.normal(size=(3, 6)), rng.dirichlet([1.0, 1.0], size=3)
    slope = model.slope(inputs, weights)
    for column in range(6):
        step = np.zeros(6)
        step[column] = 1e-6
        rise = ((model.predict(inputs + step) - model.predict(inputs - step)) * weights).sum(axis=1) / 2e-6
        np.testing.assert_allclose(slope[:, column], rise, rtol=1e-5, atol=1e-8)


def test_perceptron_learns_a_product_that_no_line_fits() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.choice([-1.0, 1.0], size=(200, 4))
    targets = (inputs[:, 0] * inputs[:, 1])[:, None]
    model = Perceptron(4, 1, rng)
    for _ in range(300):
        model.fit_step(inputs, targets)
    assert np.abs(model.predict(inputs) - targets).mean() < 0.1


def test_without_optuna_the_bayesian_strategy_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'edgenas\[bayes\]'"):
        strategy_class("bayesian")(N_CHOICES, seed=0, population=4)


def test_every_name_has_a_strategy() -> None:
    assert [strategy_class(name).__name__.endswith("Strategy") for name in STRATEGIES] == [True] * len(STRATEGIES)
