"""What every search strategy promises, whatever it does inside."""

import numpy as np
import pytest

from edgenas.search.loop import optimise
from edgenas.search.strategies.by_name import STRATEGIES, strategy_class
from edgenas.search.strategies.protocol import Strategy

N_CHOICES = np.array([3, 1, 5, 2, 4, 3])
POPULATION = 8


@pytest.fixture(params=sorted(STRATEGIES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(name: str, seed: int = 0) -> Strategy:
    return strategy_class(name)(N_CHOICES, seed=seed, population=POPULATION)


def evaluate(genes: np.ndarray) -> np.ndarray:
    share = genes / np.maximum(N_CHOICES - 1, 1)
    return np.column_stack([(1 - share).sum(axis=1), (share**2).sum(axis=1)])


def play(strategy: Strategy, rounds: int = 6) -> list[np.ndarray]:
    asked = []
    for _ in range(rounds):
        asked.append(strategy.ask(POPULATION))
        strategy.tell(asked[-1], evaluate(asked[-1]), np.empty((POPULATION, 0)))
    return asked


def test_asks_are_integer_genes_within_their_choices(name: str) -> None:
    for genes in play(make(name)):
        assert genes.shape == (POPULATION, len(N_CHOICES))
        assert genes.dtype == np.int64
        assert (genes >= 0).all()
        assert (genes < N_CHOICES).all()


def test_any_number_may_be_asked_for_at_any_time(name: str) -> None:
    strategy = make(name)
    for n in (1, 7, 30):
        assert strategy.ask(n).shape == (n, len(N_CHOICES))
    play(strategy)
    for n in (1, 7, 30):
        assert strategy.ask(n).shape == (n, len(N_CHOICES))


def test_equal_seeds_and_tellings_give_equal_asks(name: str) -> None:
    first, second = np.array(play(make(name))), np.array(play(make(name)))
    np.testing.assert_array_equal(first, second)
    assert (first != np.array(play(make(name, seed=1)))).any()


def test_every_choice_of_every_gene_can_be_reached(name: str) -> None:
    strategy = make(name)
    play(strategy, rounds=3)
    asked = strategy.ask(400)
    for gene, n in enumerate(N_CHOICES):
        assert set(asked[:, gene]) == set(range(n))


def test_telling_may_precede_asking_and_concern_others(name: str) -> None:
    strategy = make(name)
    genes = np.zeros((3, len(N_CHOICES)), dtype=np.int64)
    strategy.tell(genes, evaluate(genes), np.empty((3, 0)))
    assert len(strategy.ask(5)) == 5


def test_rejections_may_come_before_and_between_tellings(name: str) -> None:
    strategy = make(name)
    for width in (2, 3, 2):
        for _ in range(12):
            genes = strategy.ask(POPULATION)
            strategy.reject(genes, np.full((POPULATION, 1), 0.5))
        genes = strategy.ask(POPULATION)
        strategy.tell(genes, evaluate(genes)[:, :2], np.full((POPULATION, 1), -0.1))
        assert len(strategy.ask(width)) == width


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_any_number_of_objectives(name: str, objectives: int) -> None:
    def several(genes: np.ndarray) -> np.ndarray:
        both = evaluate(genes)
        return np.column_stack([both, both.sum(axis=1)])[:, :objectives]

    result = optimise(N_CHOICES, several, strategy=name, evaluations=60, population=10, seed=0)
    assert result.objectives.shape == (60, objectives)
    assert len(result.front) >= 1


def test_nothing_is_printed(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    optimise(N_CHOICES, evaluate, strategy=name, evaluations=40, population=10, seed=0)
    assert capfd.readouterr() == ("", "")
