import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenas.errors import ConfigError, EdgenasError, InfeasibleError, UserError
from edgenas.search import Progress, SearchResult, optimise
from edgenas.search.front import hypervolume
from edgenas.search.strategies.protocol import Floats, Genes

N_CHOICES = np.full(16, 3)


def known_front(genes: np.ndarray) -> np.ndarray:
    """Error falls and latency rises with every gene; those that gain much for their cost form the front."""
    share = genes / 2
    gain, cost = np.linspace(0.2, 1.0, genes.shape[1]), np.linspace(1.0, 0.2, genes.shape[1])
    return np.column_stack([np.exp(-(np.sqrt(share) * gain).sum(axis=1) / 4), 1 + (share * cost).sum(axis=1)])


def best_hypervolume(result: SearchResult) -> float:
    return hypervolume(result.objectives, [1.0, 12.0])


def same(a: SearchResult, b: SearchResult) -> bool:
    names = [field.name for field in dataclasses.fields(SearchResult)]
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


@pytest.mark.parametrize(("evaluations", "population"), [(200, 10), (400, 20)])
def test_nsga2_beats_random_at_equal_evaluations_over_ten_seeds(evaluations: int, population: int) -> None:
    def found(strategy: str, seed: int) -> float:
        result = optimise(
            N_CHOICES,
            known_front,
            strategy=strategy,
            evaluations=evaluations,
            population=population,
            seed=seed,
        )
        return best_hypervolume(result)

    for seed in range(10):
        assert found("nsga2", seed) > found("random", seed)


def test_nsga2_comes_close_to_the_known_front_of_a_table() -> None:
    n_choices = [3] * 8
    table = np.array(list(itertools.product(range(3), repeat=8)))
    whole = known_front(table)
    reference = whole.max(axis=0) * 1.1
    shares = [
        hypervolume(optimise(n_choices, known_front, evaluations=400, population=20, seed=seed).objectives, reference)
        / hypervolume(whole, reference)
        for seed in range(5)
    ]
    assert min(shares) > 0.97


@pytest.mark.parametrize("strategy", ["nsga2", "random"])
def test_equal_seed_equal_result_and_replay_from_a_record_too(strategy: str) -> None:
    record: dict[bytes, np.ndarray] = {}

    def recorded(genes: np.ndarray) -> np.ndarray:
        for row, value in zip(genes, known_front(genes), strict=True):
            record[row.tobytes()] = value
        return known_front(genes)

    def replayed(genes: np.ndarray) -> np.ndarray:
        return np.array([record[row.tobytes()] for row in genes])

    def run(evaluate: object, seed: int = 3) -> SearchResult:
        return optimise(N_CHOICES, evaluate, strategy=strategy, evaluations=90, population=12, seed=seed)  # type: ignore[arg-type]

    first = run(recorded)
    assert same(first, run(replayed))
    assert not np.array_equal(first.genes, run(known_front, seed=4).genes)


def test_the_arrays_an_evaluate_scribbles_on_are_its_own() -> None:
    def careless(genes: np.ndarray) -> np.ndarray:
        values = known_front(genes)
        genes[:] = 0
        return values

    arguments = {"evaluations": 60, "population": 12, "seed": 0}
    assert same(optimise(N_CHOICES, careless, **arguments), optimise(N_CHOICES, known_front, **arguments))


def halved(genes: np.ndarray) -> np.ndarray:
    """Canonical form of a space in which gene 0 switches the others off."""
    canonical = genes.copy()
    canonical[canonical[:, 0] == 0, 1:] = 0
    return canonical


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.integers(1, 300),
    st.sampled_from(["nsga2", "random"]),
    st.booleans(),
)
def test_small_spaces_are_exhausted_without_repeats(
    n_choices: list[int], evaluations: int, strategy: str, twins: bool
) -> None:
    rows = np.array(list(itertools.product(*map(range, n_choices))))
    size = len(np.unique(halved(rows), axis=0)) if twins else len(rows)
    result = optimise(
        n_choices,
        known_front,
        strategy=strategy,
        evaluations=evaluations,
        population=7,
        seed=0,
        repair=halved if twins else None,
    )
    assert len(result.genes) == min(size, evaluations) == len(np.unique(result.genes, axis=0))
    assert result.exhausted == (evaluations > size)
    if twins:
        np.testing.assert_array_equal(halved(result.genes), result.genes)


