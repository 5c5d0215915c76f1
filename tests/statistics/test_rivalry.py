"""A lead and its interval over other images, compared with drawing new images."""

from __future__ import annotations

import numpy as np
import pytest

from edgenas.records.baselines import Contender, Spread
from edgenas.statistics.baseline_comparison import baseline_result, best_baseline, lead_error

RNG = np.random.default_rng(0)


def contender(name: str, right: np.ndarray, seed: int = 0) -> Contender:
    top1 = float(right.mean())
    return Contender(network=name, seed=seed, val_top1=0.9, test_top1=top1, p50_us=50.0, seconds=60.0, tried=1)


def answers(rate: float, like: np.ndarray, agreement: float) -> np.ndarray:
    """A network's answers that are another's on a share of the images, and drawn on the others."""
    return np.where(RNG.random(len(like)) < agreement, like, RNG.random(len(like)) < rate)


def test_the_error_is_what_drawing_images_again_shows() -> None:
    own = RNG.random(4000) < 0.9
    baselines = np.array([answers(0.88, own, 0.8) for _ in range(3)])
    draws = RNG.integers(0, 4000, (2000, 4000))
    drawn = [own[one].mean() - baselines[:, one].mean() for one in draws]
    assert lead_error(own, baselines) == pytest.approx(np.std(drawn), rel=0.08)
    # All answer the same images, so it is less than that of two networks that know nothing of each other.
    assert lead_error(own, baselines) < 0.8 * np.hypot(own.std(), baselines[0].std()) / 4000**0.5


def test_the_best_baseline_is_that_of_the_best_mean_over_its_seeds() -> None:
    own, worse = np.repeat([True, False], [90, 10]), np.repeat([True, False], [80, 20])
    better = np.array([np.repeat([True, False], [n, 100 - n]) for n in (84, 94)])
    chosen = contender("chosen", own)
    results = {
        "worse": baseline_result(chosen, [contender("a", worse)]),
        "better": baseline_result(chosen, [contender("b", one, seed) for seed, one in enumerate(better)]),
    }
    assert best_baseline(results) == "better"
    assert [results[name].seeds_behind for name in ("worse", "better")] == [1, 1]
    assert results["better"].test_top1 == Spread(mean=float(np.mean([0.84, 0.94])), least=0.84, greatest=0.94)
