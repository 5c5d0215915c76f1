"""Checks that every search strategy passes, whatever it does inside.

For a new strategy, call `check_strategy(MyStrategy)`, or parametrise a test by `STRATEGY_CHECKS`:

    @pytest.mark.parametrize("check", STRATEGY_CHECKS, ids=lambda check: check.__name__)
    def test_my_strategy(check):
        check(MyStrategy)
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Callable, Iterator

import numpy as np

from edgenas.errors import EdgenasError, InfeasibleError
from edgenas.search.loop import optimise
from edgenas.search.result import SearchResult
from edgenas.search.strategies.protocol import Floats, Genes, GenesFunction, Strategy

N_CHOICES = np.array([3, 1, 5, 2, 4, 3])
POPULATION, EVALUATIONS = 8, 29
MOST_TOTAL = 9
StrategyClass = type[Strategy]
StrategyCheck = Callable[[StrategyClass], None]


def check_strategy(strategy: StrategyClass) -> None:
    """Run all checks.

    Args:
        strategy: class that implements the protocol `Strategy`.

    Raises:
        AssertionError: a check failed; its docstring states the property.
    """
    for check in STRATEGY_CHECKS:
        check(strategy)


def check_genes_are_within_their_choices(strategy: StrategyClass) -> None:
    """Proposals are int64 genes of shape (count, genes), each in 0 to its number of choices - 1."""
    for genes in _played(_new(strategy)):
        assert genes.shape == (POPULATION, len(N_CHOICES))
        assert genes.dtype == np.int64
        assert (genes >= 0).all()
        assert (genes < N_CHOICES).all()


def check_any_number_may_be_asked_for(strategy: StrategyClass) -> None:
    """Any number of proposals may be asked for, before and after results."""
    search = _new(strategy)
    for _ in range(2):
        for count in (0, 1, 7, 30):
            assert search.ask(count).shape == (count, len(N_CHOICES))
        _played(search)


def check_equal_seeds_give_equal_proposals(strategy: StrategyClass) -> None:
    """Equal seeds and results give equal proposals; other seeds give others."""
    first, second, other = (np.array(_played(_new(strategy, seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def check_every_choice_is_reached(strategy: StrategyClass) -> None:
    """Every choice of every gene is proposed now and then, also after several rounds."""
    search = _new(strategy)
    _played(search, rounds=3)
    proposals = np.vstack([search.ask(100) for _ in range(3)])
    for gene, count in enumerate(N_CHOICES):
        assert set(proposals[:, gene]) == set(range(count))


def check_results_of_others_are_accepted(strategy: StrategyClass) -> None:
    """Results may come before the first question, and of candidates that the strategy did not propose."""
    search = _new(strategy)
    genes = np.zeros((3, len(N_CHOICES)), dtype=np.int64)
    search.tell(genes, _objectives(genes), np.empty((3, 0)))
    assert len(search.ask(5)) == 5


def check_rejections_are_accepted(strategy: StrategyClass) -> None:
    """Infeasible candidates may be reported before and between results."""
    search = _new(strategy)
    for width in (2, 3, 2):
        for _ in range(12):
            search.reject(search.ask(POPULATION), np.full((POPULATION, 1), 0.5))
        genes = search.ask(POPULATION)
        search.tell(genes, _objectives(genes), np.full((POPULATION, 1), -0.1))
        assert len(search.ask(width)) == width


def check_any_number_of_objectives(strategy: StrategyClass) -> None:
    """One, two and three objectives are searched."""
    for count in (1, 2, 3):

        def objectives(genes: Genes, count: int = count) -> Floats:
            both = _objectives(genes)
            return np.column_stack([both, both.sum(axis=1)])[:, :count]

        result = optimise(N_CHOICES, objectives, strategy=strategy, evaluations=30, population=10, seed=0)
        assert result.objectives.shape == (30, count)
        assert len(result.front) >= 1


def check_nothing_is_printed(strategy: StrategyClass) -> None:
    """Nothing is printed, to standard output or standard error."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        optimise(N_CHOICES, _objectives, strategy=strategy, evaluations=20, population=10, seed=0)
    assert not printed.getvalue()


