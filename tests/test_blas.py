"""That results do not depend on the number of BLAS threads: the same search and fit with one and with several."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import scipy.linalg  # noqa: F401  # its BLAS is among those that are counted
from threadpoolctl import threadpool_info, threadpool_limits

from edgenas.blas import one_blas_thread
from edgenas.search import optimise
from edgenas.search.gaussian_process import Surrogate

N_CHOICES = np.full(30, 3)


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture(params=[1, 4])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    with threadpool_limits(request.param, user_api="blas"):
        if blas_threads() != {request.param}:
            pytest.skip(f"this BLAS has no {request.param} threads: {threadpool_info()}")
        yield request.param


def test_inside_there_is_one_thread_and_after_it_as_many_as_before(threads: int) -> None:
    with one_blas_thread():
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {1}
    assert blas_threads() == {threads}
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        raise ZeroDivisionError
    assert blas_threads() == {threads}


def test_models_of_a_search_are_fitted_with_one_thread_and_candidates_evaluated_with_all(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted, fit = set[int](), Surrogate.fit

    def watched(self: Surrogate, *args: object) -> Surrogate:
        fitted.update(blas_threads())
        return fit(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Surrogate, "fit", watched)
    evaluated = set[int]()

    def evaluate(genes: np.ndarray) -> np.ndarray:
        evaluated.update(blas_threads())
        return rugged(genes)

    optimise(N_CHOICES, evaluate, strategy="surrogate", evaluations=24, population=8, seed=0)
    assert fitted == {1}
    assert evaluated == {threads}


def rugged(genes: np.ndarray) -> np.ndarray:
    """Two objectives without BLAS: a smooth trade-off and a little of what no model gets right."""
    share = genes / 2
    jitter = ((genes * np.arange(1, 31)).sum(axis=1) % 17) / 400
    gain, unit_cost = np.linspace(0.2, 1.0, 30), np.linspace(1.0, 0.3, 30)
    return np.column_stack([np.exp(-(np.sqrt(share) * gain).sum(axis=1) / 8) + jitter, (share * unit_cost).sum(axis=1)])


@pytest.mark.parametrize(("strategy", "evaluations"), [("surrogate", 80), ("nsga2", 1200)])
def test_the_front_is_the_same_to_the_bit(strategy: str, evaluations: int) -> None:
    results = []
    for number in (1, 2, 4):
        with threadpool_limits(number, user_api="blas"):
            results.append(
                optimise(N_CHOICES, rugged, strategy=strategy, evaluations=evaluations, population=40, seed=0)
            )
    for other in results[1:]:
        np.testing.assert_array_equal(other.genes, results[0].genes)
        np.testing.assert_array_equal(other.front, results[0].front)
        np.testing.assert_array_equal(other.hypervolume, results[0].hypervolume)


def test_models_large_enough_for_several_threads_are_the_same_to_the_bit() -> None:
    """Of 200 rows an unlimited OpenBLAS predicts other last bits with 2 or 4 threads than with 1."""
    rng = np.random.default_rng(0)
    genes, unseen = rng.integers(0, 3, (200, 30)), rng.integers(0, 3, (2000, 30))
    first = Surrogate(N_CHOICES).fit(genes[:40], rugged(genes[:40])[:, 0])
    found = []
    for number in (1, 4):
        with threadpool_limits(number, user_api="blas"), one_blas_thread():
            found.append(Surrogate(N_CHOICES).fit(genes, rugged(genes)[:, 0], like=first).expect(unseen))
    np.testing.assert_array_equal(found[1], found[0])
