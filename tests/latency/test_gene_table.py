"""Sums and maxima by genes against those over unrolled networks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spaces import EVERY_SPACE, random_archs, spaces

from edgenas.latency.gene_table import GeneTable
from edgenas.latency.network_features import block_values, n_features, network_features, paper_values
from edgenas.space.cost import cost
from edgenas.space.loading import load_space
from edgenas.space.space import SearchSpace


def paper(blocks):
    """What the costs of blocks are on paper, exactly."""
    return np.array([[c.macs, c.params, c.weight_bytes, 1] for c in (cost([block]) for block in blocks)], dtype=float)


def check(space: SearchSpace, archs) -> None:
    table = GeneTable.of(space.with_classes(7), paper)
    expected = [paper(space.with_classes(7).unroll(arch)).sum(axis=0) for arch in archs]
    np.testing.assert_array_equal(table.sums(space.encode(archs)), expected)
    largest = [paper(space.with_classes(7).unroll(arch)).max(axis=0) for arch in archs]
    np.testing.assert_array_equal(table.maxima(space.encode(archs)), largest)


@settings(max_examples=25)
@given(spaces(depths=(1, 2, 3)), st.integers(0, 99))
def test_sums_over_any_space_are_those_of_its_networks(space: SearchSpace, seed: int) -> None:
    check(space, [space.smallest, space.largest, *random_archs(space, 20, seed)])


@pytest.mark.parametrize("name", EVERY_SPACE)
def test_sums_over_presets_are_those_of_their_networks(name: str) -> None:
    space = EVERY_SPACE[name]
    check(space, [space.smallest, space.largest, *random_archs(space, 20, 0)])


def test_features_are_the_sum_then_one_then_shares_that_add_up() -> None:
    space = load_space("mobile-32")
    archs = random_archs(space, 10, 0)
    places = len(space.stages) + 2

    def values(blocks):
        return block_values(blocks, paper_values(blocks)[:, 1], len(space.stages))

    sums = GeneTable.of(space.with_classes(10), values).sums(space.encode(archs))
    resolution = np.array([arch.resolution for arch in archs])
    features = network_features(sums, resolution)
    assert features.shape == (10, n_features(len(space.stages)))
    macs = [cost(space.with_classes(10).unroll(arch)).macs / 1e6 for arch in archs]
    np.testing.assert_allclose(features[:, 0], macs)
    assert (features[:, 1] == 1).all()
    # With MACs for costs, the shares of the places are those of the MACs.
    np.testing.assert_allclose(features[:, -2 - places : -2].sum(axis=1), 1)
    np.testing.assert_allclose(features[:, -1], np.log(resolution))
