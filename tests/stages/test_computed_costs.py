"""Costs by genes against those of unrolled networks."""

import numpy as np
import pytest
from spaces import random_archs

from edgenas.quantities import Quantity
from edgenas.space.cost import cost
from edgenas.space.graph_variant import GRAPH_VARIANTS, GraphVariant
from edgenas.space.loading import load_space
from edgenas.stages.budgets.computed_costs import COMPUTED, CostTable


@pytest.mark.parametrize("variant", GRAPH_VARIANTS)
@pytest.mark.parametrize("quantity", COMPUTED)
def test_costs_by_genes_are_those_of_the_networks(quantity: Quantity, variant: GraphVariant) -> None:
    space = load_space("mobile-32")
    archs = [space.smallest, space.largest, *random_archs(space, 10, 0)]
    expected = [getattr(cost(space.with_classes(10).unroll(arch), variant), quantity.name) for arch in archs]
    np.testing.assert_array_equal(CostTable(space.with_classes(10), variant)(quantity, space.encode(archs)), expected)