def total_below(limit: float):  # type: ignore[no-untyped-def]
    return lambda genes: (genes.sum(axis=1, keepdims=True) - limit) / limit


@pytest.mark.parametrize("strategy", ["nsga2", "random"])
def test_infeasible_candidates_are_never_evaluated(strategy: str) -> None:
    result = optimise(N_CHOICES, known_front, constraints=total_below(12), strategy=strategy, evaluations=100, seed=0)
    assert len(result.genes) == 100
    assert (result.genes.sum(axis=1) <= 12).all()
    np.testing.assert_allclose(result.violations, total_below(12)(result.genes))


def test_nsga2_follows_violations_into_a_region_that_chance_misses() -> None:
    # 17 of 3^16 settings have a total of at most 1.
    result = optimise(N_CHOICES, known_front, constraints=total_below(1), evaluations=10, seed=0)
    assert (result.genes.sum(axis=1) <= 1).all()
    assert len(result.genes) >= 5


def test_impossible_constraints_are_an_error_with_the_smallest_violation() -> None:
    with pytest.raises(InfeasibleError, match=r"nearest has \[0\.25\]"):
        optimise([2, 2], known_front, constraints=lambda g: 0.25 + g[:, :1], evaluations=10, seed=0)
    with pytest.raises(InfeasibleError, match="nearest has"):
        optimise(N_CHOICES, known_front, constraints=lambda g: 1.0 + g[:, :1], evaluations=10, seed=0)


def test_a_needle_in_a_small_space_is_found() -> None:
    needle = np.array([7, 3, 9, 10])

    def constraints(genes: np.ndarray) -> np.ndarray:
        return np.where((genes == needle).all(axis=1), -1.0, 1.0)[:, None]

    result = optimise([11] * 4, known_front, constraints=constraints, evaluations=10, seed=0)
    np.testing.assert_array_equal(result.genes, [needle])
    assert result.exhausted


def test_history_has_one_reference_point_and_never_falls() -> None:
    progress: list[Progress] = []
    result = optimise(N_CHOICES, known_front, evaluations=110, population=20, seed=0, callback=progress.append)
    assert [p.done for p in progress] == [20, 40, 60, 80, 100, 110] == result.evaluations_by_batch.tolist()
    assert [p.hypervolume for p in progress] == result.hypervolume.tolist()
    assert (np.diff(result.hypervolume) >= 0).all()
    for batch, value in enumerate(result.hypervolume):
        seen = result.objectives[result.batches <= batch]
        assert value == pytest.approx(hypervolume(seen, result.reference_point))
    assert (result.reference_point > result.objectives[result.batches == 0].max(axis=0)).all()


def test_initial_members_come_first_in_canonical_form_once() -> None:
    initial = np.array([[0, 2, 2], [1, 1, 1], [0, 1, 0]])
    result = optimise([3, 3, 3], known_front, initial=initial, repair=halved, evaluations=8, population=4, seed=0)
    np.testing.assert_array_equal(result.genes[:2], [[0, 0, 0], [1, 1, 1]])


