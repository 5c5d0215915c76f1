"""A network beside its rivals of equal latency, and equal time to find and train them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Answers = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Contender:
    """A network that was trained; rates are fractions, of what is deployed.

    Attributes:
        network: its arch, or its width.
        seed: of its weights and images.
        val_top1: what it was chosen by, where there was a choice.
        test_top1: what it is judged by.
        p50_us: measured, in the same session as all others.
        seconds: that finding and training it took.
        tried: networks that it was chosen from.
    """

    network: str
    seed: int
    val_top1: float
    test_top1: float
    p50_us: float
    seconds: float
    tried: int


def summarise(
    own: Contender, rivals: Mapping[str, Sequence[Contender]], right: Answers, rivals_right: Mapping[str, Answers]
) -> dict[str, Any]:
    """Each rival's mean over its seeds, and by how much `own` is ahead of the best of these means on test images.

    Args:
        own: the network that is judged.
        rivals: by name, a contender for each seed.
        right: whether `own` gives each test image its label, (n,).
        rivals_right: the same of each rival's contenders, (seeds, n).
    """
    found = {name: _of(own, contenders) for name, contenders in rivals.items()}
    best = max(found, key=lambda name: found[name]["test_top1"]["mean"])
    lead = own.test_top1 - found[best]["test_top1"]["mean"]
    said = {"best_rival": best, "lead": lead, "lead_error": lead_error(right, rivals_right[best]), "ahead": lead > 0}
    return {"edgenas": asdict(own), "rivals": found, **said}


def lead_error(right: Answers, rivals_right: Answers) -> float:
    """Standard error of a lead over the mean of seeds: what other test images would change, all networks as they are.

    Paired, since all answer the same images: those that all get right say nothing.

    Args:
        right: see `summarise`.
        rivals_right: of one rival, (seeds, n).
    """
    lead = right.astype(float) - rivals_right.mean(axis=0)
    return float(lead.std(ddof=1) / len(lead) ** 0.5)


def _of(own: Contender, contenders: Sequence[Contender]) -> dict[str, Any]:
    spreads = {
        name: _spread([float(getattr(one, name)) for one in contenders])
        for name in ("val_top1", "test_top1", "p50_us", "seconds")
    }
    ahead = sum(own.test_top1 > one.test_top1 for one in contenders)
    return {**spreads, "seeds_behind": ahead, "seeds": [asdict(one) for one in contenders]}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "least": min(values), "greatest": max(values)}
