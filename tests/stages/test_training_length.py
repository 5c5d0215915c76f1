"""The least number of training steps, compared with drawn subnets and with what AdamW can move."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from edgenas.config.train_config import TrainConfig
from edgenas.space.loading import load_space
from edgenas.space.space import SearchSpace
from edgenas.stages.planning.training_length import INITIAL_SCALE, least_steps, rarest_share, too_few_steps

SPACE = load_space("digits-24")
STAGE = {"width": [8, 16], "stride": 2, "activation": "relu", "squeeze_excite": False}
BY_POSITION = SearchSpace.model_validate(
    {
        "name": "by-position",
        "resolution": [8],
        "stem": {"width": 8, "kernel": 3, "stride": 1, "activation": "relu"},
        "stages": [{**STAGE, "depth": [1, 2], "kernel": [[3, 5, 7], [3]], "expand": [[2, 3, 4], [2, 3]]}],
        "head": {"width": 16, "features": 0, "activation": "relu"},
    }
)


def test_the_first_of_blocks_with_fewer_and_fewer_choices_may_be_the_rarest() -> None:
    """It has nine kinds of blocks; the second has two, but is in every other network only."""
    assert rarest_share(BY_POSITION) == pytest.approx(1 / (2 * 9))


def test_the_rarest_weights_are_in_the_share_of_subnets_that_is_stated() -> None:
    rng = np.random.default_rng(0)
    draws = 4000
    held = np.zeros(len(SPACE.stages))
    for _ in range(draws):
        arch = SPACE.sample(rng)
        for number, (stage, genes) in enumerate(zip(SPACE.stages, arch.stages, strict=True)):
            last = genes.blocks[max(stage.depth) - 1 :]
            largest = genes.width == max(stage.width)
            held[number] += (
                bool(last)
                and largest
                and (last[0].kernel, last[0].expand)
                == (
                    max(stage.kernel),
                    max(stage.expand),
                )
            )
    share = rarest_share(SPACE)
    assert held.min() / draws == pytest.approx(share, abs=4 * math.sqrt(share / draws))


def test_a_weight_moves_by_the_learning_rate_in_an_update_at_most() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=0.01, weight_decay=0.0)
    for _ in range(50):
        weight.grad = torch.ones(1)
        optimizer.step()
    # Gradients that all agree move it farthest.
    assert abs(weight.item()) <= 50 * 0.01 * (1 + 1e-3)


def test_warned_is_below_the_least_number_of_steps_and_not_from_it_on() -> None:
    config = TrainConfig(epochs=1)
    least = least_steps(config, SPACE)
    updates = least * config.subnets_per_step * rarest_share(SPACE)
    assert updates * config.learning_rate / 2 == pytest.approx(INITIAL_SCALE, rel=0.05)
    assert too_few_steps(config, SPACE, least) is None
    warning = too_few_steps(config, SPACE, least - 1)
    assert warning is not None
    assert f"{least - 1:,} steps are hopeless" in warning
    assert f"at least {least:,} steps" in warning


def test_larger_spaces_and_smaller_rates_want_more_steps() -> None:
    config = TrainConfig(epochs=1)
    assert least_steps(config, load_space("ofa-mbv3-w1.0")) > least_steps(config, SPACE)
    assert least_steps(config.model_copy(update={"learning_rate": 1e-4}), SPACE) > least_steps(config, SPACE)
    sgd = config.model_copy(update={"optimizer": "sgd", "learning_rate": 10 * config.learning_rate})
    assert least_steps(sgd, SPACE) == least_steps(config, SPACE)


def test_weights_that_were_trained_before_are_not_warned_of() -> None:
    config = TrainConfig(epochs=1)
    assert too_few_steps(config, SPACE, 0) is None
    assert too_few_steps(config.model_copy(update={"init": "runs/other"}), SPACE, 1) is None
