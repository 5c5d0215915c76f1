"""Comparison of a network with baselines of equal latency and equal training time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgenas.records.baselines import BaselineResult, Contender, Spread

Answers = npt.NDArray[np.bool_]


def baseline_result(chosen: Contender, networks: Sequence[Contender]) -> BaselineResult:
    """Return the results of a baseline over its seeds.

    Args:
        chosen: network of the run.
        networks: networks of the baseline, one for each seed.
    """
    return BaselineResult(
        test_top1=_spread([network.test_top1 for network in networks]),
        val_top1=_spread([network.val_top1 for network in networks]),
        p50_us=_spread([network.p50_us for network in networks]),
        seconds=_spread([network.seconds for network in networks]),
        seeds_behind=sum(chosen.test_top1 > network.test_top1 for network in networks),
        seeds=tuple(networks),
    )


def best_baseline(results: Mapping[str, BaselineResult]) -> str:
    """Return the name of the baseline with the highest mean test accuracy."""
    return max(results, key=lambda name: results[name].test_top1.mean)


def lead_error(right: Answers, baselines_right: Answers) -> float:
    """Return the standard error over test images of a lead over the mean of seeds, for fixed networks.

    The error is paired, since all networks classify the same images. Images that all networks classify correctly add no
    error.

    Args:
        right: whether the run's network classifies each test image correctly, shape (n,).
        baselines_right: whether the networks of a baseline classify each test image correctly, shape (seeds, n).
    """
    lead = right.astype(float) - baselines_right.mean(axis=0)
    return float(lead.std(ddof=1) / len(lead) ** 0.5)


def _spread(values: Sequence[float]) -> Spread:
    return Spread(mean=float(np.mean(values)), least=min(values), greatest=max(values))
