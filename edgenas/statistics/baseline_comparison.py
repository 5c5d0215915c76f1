"""Comparison of a network with baselines of equal latency and equal training time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Answers = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ScoredNetwork:
    """A trained network and its scores; accuracies are fractions, of the deployed file.

    Attributes:
        network: its architecture, or its width and resolution.
        seed: seed of its weights and images.
        val_top1: validation accuracy, by which it was chosen.
        test_top1: test accuracy, by which it is compared.
        p50_us: latency, measured in the same session as all others.
        seconds: time of finding and training it.
        tried: number of networks that it was chosen from.
    """

    network: str
    seed: int
    val_top1: float
    test_top1: float
    p50_us: float
    seconds: float
    tried: int


def summarise(
    own: ScoredNetwork,
    baselines: Mapping[str, Sequence[ScoredNetwork]],
    right: Answers,
    baselines_right: Mapping[str, Answers],
) -> dict[str, Any]:
    """Return each baseline's mean over its seeds, and the lead of `own` over the best mean on test images.

    Args:
        own: the run's network.
        baselines: networks of each baseline by its name, one for each seed.
        right: whether `own` classifies each test image correctly, (n,).
        baselines_right: the same for the networks of each baseline, (seeds, n).
    """
    summaries = {name: _summary(own, networks) for name, networks in baselines.items()}
    best = max(summaries, key=lambda name: summaries[name]["test_top1"]["mean"])
    lead = own.test_top1 - summaries[best]["test_top1"]["mean"]
    return {
        "edgenas": asdict(own),
        "baselines": summaries,
        "best_baseline": best,
        "lead": lead,
        "lead_error": lead_error(right, baselines_right[best]),
        "ahead": lead > 0,
    }


def lead_error(right: Answers, baselines_right: Answers) -> float:
    """Return the standard error over test images of a lead over the mean of seeds, for fixed networks.

    It is paired: all networks classify the same images, and images that all classify correctly add no error.

    Args:
        right: see `summarise`.
        baselines_right: of one baseline, (seeds, n).
    """
    lead = right.astype(float) - baselines_right.mean(axis=0)
    return float(lead.std(ddof=1) / len(lead) ** 0.5)


def _summary(own: ScoredNetwork, networks: Sequence[ScoredNetwork]) -> dict[str, Any]:
    spreads = {
        name: _spread([float(getattr(network, name)) for network in networks])
        for name in ("val_top1", "test_top1", "p50_us", "seconds")
    }
    ahead = sum(own.test_top1 > network.test_top1 for network in networks)
    return {**spreads, "seeds_behind": ahead, "seeds": [asdict(network) for network in networks]}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "least": min(values), "greatest": max(values)}
