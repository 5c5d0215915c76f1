from itertools import product
from pathlib import Path

import pytest

from edgenas.errors import ConfigError
from edgenas.profiling.timing_plan import distinct_blocks, make_plan
from edgenas.space.cost import cost
from edgenas.space.loading import load_space, parse_space
from edgenas.space.space import SearchSpace

SMALL_FILE = Path(__file__).parents[1] / "latency" / "small_space.yaml"
SMALL = load_space(SMALL_FILE)
STEM = {"width": 8, "kernel": 3, "stride": 1, "activation": "hardswish"}
HEAD = {"width": 16, "features": 0, "activation": "hardswish"}


def stage(**choices) -> dict:
    fixed = {"width": [8], "depth": [1], "kernel": [3], "expand": [2], "stride": 2, "activation": "relu"}
    return {**fixed, "squeeze_excite": False, **choices}


def tiny(resolution: list[int], *stages: dict) -> SearchSpace:
    value = {"name": "tiny", "resolution": resolution, "stem": STEM, "stages": list(stages), "head": HEAD}
    return parse_space(value, "tiny")


TINY = [
    tiny([8, 12], stage(width=[8, 16], depth=[1, 2], kernel=[3, 5]), stage(width=[16, 24], expand=[1, 3])),
    tiny([8], stage(depth=[2], expand=[1, 2]), stage(width=[8, 16], stride=1, squeeze_excite=True)),
    tiny([7, 8, 9], stage(width=[8, 16, 24], depth=[1, 3])),
    tiny([8], stage(width=[8, 16], depth=[1, 3], kernel=[[3], [3, 5], [5]], expand=[[1], [2, 3], [2]]), stage()),
    load_space({"path": str(SMALL_FILE), "kernel": [3], "resolution": [16]}),
]


def every_block(space: SearchSpace) -> set:
    genes = list(product(*(range(count) for count in space.n_choices)))
    return {spec for arch in set(space.decode(genes)) for spec in space.with_classes(10).unroll(arch)}


@pytest.mark.parametrize("space", TINY)
def test_distinct_blocks_are_those_of_all_archs(space: SearchSpace) -> None:
    found = distinct_blocks(space.with_classes(10))
    assert len(found) == len(set(found))
    assert set(found) == every_block(space)


def test_their_order_is_stable_and_follows_the_network() -> None:
    found = distinct_blocks(TINY[0].with_classes(10))
    assert found == distinct_blocks(TINY[0].with_classes(10))
    assert found[0].kind == "stem"
    assert found[-1].kind == "head"


def test_the_small_space_has_54_blocks() -> None:
    assert len(distinct_blocks(SMALL.with_classes(10))) == 54


def test_a_plan_holds_all_blocks_and_distinct_networks_with_both_ends() -> None:
    space = SMALL
    plan = make_plan(space.with_classes(10), networks=12, seed=3)
    assert plan.blocks == distinct_blocks(space.with_classes(10))
    assert len(set(plan.networks)) == 12
    assert {space.smallest, space.largest} <= set(plan.networks)


def test_fewer_blocks_keep_the_extremes() -> None:
    space = SMALL
    every = distinct_blocks(space.with_classes(10))
    plan = make_plan(space.with_classes(10), blocks=36, networks=2, seed=0)
    assert len(plan.blocks) == 36
    assert [block for block in every if block in plan.blocks] == list(plan.blocks)
    macs = {block: cost([block]).macs for block in every}
    inverted = [block for block in every if block.kind == "ir"]
    assert min(inverted, key=macs.__getitem__) in plan.blocks
    assert max(inverted, key=macs.__getitem__) in plan.blocks
    assert {block for block in every if block.kind != "ir"} <= set(plan.blocks)


def test_too_few_blocks_to_regress_from_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"profile\.blocks: expected at least \d+"):
        make_plan(SMALL.with_classes(10), blocks=3, networks=2, seed=0)
