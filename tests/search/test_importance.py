"""Effects and moves against functions whose effects are known."""

import numpy as np
import pytest

from edgenas.search.importance import group_effects, single_moves

N_CHOICES = np.array([3, 5, 2, 4, 1])
WEIGHTS = np.array([2.0, 0.5, 0.0, -1.0, 7.0])


def additive(genes: np.ndarray) -> np.ndarray:
    return genes @ WEIGHTS


SINGLE = {str(gene): [gene] for gene in range(5)}


def test_of_a_sum_every_gene_has_the_share_and_the_change_of_its_term() -> None:
    found = group_effects(additive, N_CHOICES, SINGLE, seed=0, samples=20_000)
    # A uniform draw of k steps varies by (k² - 1) / 12.
    variances = WEIGHTS**2 * (N_CHOICES**2 - 1) / 12
    np.testing.assert_allclose([found[name].share for name in SINGLE], variances / variances.sum(), atol=0.02)
    np.testing.assert_allclose([found[name].change for name in SINGLE], WEIGHTS * (N_CHOICES - 1), atol=1e-9)
    assert found["2"].share == found["4"].share == 0


def test_a_group_has_the_effect_of_its_genes_together() -> None:
    found = group_effects(additive, N_CHOICES, {"ends": [0, 3], "rest": [1, 2]}, seed=1, samples=20_000)
    variances = WEIGHTS**2 * (N_CHOICES**2 - 1) / 12
    assert found["ends"].change == pytest.approx(2 * 2.0 - 3 * 1.0)
    assert found["ends"].share == pytest.approx(variances[[0, 3]].sum() / variances.sum(), abs=0.02)
    assert found["ends"].share + found["rest"].share == pytest.approx(1, abs=0.02)


def test_where_genes_only_act_together_each_has_all_of_the_variance() -> None:
    def exclusive(genes: np.ndarray) -> np.ndarray:
        return (genes[:, 0] != genes[:, 1]).astype(float)

    found = group_effects(exclusive, [2, 2], {"a": [0], "b": [1]}, seed=0, samples=20_000)
    # Drawn again, a gene differs half of the time, and then so does the value.
    assert found["a"].share == pytest.approx(1, abs=0.05)
    assert found["b"].share == pytest.approx(1, abs=0.05)
    assert found["a"].change == pytest.approx(0, abs=0.03)


def off(genes: np.ndarray) -> np.ndarray:
    """The first gene at 0 turns the second off."""
    canonical = genes.copy()
    canonical[canonical[:, 0] == 0, 1] = 0
    return canonical


def test_only_canonical_genes_are_asked_for() -> None:
    def asked(genes: np.ndarray) -> np.ndarray:
        np.testing.assert_array_equal(off(genes), genes)
        return genes[:, 1].astype(float)

    found = group_effects(asked, [2, 3], {"switch": [0], "switched": [1]}, repair=off, seed=0, samples=5000)
    assert found["switched"].change == pytest.approx(2 / 2, abs=0.05)
    assert found["switch"].change == pytest.approx(1.0, abs=0.05)


def test_a_constant_is_due_to_nothing() -> None:
    found = group_effects(lambda genes: np.ones(len(genes)), [2, 2], {"a": [0]}, seed=0)
    assert (found["a"].change, found["a"].share) == (0, 0)


def test_moves_are_every_step_that_changes_something() -> None:
    moves = single_moves([3, 4, 1], np.array([0, 3, 0]))
    assert [(m.gene, m.before, m.after, m.genes.tolist()) for m in moves] == [
        (0, 0, 1, [1, 3, 0]),
        (1, 3, 2, [0, 2, 0]),
    ]
    # With the first gene off, the second has no say.
    assert [m.genes.tolist() for m in single_moves([2, 3], np.array([0, 0]), off)] == [[1, 0]]
    assert [m.genes.tolist() for m in single_moves([2, 3], np.array([1, 2]), off)] == [[0, 0], [1, 1]]
