import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas.errors import InfeasibleError
from edgenas.search.front import choose_best, hypervolume, non_dominated, reference_of

points = st.integers(1, 3).flatmap(lambda m: st.lists(st.tuples(*[st.integers(0, 6)] * m), min_size=1, max_size=25))


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


@given(points)
def test_front_is_what_nothing_dominates_each_point_once(rows: list[tuple[int, ...]]) -> None:
    matrix = np.array(rows, dtype=float)
    front = non_dominated(matrix)
    expected = {row for row in rows if not any(dominates(np.array(other), np.array(row)) for other in rows)}
    assert {rows[i] for i in front} == expected
    assert [int(i) for i in front] == sorted(rows.index(row) for row in expected)


@given(points)
def test_hypervolume_equals_counted_unit_cells(rows: list[tuple[int, ...]]) -> None:
    matrix = np.array(rows)
    corners = np.stack(np.meshgrid(*[np.arange(5)] * matrix.shape[1], indexing="ij"), -1).reshape(-1, matrix.shape[1])
    covered = (matrix[None] <= corners[:, None]).all(axis=2).any(axis=1)
    assert hypervolume(matrix, [5.0] * matrix.shape[1]) == pytest.approx(covered.sum())


def test_no_points_dominate_nothing() -> None:
    assert hypervolume(np.empty((0, 2)), [1.0, 1.0]) == 0.0
    assert len(non_dominated(np.empty((0, 2)))) == 0


def test_reference_point_is_beyond_the_worst_even_of_equal_negative_or_zero_values() -> None:
    values = np.array([[1.0, -4.0, 0.0, 7.0], [3.0, -2.0, 0.0, 7.0]])
    np.testing.assert_allclose(reference_of(values), [3.2, -1.8, 0.1, 7.7])


def test_best_is_least_error_then_least_latency_among_the_feasible() -> None:
    rows = [[0.1, 9.0], [0.2, 3.0], [0.2, 2.0], [0.3, 1.0]]
    assert choose_best(rows) == 0
    assert choose_best(rows, [False, True, True, True]) == 2


def test_no_feasible_row_is_an_error() -> None:
    with pytest.raises(InfeasibleError, match="none of 2"):
        choose_best([[0.1, 1.0], [0.2, 1.0]], [False, False])
