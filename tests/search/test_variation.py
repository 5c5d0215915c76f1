import numpy as np
import pytest

from edgenas.search.strategies.variation import changed, mixed, moved, mutated, near_mates
from edgenas.space.covering_samples import leaning

N_CHOICES = np.array([3, 1, 5, 2, 4, 3, 7, 3])


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def drawn(count: int = 2000) -> np.ndarray:
    return rng().integers(0, N_CHOICES, size=(count, len(N_CHOICES)))


@pytest.mark.parametrize("vary", [mutated, moved])
def test_variations_stay_within_their_choices_and_leave_what_they_are_given(vary) -> None:  # type: ignore[no-untyped-def]
    genes = drawn()
    kept = genes.copy()
    result = vary(rng(), N_CHOICES, genes)
    np.testing.assert_array_equal(genes, kept)
    assert ((result >= 0) & (result < N_CHOICES)).all()


def test_a_change_is_a_change_wherever_there_is_a_choice() -> None:
    genes = drawn()
    differs = changed(rng(), N_CHOICES, genes) != genes
    assert differs[:, N_CHOICES > 1].all()
    assert not differs[:, N_CHOICES == 1].any()


def test_mutation_changes_one_gene_on_average() -> None:
    genes = drawn(20_000)
    changes = (mutated(rng(), N_CHOICES, genes) != genes).sum(axis=1)
    assert changes.mean() == pytest.approx(1.0, abs=0.03)


def test_moves_change_one_gene_and_others_the_other_way() -> None:
    genes = drawn(20_000)
    steps = moved(rng(), N_CHOICES, genes) - genes
    assert (steps != 0).any(axis=1).mean() > 0.9
    # No row has two genes up and two down: one went one way, whatever else changed the other.
    assert (np.minimum((steps > 0).sum(axis=1), (steps < 0).sum(axis=1)) <= 1).all()
    assert ((steps > 0).any(axis=1) & (steps < 0).any(axis=1)).mean() > 0.15
    assert (np.abs(steps[np.count_nonzero(steps, axis=1) > 1]).sum(axis=1) >= 2).all()


def test_nothing_moves_where_there_is_no_choice() -> None:
    np.testing.assert_array_equal(moved(rng(), np.array([1, 1]), np.zeros((4, 2), dtype=np.int64)), np.zeros((4, 2)))


def test_leaning_candidates_are_of_all_sizes_and_uniform_ones_are_not() -> None:
    n_choices = np.full(40, 3)
    sizes = leaning(rng(), n_choices, rng().random(2000)).sum(axis=1) / 80
    uniform = rng().integers(0, 3, size=(2000, 40)).sum(axis=1) / 80
    assert np.quantile(sizes, 0.05) < 0.2 < 0.35 < np.quantile(uniform, 0.05)
    assert np.quantile(sizes, 0.95) > 0.8 > 0.65 > np.quantile(uniform, 0.95)


def test_mixed_genes_are_of_either_parent() -> None:
    first, second = drawn()[:1000], drawn()[1000:]
    child = mixed(rng(), first, second)
    assert ((child == first) | (child == second)).all()
    different = first != second
    assert (child == first)[different].mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("objectives", [1, 2, 4])
def test_mates_are_nearer_than_chance_and_never_oneself(objectives: int) -> None:
    # Units must not matter: the last objective is in other ones.
    places = rng().random((300, objectives)) * ([1.0] * (objectives - 1) + [1e6])
    first = np.arange(300)
    mates = near_mates(rng(), places, first)
    assert (mates != first).all()
    scaled = places / np.ptp(places, axis=0)
    distance = np.abs(scaled - scaled[mates]).sum(axis=1).mean()
    other = np.abs(scaled - scaled[rng().permutation(300)]).sum(axis=1).mean()
    assert distance < 0.5 * other
