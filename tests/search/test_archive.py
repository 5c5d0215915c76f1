"""What is kept as parents along the front."""

import moocore
import numpy as np
import pytest

from edgenas.search.strategies.archive import LANDMARKS, MEMBERS, NEAR, Archive


def filled(objectives: np.ndarray, batches: int = 1) -> Archive:
    """Return an archive with rows added in batches; the genes of a row are its number."""
    archive = Archive(1)
    genes = np.arange(len(objectives))[:, None]
    for part in np.array_split(np.arange(len(objectives)), batches):
        archive.add(genes[part], objectives[part])
    return archive


def points(count: int, width: int = 2, seed: int = 0) -> np.ndarray:
    """Points within and on a sphere's rounded corner: a convex front and what lies just behind it."""
    rng = np.random.default_rng(seed)
    direction = np.abs(rng.normal(size=(count, width)))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return 2 - direction * rng.uniform(0.9, 1.0, size=(count, 1))


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("batches", [1, 7])
def test_all_that_nothing_dominates_is_kept(width: int, batches: int) -> None:
    objectives = points(500, width)
    archive = filled(objectives, batches)
    front = np.flatnonzero(moocore.is_nondominated(objectives))
    assert set(front) <= set(archive.genes[:, 0])
    np.testing.assert_array_equal(archive.objectives, objectives[archive.genes[:, 0]])


def test_how_far_behind_is_the_additive_epsilon_indicator() -> None:
    archive = filled(points(300))
    front = archive.objectives[moocore.is_nondominated(archive.objectives)]
    assert len(front) <= LANDMARKS
    span = np.ptp(front, axis=0)
    others = points(100, seed=1)
    wanted = [-moocore.epsilon_additive(front / span, ref=other[None] / span) for other in others]
    np.testing.assert_allclose(archive.behind(others), wanted, atol=1e-12)


def test_of_the_dominated_those_that_are_near_are_kept_nearest_first() -> None:
    front = np.column_stack([np.linspace(0, 1, 30), np.linspace(1, 0, 30)])
    behind = np.linspace(0, 2 * NEAR, 3 * MEMBERS)
    dominated = np.repeat(front[[4]], len(behind), axis=0) + behind[:, None]
    few, all_ = filled(np.vstack([front, dominated[::4]])), filled(np.vstack([front, dominated]))
    assert (behind[::4] <= NEAR).sum() < MEMBERS - 30 < (behind <= NEAR).sum()
    assert len(few) == 30 + (behind[::4] <= NEAR).sum()
    assert set(all_.genes[:, 0]) == set(range(MEMBERS))


def test_of_what_nothing_dominates_all_is_kept_however_much() -> None:
    ahead = np.linspace(0, 1, MEMBERS + 50)
    archive = filled(np.vstack([np.column_stack([ahead, -ahead]), [[0.5, -0.499]]]))
    assert len(archive) == MEMBERS + 50


def test_what_falls_behind_is_let_go() -> None:
    front = np.column_stack([np.linspace(0, 1, 30), np.linspace(1, 0, 30)])
    archive = filled(front + NEAR / 2)
    assert len(archive) == 30
    archive.add(np.arange(30, 60)[:, None], front)
    assert len(archive) == 60
    archive.add(np.arange(60, 90)[:, None], front - 2 * NEAR)
    assert set(archive.genes[:, 0]) == set(range(60, 90))


def test_units_do_not_matter() -> None:
    objectives = points(400)
    np.testing.assert_array_equal(filled(objectives).genes, filled(objectives * [1e6, 1e-3] + [5.0, -7.0]).genes)


def test_an_objective_equal_along_the_front_makes_nothing_near() -> None:
    objectives = points(400)
    with_constant = np.column_stack([objectives, np.full(400, 3.0)])
    np.testing.assert_array_equal(filled(objectives).genes, filled(with_constant).genes)


def test_a_front_of_one_keeps_one() -> None:
    archive = filled(np.arange(20.0)[:, None], batches=4)
    np.testing.assert_array_equal(archive.genes, [[0]])


def test_members_are_chosen_evenly_along_the_range_not_by_how_crowded_they_are() -> None:
    crowded = np.concatenate([np.linspace(0, 0.1, 91), np.linspace(0.2, 1.0, 9)])
    archive = filled(np.column_stack([crowded, -crowded]))
    chosen = archive.along(np.random.default_rng(0), 10_000)
    assert (crowded[chosen] <= 0.1).mean() == pytest.approx(0.15, abs=0.06)
    assert len(np.unique(chosen)) > 50


def test_nothing_need_be_chosen() -> None:
    assert filled(points(10)).along(np.random.default_rng(0), 0).shape == (0,)
