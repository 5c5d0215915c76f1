from collections.abc import Sequence

import numpy as np
import pytest

from edgenas.errors import ConfigError
from edgenas.search.loop import optimise
from edgenas.search.objective_functions import Limit, ObjectiveFunction, as_constraints, as_evaluate
from edgenas.space.arch import Arch
from edgenas.space.loading import load_space

SPACE = load_space("digits-24")


def resolution(archs: Sequence[Arch]) -> np.ndarray:
    return np.array([float(arch.resolution) for arch in archs])


def blocks(archs: Sequence[Arch]) -> np.ndarray:
    return np.array([float(sum(len(stage.blocks) for stage in arch.stages)) for arch in archs])


BLOCKS = ObjectiveFunction("blocks", "blocks", blocks)


def sample(n: int) -> list[Arch]:
    rng = np.random.default_rng(0)
    return [SPACE.sample(rng) for _ in range(n)]


def test_columns_stand_in_the_order_of_the_objectives() -> None:
    archs = sample(6)
    evaluate = as_evaluate(
        SPACE, [ObjectiveFunction("blocks", "blocks", blocks), ObjectiveFunction("size", "px", resolution)]
    )
    np.testing.assert_array_equal(evaluate(SPACE.encode(archs)), np.column_stack([blocks(archs), resolution(archs)]))


def test_constraints_are_relative_and_nonpositive_just_within_the_limit() -> None:
    archs = sample(20)
    limit = float(np.median(blocks(archs)))
    violations = as_constraints(SPACE, [Limit("blocks", "blocks", blocks, limit)])(SPACE.encode(archs))
    np.testing.assert_array_equal(violations[:, 0] <= 0, blocks(archs) <= limit)
    np.testing.assert_allclose(violations[:, 0], blocks(archs) / limit - 1)


def test_without_limits_there_are_no_constraints() -> None:
    assert as_constraints(SPACE, [])(SPACE.encode(sample(3))).shape == (3, 0)


def test_a_search_of_a_space_keeps_within_its_limit() -> None:
    limit = float(blocks([SPACE.smallest])[0]) + 1
    result = optimise(
        SPACE.n_choices,
        as_evaluate(
            SPACE, [ObjectiveFunction("size", "px", lambda a: -resolution(a)), ObjectiveFunction("depth", "", blocks)]
        ),
        constraints=as_constraints(SPACE, [Limit("blocks", "blocks", blocks, limit)]),
        repair=SPACE.canonical,
        evaluations=30,
        seed=0,
    )
    archs = SPACE.decode(result.genes)
    assert (blocks(archs) <= limit).all()
    assert len({arch.id for arch in archs}) == len(archs)


@pytest.mark.parametrize("objectives", [[], [BLOCKS, BLOCKS]])
def test_objectives_need_distinct_names(objectives: list[ObjectiveFunction]) -> None:
    with pytest.raises(ConfigError, match="objective"):
        as_evaluate(SPACE, objectives)


def test_limits_must_be_above_zero_and_distinct() -> None:
    with pytest.raises(ConfigError, match="above 0 us"):
        as_constraints(SPACE, [Limit("latency", "us", blocks, 0.0)])
    with pytest.raises(ConfigError, match="each limit once"):
        as_constraints(SPACE, [Limit("latency", "us", blocks, 1.0), Limit("latency", "us", blocks, 2.0)])


def test_a_function_that_answers_for_too_few_archs_is_named() -> None:
    evaluate = as_evaluate(SPACE, [ObjectiveFunction("short", "", lambda archs: blocks(archs)[1:])])
    with pytest.raises(ValueError, match="short: expected one value for each of 4 architectures"):
        evaluate(SPACE.encode(sample(4)))
