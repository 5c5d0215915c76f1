"""The surrogate-assisted strategy, on spaces whose front is known."""

import moocore
import numpy as np
import pytest

from edgenas.search.front import hypervolume, non_dominated, reference_of
from edgenas.search.loop import optimise
from edgenas.search.strategies.surrogate import DESIGN, SurrogateStrategy, _most_gain

N_CHOICES = np.array([3, 3, 3, 3, 3, 3])
EVERY = np.indices((3,) * 6).reshape(6, -1).T
UNIT_COST, WORTH = np.array([1.0, 3, 2, 5, 1, 2]), np.array([2.0, 1, 3, 2, 1, 4])


def evaluate(genes: np.ndarray) -> np.ndarray:
    error = 10 - (WORTH * np.sqrt(genes / 2)).sum(axis=1) + 0.5 * genes[:, 0] * genes[:, 1]
    return np.column_stack([error, cost(genes)])


def cost(genes: np.ndarray) -> np.ndarray:
    return np.asarray((genes * UNIT_COST).sum(axis=1, keepdims=True) + 1)


def share(objectives: np.ndarray) -> float:
    every = evaluate(EVERY)
    reference = reference_of(every)
    return hypervolume(objectives, reference) / hypervolume(every[non_dominated(every)], reference)


def strategy(population: int = 8, **kept: object) -> SurrogateStrategy:
    return SurrogateStrategy(N_CHOICES, seed=0, population=population, **kept)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(2))
def test_it_finds_the_front_in_fewer_evaluations_than_the_others(seed: int) -> None:
    found = {
        name: share(
            optimise(N_CHOICES, evaluate, strategy=name, evaluations=50, population=8, seed=seed, exact=cost).objectives
        )
        for name in ("surrogate", "nsga2", "random")
    }
    assert found["surrogate"] > 0.98
    assert found["surrogate"] > max(found["nsga2"], found["random"])


def test_a_space_too_large_to_list_is_searched() -> None:
    n_choices = np.full(16, 3)

    def both(genes: np.ndarray) -> np.ndarray:
        size = genes.mean(axis=1)
        return np.column_stack([np.exp(-size) + 0.1 * (genes[:, ::2] != 1).mean(axis=1), size + 1])

    volumes = [
        hypervolume(
            optimise(n_choices, both, strategy=name, evaluations=40, population=10, seed=0).objectives, [1.2, 3.1]
        )
        for name in ("surrogate", "random")
    ]
    assert volumes[0] > volumes[1]


def test_the_first_design_has_both_ends_and_counts_what_was_there() -> None:
    design = strategy().ask(DESIGN * 8)
    assert len(np.unique(design, axis=0)) == DESIGN * 8
    np.testing.assert_array_equal(design[:2], [[0] * 6, [2] * 6])
    initial = EVERY[100:110]
    later = strategy(initial=initial)
    assert len(later._queue) == DESIGN * 8 - 10
    assert not {tuple(row) for row in later.ask(6)} & {tuple(row) for row in initial}


def test_a_design_spreads_along_what_is_exact() -> None:
    sizes = np.sort(cost(strategy(exact=cost).ask(16))[:, 0])
    assert np.diff(sizes).max() < 0.3 * np.ptp(sizes)


def test_exact_objectives_are_never_modelled() -> None:
    for exact, modelled in ((cost, 1), (None, 2), (evaluate, 0)):
        searcher = strategy(exact=exact)
        genes = searcher.ask(16)
        searcher.tell(genes, evaluate(genes), np.empty((16, 0)))
        assert len(searcher.ask(8)) == 8
        assert [len(r.quality) for r in searcher.rounds] == [modelled]


def test_rounds_tell_how_well_the_batch_was_foreseen() -> None:
    searcher = strategy(exact=cost)
    for count in (16, 8, 8):
        genes = searcher.ask(count)
        searcher.tell(genes, evaluate(genes), np.empty((count, 0)))
    assert [r.evaluations for r in searcher.rounds] == [16, 24]
    for r in searcher.rounds:
        assert r.batch is not None
        assert r.batch[0].rows == 8
        assert 0 < r.batch[0].rmse < np.std(evaluate(EVERY)[:, 0])
        assert -1 <= r.quality[0].kendall_tau <= 1


def test_constraints_are_modelled_so_that_few_proposals_are_rejected() -> None:
    rejected = []

    def broken(genes: np.ndarray) -> np.ndarray:
        violations = cost(genes) / 10 - 1
        rejected.append(int((violations > 0).sum()))
        return violations

    result = optimise(
        N_CHOICES, evaluate, constraints=broken, strategy="surrogate", evaluations=40, population=8, seed=0, exact=cost
    )
    assert (result.objectives[:, 1] <= 10).all()
    allowed = evaluate(EVERY)[cost(EVERY)[:, 0] <= 10]
    reference = reference_of(allowed)
    assert hypervolume(result.objectives, reference) > 0.97 * hypervolume(allowed, reference)
    # Of random archs five in six are too dear.
    assert sum(rejected) < 2 * len(result.genes)


def test_repaired_genes_are_never_asked_twice() -> None:
    def repair(genes: np.ndarray) -> np.ndarray:
        genes = genes.copy()
        genes[genes[:, 0] == 0, 4:] = 0
        return genes

    searcher = strategy(repair=repair)
    seen: set[tuple[int, ...]] = set()
    for count in (16, 8, 8):
        genes = searcher.ask(count)
        np.testing.assert_array_equal(genes, repair(genes))
        asked = {tuple(row) for row in genes.tolist()}
        assert len(asked) == count
        assert not asked & seen
        seen |= asked
        searcher.tell(genes, evaluate(genes), np.empty((count, 0)))


def test_picks_are_greedy_by_hypervolume() -> None:
    rng = np.random.default_rng(0)
    front, candidates, reference = np.array([[0.6, 0.5], [0.4, 0.8]]), rng.random((30, 2)), np.array([1.0, 1.0])
    indices = _most_gain(front, candidates, reference, 5)
    points = front
    for row in indices:
        gains = [moocore.hypervolume(np.vstack([points, one]), ref=reference) for one in candidates]
        assert gains[row] == pytest.approx(max(gains))
        points = np.vstack([points, candidates[row]])
    assert _most_gain(np.array([[0.0, 0.0]]), candidates, reference, 5) == []