def check_feasible_canonical_genes_are_evaluated_once(strategy: StrategyClass) -> None:
    """In a search, only feasible candidates in canonical form are evaluated, each once."""
    calls: list[Genes] = []

    def counted(genes: Genes) -> Floats:
        calls.append(genes)
        return _objectives(genes)

    result = _searched(strategy, evaluate=counted)
    genes = np.vstack(calls)
    np.testing.assert_array_equal(genes, result.genes)
    assert len(np.unique(genes, axis=0)) == len(genes) == EVALUATIONS
    np.testing.assert_array_equal(_canonical(genes), genes)
    assert (genes.sum(axis=1) <= MOST_TOTAL).all()


def check_equal_seeds_give_equal_searches(strategy: StrategyClass) -> None:
    """Equal seeds give equal searches; other seeds give others."""
    first, second, other = _searched(strategy), _searched(strategy), _searched(strategy, seed=1)
    np.testing.assert_array_equal(first.genes, second.genes)
    np.testing.assert_array_equal(first.hypervolume, second.hypervolume)
    assert not np.array_equal(first.genes, other.genes)


def check_a_stopped_search_resumes(strategy: StrategyClass) -> None:
    """A stopped search that is given its recorded results ends like an undisturbed one."""
    record: dict[bytes, Floats] = {}

    def recorded(genes: Genes) -> Floats:
        for row in genes:
            if row.tobytes() not in record:
                record[row.tobytes()] = _objectives(row[None])[0]
        return np.array([record[row.tobytes()] for row in genes])

    def stopping(genes: Genes) -> Floats:
        if len(record) > 20:
            raise KeyboardInterrupt
        return recorded(genes)

    undisturbed = _searched(strategy)
    with _expected(KeyboardInterrupt):
        _searched(strategy, evaluate=stopping)
    assert 20 < len(record) < EVALUATIONS
    resumed = _searched(strategy, evaluate=recorded)
    np.testing.assert_array_equal(resumed.genes, undisturbed.genes)
    np.testing.assert_array_equal(resumed.front, undisturbed.front)
    assert len(record) == EVALUATIONS


def check_a_longer_search_begins_like_a_shorter_one(strategy: StrategyClass) -> None:
    """The first evaluations of a search do not depend on how many follow."""
    short, long = _searched(strategy, evaluations=21), _searched(strategy)
    np.testing.assert_array_equal(long.genes[:21], short.genes)


def check_initial_genes_come_first(strategy: StrategyClass) -> None:
    """Initial genes are evaluated first, in canonical form; infeasible ones are passed over."""
    initial = np.array([[0, 0, 1, 1, 3, 2], [2, 0, 4, 1, 3, 2], [1, 0, 0, 0, 1, 1]])
    result = _searched(strategy, initial=initial)
    # The second has a total of 12.
    np.testing.assert_array_equal(result.genes[:2], [[0, 0, 1, 1, 0, 0], [1, 0, 0, 0, 1, 1]])


def check_an_infeasible_space_is_an_error(strategy: StrategyClass) -> None:
    """A space without feasible candidates is an InfeasibleError that states the smallest violation."""
    with _expected(InfeasibleError, "nearest has [1]"):
        _searched(strategy, constraints=lambda genes: 1.0 + genes.sum(axis=1, keepdims=True))


def check_one_candidate_is_enough(strategy: StrategyClass) -> None:
    """A space of one candidate is searched."""
    result = optimise([1, 1, 1], _first_and_last, strategy=strategy, evaluations=5, seed=0)
    np.testing.assert_array_equal(result.genes, [[0, 0, 0]])
    assert result.exhausted


def check_a_small_space_is_exhausted(strategy: StrategyClass) -> None:
    """A space smaller than the population is evaluated in full."""
    result = optimise([2, 1, 3], _first_and_last, strategy=strategy, evaluations=50, population=10, seed=0)
    expected = list(itertools.product(range(2), range(1), range(3)))
    assert sorted(map(tuple, result.genes.tolist())) == expected
    assert result.exhausted


