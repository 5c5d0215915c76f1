"""Learning rates, sandwiches and batches as functions of the step."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spaces import SMALL

from edgenas.training.schedule import batch_indices, learning_rate, sandwich


def test_warm_up_is_linear_and_the_cosine_falls_from_the_peak_to_near_zero() -> None:
    rates = [learning_rate(step, 100, peak=2.0, warmup=0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert rates[10] == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert rates[99] == pytest.approx(1 + math.cos(math.pi * 89 / 90))
    assert np.all(np.diff(rates[10:]) < 0)


@given(st.integers(1, 300), st.floats(0, 0.99))
def test_rates_stay_between_zero_and_the_peak(steps: int, warmup: float) -> None:
    rates = [learning_rate(step, steps, 1.0, warmup) for step in range(steps)]
    assert min(rates) > 0
    assert max(rates) <= 1
    assert 1.0 in rates or steps * warmup > steps - 1


def test_the_sandwich_has_largest_first_then_smallest_then_random_ones() -> None:
    space = SMALL
    archs = sandwich(space, 5, seed=1, step=7)
    assert archs[:2] == [space.largest, space.smallest]
    assert len(set(archs)) == 5
    assert archs == sandwich(space, 5, seed=1, step=7)
    assert archs[2:] != sandwich(space, 5, seed=1, step=8)[2:]
    assert archs[2:] != sandwich(space, 5, seed=2, step=7)[2:]
    assert sandwich(space, 2, seed=1, step=7) == archs[:2]


@given(st.integers(4, 60), st.integers(2, 8), st.integers(0, 5))
def test_an_epoch_shows_every_image_at_most_once(images: int, batch_size: int, seed: int) -> None:
    batch_size = min(batch_size, images)
    per_epoch = images // batch_size
    for epoch in range(3):
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        batches = list(batch_indices(images, batch_size, seed, steps))
        assert {batch.shape for batch in batches} == {(batch_size,)}
        seen = np.concatenate(batches)
        assert len(set(seen.tolist())) == per_epoch * batch_size
        assert set(seen.tolist()) <= set(range(images))


def test_epochs_are_permutations_of_their_own_and_repeat_by_seed() -> None:
    epochs = [np.concatenate(list(batch_indices(40, 10, 3, range(4 * n, 4 * n + 4)))) for n in range(3)]
    assert all(sorted(epoch.tolist()) == list(range(40)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 3
    (first,), (again,), (other,) = (batch_indices(40, 10, seed, range(5, 6)) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_batches_do_not_depend_on_the_first_step_or_on_what_callers_do_to_others() -> None:
    stream = batch_indices(40, 10, 3, range(12))
    batches = []
    for batch in stream:
        batches.append(batch.copy())
        batch[:] = 0
    for start in (1, 5, 11):
        np.testing.assert_array_equal(list(batch_indices(40, 10, 3, range(start, 12))), batches[start:])
