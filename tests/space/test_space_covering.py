import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spaces import SMALL, random_archs, spaces

from edgenas.space.arch import Arch
from edgenas.space.cost import cost
from edgenas.space.covering_samples import covering
from edgenas.space.loading import load_space, preset_names
from edgenas.space.space import SearchSpace


def log_macs(space: SearchSpace, archs: list[Arch]) -> np.ndarray:
    return np.log([cost(space.with_classes(1).unroll(arch)).macs for arch in archs])


@settings(max_examples=15)
@given(spaces(depths=(1, 2)), st.integers(1, 12), st.integers(0, 99))
def test_samples_are_distinct_and_begin_with_the_ends(space: SearchSpace, count: int, seed: int) -> None:
    archs = covering(space, count, seed)
    assert len(set(archs)) == len(archs) == min(count, len(archs))
    assert archs[:2] == list(dict.fromkeys([space.smallest, space.largest]))[:count]
    assert space.decode(space.encode(archs)) == archs


def test_equal_seeds_give_equal_samples_and_others_do_not() -> None:
    space = SMALL
    assert covering(space, 12, seed=1) == covering(space, 12, seed=1)
    assert covering(space, 12, seed=1) != covering(space, 12, seed=2)


@pytest.mark.parametrize("name", ["mobile-32", "mobilenetv4-conv-224", "cells-32"])
def test_samples_do_not_depend_on_the_number_of_classes(name: str) -> None:
    space = load_space(name)
    assert covering(space.with_classes(100_000), 30, seed=0) == covering(space, 30, seed=0)


def test_a_small_space_is_covered_whole() -> None:
    stages = [stage.model_copy(update={"depth": (1,), "kernel": (3,)}) for stage in SMALL.stages]
    space = SearchSpace.model_validate({**SMALL.model_dump(), "stages": stages})
    archs = covering(space, 1000, seed=0)
    assert len(archs) == space.size == 48


def test_nothing_is_asked_nothing_comes() -> None:
    assert covering(SMALL, 0, seed=0) == []


@pytest.mark.parametrize("name", preset_names())
def test_macs_spread_wider_than_those_of_random_draws(name: str) -> None:
    space = load_space(name)
    covered = log_macs(space, covering(space, 16, seed=5))
    for seed in range(2):
        drawn = log_macs(space, random_archs(space, 16, seed))
        assert np.ptp(covered) > np.ptp(drawn)
        assert covered.std() > drawn.std()


def test_genes_lie_farther_apart_than_those_of_random_draws() -> None:
    space = SMALL

    def nearest(archs: list[Arch]) -> float:
        genes = space.encode(archs) / np.maximum(space.n_choices - 1, 1)
        distance = np.linalg.norm(genes[:, None] - genes[None], axis=2)
        return float((distance + np.diag(np.full(len(archs), np.inf))).min(axis=1).mean())

    drawn = [nearest(random_archs(space, 24, seed)) for seed in range(5)]
    assert nearest(covering(space, 24, seed=0)) > max(drawn)


@pytest.mark.parametrize("name", preset_names())
def test_no_size_is_left_out(name: str) -> None:
    space = load_space(name)
    logs = np.sort(log_macs(space, covering(space, 24, seed=0)))
    steps = np.diff(logs) / (np.ptp(logs) / 23)
    assert steps.max() < 3
    random = np.sort(log_macs(space, [space.smallest, space.largest, *random_archs(space, 22, 0)]))
    assert np.diff(random).max() > 1.5 * np.diff(logs).max()
