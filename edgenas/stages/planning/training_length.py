"""Check that a training has enough optimiser steps for subnets to be worth scoring."""

from __future__ import annotations

import math

from edgenas.config.train_config import TrainConfig
from edgenas.space.space import SearchSpace

INITIAL_SCALE = 0.1
"""About how large an initial weight is: a standard deviation of 0.1 to 0.5 in convolutions of 8 to 200 outputs."""
MEAN_RATE_SHARE = 0.5
"""Mean of the learning rate over warm-up and cosine, as a share of its peak."""
SGD_SHARE = 0.1
"""SGD wants about ten times the learning rate of AdamW for updates of the same size."""


def too_few_steps(config: TrainConfig, space: SearchSpace, steps: int) -> str | None:
    """Return a warning where a training can hardly move the weights it begins with; None where it can, or trains none.

    AdamW moves a weight by about the learning rate at most in an update (Kingma and Ba, ICLR 2015, section 2.1). So a
    weight must be updated about `INITIAL_SCALE / (learning rate / 2)` times to move as far as it is large at first. The
    rarest weights of a supernet are updated only by subnets that hold them, see `rarest_share`. With fewer steps than
    that asks for, parts of the supernet stay random. It is a least number: enough steps for it may still be too few.

    Args:
        config: config of the training.
        space: space of the supernet.
        steps: optimiser steps in all.
    """
    # Weights that were trained before need not move.
    if steps == 0 or config.init is not None:
        return None
    needed = least_steps(config, space)
    if steps >= needed:
        return None
    return (
        f"train: {steps:,} steps are hopeless for this space: its rarest weights are updated in one of "
        f"{round(1 / rarest_share(space)):,} subnets and would stay near their random start, expected at least "
        f"{needed:,} steps: raise train.epochs (or --train-minutes), lower train.batch_size, or narrow the space"
    )


def least_steps(config: TrainConfig, space: SearchSpace) -> int:
    """Return the number of steps after which the rarest weights can have moved as far as they are large at first."""
    rate = config.learning_rate * (SGD_SHARE if config.optimizer == "sgd" else 1.0)
    updates = INITIAL_SCALE / (MEAN_RATE_SHARE * rate)
    return math.ceil(updates / (config.subnets_per_step * rarest_share(space)))


def rarest_share(space: SearchSpace) -> float:
    """Return the share of uniformly drawn subnets that hold a stage's rarest weights.

    Those are the outermost of its largest kernel, expansion ratio and width, in its last block or in an earlier one
    that has more choices.
    """
    return min(
        sum(depth > position for depth in stage.depth) / (len(stage.depth) * n_blocks * len(stage.width))
        for stage in space.stages
        for position, n_blocks in enumerate(stage.n_blocks)
    )
