"""The rungs of successive halving: how many networks each one trains, for how long, and which are kept.

Source: successive halving (Jamieson and Talwalkar, arXiv 1502.07943). Every rung takes an equal part of the whole time,
and every network of a rung the same time, so a fast network makes more steps than a slow one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgenas.records.finetune import RungScore
from edgenas.space.arch import Arch


def rung_counts(candidates: int, last: int = 1) -> tuple[int, ...]:
    """Return the number of networks of each rung: all of them at first, then the better half, in the end `last`."""
    counts = [candidates]
    while counts[-1] > last:
        counts.append(max(last, (counts[-1] + 1) // 2))
    return tuple(counts)


def last_count(archs: Sequence[Arch]) -> int:
    """Return the number of networks of the last rung: one, or one of the search and one of the shelf."""
    return len({bool(arch.network) for arch in archs})


def rung_seconds(counts: Sequence[int], seconds: float) -> tuple[float, ...]:
    """Return the training time of a network by rung.

    Args:
        counts: number of networks by rung.
        seconds: training time of all rungs and networks.
    """
    return tuple(seconds / len(counts) / count for count in counts)


def whole_seconds(counts: Sequence[int], longest: float) -> float:
    """Return the training time of all rungs and networks, from that of a network which reaches the last rung."""
    return longest * len(counts) / sum(1 / count for count in counts)


def rung_steps(seconds: Sequence[float], step_seconds: float) -> tuple[int, ...]:
    """Return the optimiser steps of a network by rung, at least one.

    Args:
        seconds: see `rung_seconds`.
        step_seconds: time of one of its steps.
    """
    return tuple(max(1, round(each / step_seconds)) for each in seconds)


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` of `count` positions, evenly spread, always with the last one."""
    return sorted(set(np.linspace(count - 1, 0, min(count, most)).round().astype(int).tolist()))


def survivors(scores: Sequence[RungScore], count: int) -> tuple[RungScore, ...]:
    """Return the best scores of a rung, best first; of equals, the earlier ones.

    The best network of the search and the best of the shelf are always among two or more, so that they are compared
    after equal training: those of the shelf begin with a new classifier.
    """
    ranked = sorted(scores, key=lambda score: -score.val_score)
    kept = ranked[:count]
    missing = next((score for score in ranked if all(_kind(score) != _kind(other) for other in kept)), None)
    return tuple(kept if missing is None or count < 2 else [*kept[:-1], missing])


def _kind(score: RungScore) -> bool:
    """Return whether a network is of the shelf."""
    return bool(score.arch.network)


def last_scores(rungs: Sequence[Sequence[RungScore]]) -> tuple[RungScore, ...]:
    """Return the score of every network after its last rung: the best of the last rung first, then the others by score.

    A best score over all rungs would be that of the highest of many noisy validations, not of the best network.
    """
    winner = max(rungs[-1], key=lambda score: score.val_score)
    last = {score.arch: score for rung in rungs for score in rung if score.arch != winner.arch}
    others = sorted(last.values(), key=lambda score: (-score.val_score, -len(score.steps)))
    return (winner, *others)
