import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas.errors import ConfigError, InfeasibleError
from edgenas.search.front import choose_best, choose_knee, choose_weighted, hypervolume, non_dominated, reference_of

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
    with pytest.raises(InfeasibleError, match="none of 2"):
        choose_knee([[0.1, 1.0], [0.2, 1.0]], [False, False])


def test_knee_is_where_the_front_bulges_whatever_the_units() -> None:
    front = np.array([[0.0, 10.0], [1.0, 4.0], [2.0, 1.0], [6.0, 0.5], [10.0, 0.0], [2.5, 9.0]])
    assert choose_knee(front) == 2
    assert choose_knee(front * [1000.0, 0.001] + [5.0, -3.0]) == 2
    assert choose_knee(front, [True, True, False, True, True, True]) == 1


@given(points)
def test_knee_is_farthest_from_the_line_between_the_ends(rows: list[tuple[int, ...]]) -> None:
    matrix = np.array([row[:2] for row in rows if len(row) >= 2], dtype=float)
    if len(matrix) < 1:
        return
    front = matrix[non_dominated(matrix)]
    first, last = front[front[:, 0].argmin()], front[front[:, 1].argmin()]
    # Twice the area of the triangle with the two ends: in proportion to the distance from their line.
    areas = (last[0] - first[0]) * (first[1] - front[:, 1]) - (first[0] - front[:, 0]) * (last[1] - first[1])
    knee = matrix[choose_knee(matrix)]
    mine = areas[(front == knee).all(axis=1)]
    assert mine == pytest.approx(areas.max())


def test_weights_move_the_choice_along_the_front() -> None:
    front = [[0.0, 10.0], [2.0, 1.0], [10.0, 0.0]]
    assert choose_weighted(front, [1, 0]) == 0
    assert choose_weighted(front, [1, 1]) == 1
    assert choose_weighted(front, [0.01, 1]) == 2


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, np.nan]])
def test_weights_that_do_not_fit_are_named(weights: list[float]) -> None:
    with pytest.raises(ConfigError, match="weights: expected 2"):
        choose_weighted([[0.0, 1.0], [1.0, 0.0]], weights)


def test_estimated_hypervolume_of_many_objectives_is_close_to_the_exact_one() -> None:
    import moocore

    rng = np.random.default_rng(0)
    rows = rng.random((30, 6))
    assert hypervolume(rows, [1.0] * 6) == pytest.approx(moocore.hypervolume(rows, ref=[1.0] * 6), rel=0.01)