def check_failed_candidates_are_named(strategy: StrategyClass) -> None:
    """Candidates that raise or give NaN are listed with their cause; all others are kept."""

    def fragile(genes: Genes) -> Floats:
        few = genes[:, 5] == 2
        if (few & (genes[:, 2] == 3)).any():
            raise ZeroDivisionError("three is too many")
        values = _objectives(genes)
        values[few & (genes[:, 2] == 4), 1] = np.nan
        return values

    result = _searched(strategy, evaluate=fragile, evaluations=60, population=20, constraints=None)
    assert len(result.genes) + len(result.failures) == 60
    assert np.isfinite(result.objectives).all()
    assert not ((result.genes[:, 2] >= 3) & (result.genes[:, 5] == 2)).any()
    causes = {failure.genes[2]: failure.cause for failure in result.failures}
    assert causes[3] == "ZeroDivisionError: three is too many"
    assert causes[4].startswith("objectives [")
    assert causes[4].endswith("nan]")


def check_a_search_stops_where_most_fail(strategy: StrategyClass) -> None:
    """A search whose candidates mostly fail stops with an error that states the cause."""

    def broken(genes: Genes) -> Floats:
        raise RuntimeError("no images")

    with _expected(EdgenasError, "5 of 8 candidates failed", "genes [", "RuntimeError: no images") as caught:
        _searched(strategy, evaluate=broken)
    assert isinstance(caught[0].__cause__, RuntimeError)


STRATEGY_CHECKS: tuple[StrategyCheck, ...] = (
    check_genes_are_within_their_choices,
    check_any_number_may_be_asked_for,
    check_equal_seeds_give_equal_proposals,
    check_every_choice_is_reached,
    check_results_of_others_are_accepted,
    check_rejections_are_accepted,
    check_any_number_of_objectives,
    check_nothing_is_printed,
    check_feasible_canonical_genes_are_evaluated_once,
    check_equal_seeds_give_equal_searches,
    check_a_stopped_search_resumes,
    check_a_longer_search_begins_like_a_shorter_one,
    check_initial_genes_come_first,
    check_an_infeasible_space_is_an_error,
    check_one_candidate_is_enough,
    check_a_small_space_is_exhausted,
    check_failed_candidates_are_named,
    check_a_search_stops_where_most_fail,
)


def _new(strategy: StrategyClass, seed: int = 0) -> Strategy:
    return strategy(N_CHOICES, seed=seed, population=POPULATION)


def _objectives(genes: Genes) -> Floats:
    share = genes / np.maximum(N_CHOICES - 1, 1)
    return np.column_stack([(1 - share).sum(axis=1), (share**2).sum(axis=1)])


def _first_and_last(genes: Genes) -> Floats:
    return 1.0 + genes[:, [0, -1]].astype(np.float64)


def _played(search: Strategy, rounds: int = 6) -> list[Genes]:
    """Ask and report results in turn; return the proposals."""
    proposals = []
    for _ in range(rounds):
        proposals.append(search.ask(POPULATION))
        search.tell(proposals[-1], _objectives(proposals[-1]), np.empty((POPULATION, 0)))
    return proposals


def _canonical(genes: Genes) -> Genes:
    """Return the canonical form in a space whose gene 0 turns two others off."""
    canonical = genes.copy()
    canonical[canonical[:, 0] == 0, 4:] = 0
    return canonical


def _above_total(genes: Genes) -> Floats:
    return np.asarray((genes.sum(axis=1, keepdims=True) - MOST_TOTAL) / MOST_TOTAL)


def _searched(
    strategy: StrategyClass,
    *,
    evaluations: int = EVALUATIONS,
    seed: int = 0,
    evaluate: GenesFunction = _objectives,
    constraints: GenesFunction | None = _above_total,
    population: int = POPULATION,
    initial: Genes | None = None,
) -> SearchResult:
    return optimise(
        N_CHOICES,
        evaluate,
        constraints=constraints,
        strategy=strategy,
        evaluations=evaluations,
        population=population,
        seed=seed,
        initial=initial,
        repair=_canonical,
    )


@contextlib.contextmanager
def _expected(kind: type[BaseException], *parts: str) -> Iterator[list[BaseException]]:
    """Assert that an exception is raised whose message holds some texts; yields a list that it is put into."""
    caught: list[BaseException] = []
    try:
        yield caught
    except kind as error:
        caught.append(error)
    assert caught, f"{kind.__name__} was not raised"
    missing = [part for part in parts if part not in str(caught[0])]
    assert not missing, f"{missing} is missing in {str(caught[0])!r}"
