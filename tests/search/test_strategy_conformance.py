"""What every search strategy promises, whatever it does inside."""

import itertools

import numpy as np
import pytest

from edgenas.errors import EdgenasError, InfeasibleError
from edgenas.search import SearchResult
from edgenas.search.loop import optimise
from edgenas.search.strategies.by_name import STRATEGIES, strategy_class
from edgenas.search.strategies.protocol import Strategy

N_CHOICES = np.array([3, 1, 5, 2, 4, 3])
POPULATION = 8


@pytest.fixture(params=sorted(STRATEGIES))
def name(request: pytest.FixtureRequest) -> str:
    if request.param == "bayesian":
        pytest.importorskip("optuna")
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
    for n in (0, 1, 7, 30):
        assert strategy.ask(n).shape == (n, len(N_CHOICES))
    play(strategy)
    for n in (0, 1, 7, 30):
        assert strategy.ask(n).shape == (n, len(N_CHOICES))


def test_equal_seeds_and_tellings_give_equal_asks(name: str) -> None:
    first, second = np.array(play(make(name))), np.array(play(make(name)))
    np.testing.assert_array_equal(first, second)
    assert (first != np.array(play(make(name, seed=1)))).any()


def test_every_choice_of_every_gene_can_be_reached(name: str) -> None:
    strategy = make(name)
    play(strategy, rounds=3)
    asked = np.vstack([strategy.ask(100) for _ in range(3)])
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


def switched_off(genes: np.ndarray) -> np.ndarray:
    """Canonical form of a space in which gene 0 switches two others off."""
    canonical = genes.copy()
    canonical[canonical[:, 0] == 0, 4:] = 0
    return canonical


def below(limit: int):  # type: ignore[no-untyped-def]
    return lambda genes: (genes.sum(axis=1, keepdims=True) - limit) / limit


def search(name: str, evaluations: int = 45, seed: int = 0, evaluate=evaluate, **more) -> SearchResult:  # type: ignore[no-untyped-def]
    """A search of canonical genes with a total of at most 9."""
    arguments = {"constraints": below(9), "repair": switched_off, "population": POPULATION, **more}
    return optimise(N_CHOICES, evaluate, strategy=name, evaluations=evaluations, seed=seed, **arguments)


def test_canonical_feasible_genes_are_evaluated_once(name: str) -> None:
    calls: list[np.ndarray] = []

    def counted(genes: np.ndarray) -> np.ndarray:
        calls.append(genes)
        return evaluate(genes)

    result = search(name, evaluate=counted)
    genes = np.vstack(calls)
    np.testing.assert_array_equal(genes, result.genes)
    assert len(np.unique(genes, axis=0)) == len(genes) == 45
    np.testing.assert_array_equal(switched_off(genes), genes)
    assert (genes.sum(axis=1) <= 9).all()


def test_equal_seeds_give_equal_searches_and_others_do_not(name: str) -> None:
    first, second, other = search(name), search(name), search(name, seed=1)
    np.testing.assert_array_equal(first.genes, second.genes)
    np.testing.assert_array_equal(first.hypervolume, second.hypervolume)
    assert not np.array_equal(first.genes, other.genes)


def test_a_stopped_search_told_again_goes_on_as_if_it_had_not_stopped(name: str) -> None:
    record: dict[bytes, np.ndarray] = {}

    def stopping(genes: np.ndarray) -> np.ndarray:
        if len(record) > 20:
            raise KeyboardInterrupt
        return recorded(genes)

    def recorded(genes: np.ndarray) -> np.ndarray:
        for row in genes:
            if row.tobytes() not in record:
                record[row.tobytes()] = evaluate(row[None])[0]
        return np.array([record[row.tobytes()] for row in genes])

    whole = search(name)
    with pytest.raises(KeyboardInterrupt):
        search(name, evaluate=stopping)
    assert 20 < len(record) < 45
    resumed = search(name, evaluate=recorded)
    np.testing.assert_array_equal(resumed.genes, whole.genes)
    np.testing.assert_array_equal(resumed.front, whole.front)
    assert len(record) == 45


def test_a_longer_search_begins_with_the_shorter_one(name: str) -> None:
    short, long = search(name, evaluations=21), search(name)
    np.testing.assert_array_equal(long.genes[:21], short.genes)


def test_initial_genes_come_first_in_canonical_form(name: str) -> None:
    initial = np.array([[0, 0, 1, 1, 3, 2], [2, 0, 4, 1, 3, 2], [1, 0, 0, 0, 1, 1]])
    result = search(name, initial=initial)
    # The second has a total of 12 and is passed over.
    np.testing.assert_array_equal(result.genes[:2], [[0, 0, 1, 1, 0, 0], [1, 0, 0, 0, 1, 1]])


def test_an_infeasible_space_is_an_error(name: str) -> None:
    with pytest.raises(InfeasibleError, match=r"nearest has \[1\]"):
        search(name, constraints=lambda genes: 1.0 + genes.sum(axis=1, keepdims=True))


def test_one_choice_for_every_gene_is_one_candidate(name: str) -> None:
    result = optimise([1, 1, 1], lambda genes: 1.0 + genes[:, :2], strategy=name, evaluations=5, seed=0)
    np.testing.assert_array_equal(result.genes, [[0, 0, 0]])
    assert result.exhausted


def test_a_space_smaller_than_the_population_is_searched_in_full_and_said_to_be(name: str) -> None:
    result = optimise([2, 1, 3], lambda g: g[:, ::2] * 1.0, strategy=name, evaluations=50, population=10, seed=0)
    assert sorted(map(tuple, result.genes.tolist())) == list(itertools.product(range(2), range(1), range(3)))
    assert result.exhausted


def test_what_fails_is_named_and_the_rest_is_kept(name: str) -> None:
    def fragile(genes: np.ndarray) -> np.ndarray:
        few = genes[:, 5] == 2
        if (few & (genes[:, 2] == 3)).any():
            raise ZeroDivisionError("three is too many")
        values = evaluate(genes)
        values[few & (genes[:, 2] == 4), 1] = np.nan
        return values

    result = search(name, evaluate=fragile, evaluations=60, population=20, constraints=None)
    assert len(result.genes) + len(result.failures) == 60
    assert np.isfinite(result.objectives).all()
    assert not ((result.genes[:, 2] >= 3) & (result.genes[:, 5] == 2)).any()
    causes = {failure.genes[2]: failure.cause for failure in result.failures}
    assert causes[3] == "ZeroDivisionError: three is too many"
    assert causes[4].startswith("objectives [")
    assert causes[4].endswith("nan]")


def test_where_nearly_all_fails_the_search_stops_and_tells_why(name: str) -> None:
    def broken(genes: np.ndarray) -> np.ndarray:
        raise RuntimeError("no images")

    with pytest.raises(EdgenasError, match=r"5 of 8 candidates failed .* genes \[.*RuntimeError: no images") as caught:
        search(name, evaluate=broken)
    assert isinstance(caught.value.__cause__, RuntimeError)