def failing(share: float):  # type: ignore[no-untyped-def]
    def evaluate(genes: np.ndarray) -> np.ndarray:
        values = known_front(genes)
        values[: int(share * len(genes)), 0] = np.nan
        values[: int(share * len(genes)) // 2, 1] = np.inf
        return values

    return evaluate


def test_failed_evaluations_are_dropped_and_listed() -> None:
    progress: list[Progress] = []
    result = optimise(N_CHOICES, failing(0.2), evaluations=60, population=20, seed=0, callback=progress.append)
    assert len(result.genes) == 48
    assert len(result.failures) == len(progress[-1].failures) == 12
    assert result.failures == progress[-1].failures
    assert np.isfinite(result.objectives).all()
    both = np.vstack([result.genes, [failure.genes for failure in result.failures]])
    assert len(np.unique(both, axis=0)) == 60
    assert result.evaluations_by_batch.tolist() == [16, 32, 48]


def test_too_many_failures_stop_the_search_and_name_one() -> None:
    with pytest.raises(EdgenasError, match=r"12 of 20 candidates failed .*genes \[.*objectives \[nan, inf\]"):
        optimise(N_CHOICES, failing(0.6), evaluations=60, population=20, seed=0)
    with pytest.raises(EdgenasError, match="all 3 candidates"):
        optimise(N_CHOICES, failing(1.0), evaluations=3, population=20, seed=0)


def test_batches_that_fail_one_after_another_stop_the_search_however_small_they_are() -> None:
    done = []

    def dying(genes: Genes) -> Floats:
        done.extend(genes)
        objectives = known_front(genes)
        return objectives if len(done) <= 15 else np.full_like(objectives, np.nan)

    with pytest.raises(EdgenasError, match=r"each of the last 12 candidates failed.*objectives \[nan, nan\]"):
        optimise(N_CHOICES, dying, evaluations=60, population=3, seed=0)
    assert len(done) == 15 + 4 * 3


def test_exact_is_checked_against_evaluate() -> None:
    def run(exact):  # type: ignore[no-untyped-def]
        return optimise(N_CHOICES, known_front, evaluations=20, seed=0, exact=exact)

    assert len(run(lambda genes: known_front(genes)[:, 1:]).genes) == 20
    with pytest.raises(UserError, match="differ"):
        run(lambda genes: known_front(genes)[:, :1])
    with pytest.raises(UserError, match="exact: expected some of the last columns"):
        run(lambda genes: known_front(genes)[:, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_choices": [3, 0]}, "whole number of at least 1"),
        ({"n_choices": [2.5]}, "whole number of at least 1"),
        ({"n_choices": []}, "whole number of at least 1"),
        ({"evaluate": lambda genes: genes[:, 0]}, r"evaluate: expected shape \(10, objectives\)"),
        ({"constraints": lambda genes: genes[:, 0]}, r"constraints: expected shape \(\d+, k\)"),
        ({"constraints": lambda genes: genes[:, :1] * np.nan}, "constraints: NaN for genes"),
        ({"repair": lambda genes: genes[1:]}, "repair: expected 10 rows back, got 9"),
        ({"repair": lambda genes: genes + 9}, "repair's result: row 0"),
        ({"initial": [[3, 0, 0]]}, "initial: row 0 has 3 for gene 0, expected 0 to 2"),
        ({"initial": [[0, 0]]}, r"initial: expected an integer matrix of shape \(n, 3\)"),
    ],
)
def test_wrong_arrays_are_named(change: dict[str, object], message: str) -> None:
    arguments = {"n_choices": [3, 3, 3], "evaluate": known_front, "evaluations": 20, "seed": 0} | change
    with pytest.raises(UserError, match=message):
        optimise(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategy": "nsga3"}, "did you mean 'nsga2'"),
        ({"evaluations": 0}, "evaluations: expected at least 1"),
        ({"population": 1}, "population: expected at least 2"),
        ({"seed": -1}, "seed: expected 0 or above"),
    ],
)
def test_wrong_settings_are_named(change: dict[str, object], message: str) -> None:
    arguments = {"evaluations": 20, "seed": 0} | change
    with pytest.raises(ConfigError, match=message):
        optimise([3, 3], known_front, **arguments)  # type: ignore[arg-type]


def test_importing_search_loads_no_pymoo() -> None:
    check = "import edgenas.search, sys; assert not {'pymoo', 'moocore', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
