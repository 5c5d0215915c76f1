"""The rungs of successive halving: how many networks each one trains, for how long, and which are kept.

Source: successive halving (Jamieson and Talwalkar, arXiv 1502.07943). Every rung takes an equal part of the whole time,
and every network of a rung the same time, so a fast network makes more steps than a slow one.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgenas.records.finetune import RungScore


def rung_counts(candidates: int) -> tuple[int, ...]:
    """Return the number of networks of each rung: all of them at first, then the better half, in the end one."""
    counts = [candidates]
    while counts[-1] > 1:
        counts.append((counts[-1] + 1) // 2)
    return tuple(counts)


def rung_seconds(candidates: int, seconds: float) -> tuple[float, ...]:
    """Return the training time of a network by rung.

    Args:
        candidates: number of networks of the first rung.
        seconds: training time of all rungs and networks.
    """
    counts = rung_counts(candidates)
    return tuple(seconds / len(counts) / count for count in counts)


def whole_seconds(candidates: int, longest: float) -> float:
    """Return the training time of all rungs and networks, from that of the network which reaches the last rung."""
    counts = rung_counts(candidates)
    return longest * len(counts) / sum(1 / count for count in counts)


def rung_steps(seconds: Sequence[float], step_seconds: float) -> tuple[int, ...]:
    """Return the optimiser steps of a network by rung, at least one.

    Args:
        seconds: see `rung_seconds`.
        step_seconds: time of one of its steps.
    """
    return tuple(max(1, round(each / step_seconds)) for each in seconds)


def survivors(scores: Sequence[RungScore]) -> tuple[RungScore, ...]:
    """Return the better half of the scores of a rung, best first; of equals, the earlier ones."""
    ranked = sorted(scores, key=lambda score: -score.val_score)
    return tuple(ranked[: (len(ranked) + 1) // 2])


def best_scores(rungs: Sequence[Sequence[RungScore]]) -> tuple[RungScore, ...]:
    """Return the best score of every network over all rungs, best first; of equals, that of the later rung.

    A network that was kept has at least the score of those that were dropped.
    """
    best: dict[object, RungScore] = {}
    for score in (score for rung in rungs for score in rung):
        if score.arch not in best or score.val_score >= best[score.arch].val_score:
            best[score.arch] = score
    return tuple(sorted(best.values(), key=lambda score: (-score.val_score, -len(score.steps))))
